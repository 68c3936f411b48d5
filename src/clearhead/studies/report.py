"""Reports on studies: verdicts, evidence, figures and raw data; as HTML, Markdown, JSON and CSV.

`report_studies` judges results and draws the figures; a `StudyReport` is plain data, whose JSON
`clearhead.studies.published` reads.
"""

import csv
import json
from collections import Counter
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from clearhead._atomic import write_all_atomic
from clearhead.errors import ConfigError
from clearhead.explanation import data_uri, render_page
from clearhead.insight.plots import figure_bytes
from clearhead.studies import _report_text as text
from clearhead.studies._panels import draw_findings
from clearhead.studies.hypotheses import Sample
from clearhead.studies.plan import Planned, plan_study
from clearhead.studies.published import part_to_dict
from clearhead.studies.registration import Change, history, registered
from clearhead.studies.registry import CLAIMS
from clearhead.studies.store import Judged, Results, file_name, judge
from clearhead.studies.study import Study
from clearhead.studies.table import Budget, Table
from clearhead.studies.verdict import NOT_DECIDING, Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGE = "clearhead.studies"
MARKDOWN_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_|[]<>#"})


@dataclass(frozen=True, kw_only=True)
class Section:
    """One study of a report.

    Attributes:
        judged: Its result with verdict.
        budget: The budget of the run.
        samples: The measured hypotheses.
        lines: Summaries.
        svg: The figure, empty if there is none.
        alt: The titles and axes of the figure in words.
        small_svg: The figure of the comparisons, empty if there is none.
        problems: What is missing, and why, one line each.
    """

    judged: Judged
    budget: Budget
    samples: tuple[Sample, ...] = ()
    lines: tuple[str, ...] = ()
    svg: bytes = b""
    alt: str = ""
    small_svg: bytes = b""
    problems: tuple[str, ...] = ()

    @property
    def study(self) -> Study:
        """The study."""
        return self.judged.result.study

    @property
    def file_name(self) -> str:
        """The study's name as a name of files and anchors."""
        return file_name(self.study.name)

    @property
    def verdict(self) -> str:
        """The outcome of the verdict, or why there is no verdict."""
        return self.judged.verdict.outcome if self.judged.verdict else self.judged.unjudged

    @property
    def headline(self) -> tuple[str, str]:
        """The outcome, capitalised and with a mark after it, and the parts by outcome."""
        judged = self.judged.verdict
        if judged is None:
            return f"{self.verdict.capitalize()}.", ""
        outcome, parts = judged.outcome.capitalize(), judged.sentence
        if {x.outcome for x in judged.parts} - set(NOT_DECIDING) <= {judged.outcome}:
            mark, _, rest = parts.removeprefix(outcome).partition(": ")
            return f"{outcome}{mark}:", rest
        return f"{outcome}.", parts

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every hypothesis that was judged, premises first."""
        verdict = self.judged.verdict
        if verdict is None:
            return ()
        return tuple(x for part in verdict.parts for x in (*part.premises, *part.findings))

    @property
    def decisive(self) -> str:
        """The first result that keeps the claim from being supported, else the first result."""
        findings = self.judged.verdict.findings if self.judged.verdict else ()
        order = ("contradicted", "undecided", "supported", "by construction")
        ranked = [x for outcome in order for x in findings if x.outcome == outcome]
        line = text.result_line(ranked[0]) if ranked else ""
        condition, colon, rest = line.partition(": ")
        line = f"{self.study.labels.get(condition, condition)}{colon}{rest}"
        return line[:1].upper() + line[1:]

    @property
    def plan(self) -> tuple[Planned, ...]:
        """The plan, with the power that was computed before the run."""
        result = self.judged.result
        if result.published:
            return result.published.plan
        design = registered().get("studies", {}).get(self.study.name, {})
        if design.get("fingerprint") == result.fingerprint:
            return tuple(map(Planned.from_dict, design["hypotheses"]))
        return plan_study(self.study, self.budget)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Changes of this claim's design or rule after results were seen."""
        if not self.judged.result.source.startswith(CLAIMS):
            return ()
        return tuple(x for x in history()[1] if self.study.claim in x.claims)

    @property
    def tables(self) -> list[tuple[str, text.TableText]]:
        """Hypotheses, literature, sensitivity, changes and plan, with their titles."""
        study, verdict = self.study, self.judged.verdict
        tables: dict[str, text.TableText | None] = {}
        if verdict:
            tables["Hypotheses"] = text.evidence_table(verdict.parts)
            tables["What papers found"] = text.literature_table(study, self.findings)
            tables["Other margins, cut-offs and families"] = text.sensitivity_table(verdict)
        tables["Changes after results were seen"] = text.change_table(self.changes)
        tables["Plan"] = text.plan_table(self.plan)
        return [(title, table) for title, table in tables.items() if table]

    def to_dict(self) -> dict[str, Any]:
        """The study, its verdict, the evidence and every trial, as JSON types."""
        study, judged = self.study, self.judged
        return {
            "name": study.name,
            "source": judged.result.source,
            "claim": study.claim,
            "fingerprint": judged.result.fingerprint,
            "seeds": study.seeds[self.budget],
            "num_trials": judged.result.num_planned,
            "statement": study.statement,
            "question": study.question,
            "conditions": study.conditions,
            "measure": study.measure,
            "limits": list(study.limits),
            "literature": [asdict(x) for x in study.literature],
            "references": list(study.references),
            "verdict": judged.verdict.to_dict() if judged.verdict else None,
            "unjudged": judged.unjudged,
            "text": list(self.lines),
            "problems": list(self.problems),
            "plan": [x.to_dict() for x in self.plan],
            "parts": [part_to_dict(part, Table(judged.result.outcomes)) for part in study.parts],
            "trials": [
                {
                    "condition": outcome.trial.condition,
                    "seed": outcome.trial.seed,
                    "settings": dict(outcome.trial.settings),
                    "values": outcome.values,
                }
                for outcome in judged.result.outcomes
            ],
        }

    def to_csv(self) -> str:
        """One row for each value of each trial; lists and objects are JSON."""
        file = StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["study", "condition", "seed", "settings", "measure", "value"])
        for outcome in self.judged.result.outcomes:
            trial = outcome.trial
            settings = json.dumps(dict(trial.settings), sort_keys=True)
            for measure, value in outcome.values.items():
                cell = value if isinstance(value, str | int | float) else json.dumps(value)
                writer.writerow([trial.study, trial.condition, trial.seed, settings, measure, cell])
        return file.getvalue()


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """The studies of a folder of results.

    Attributes:
        results: The results.
        sections: One for each study.
    """

    results: Results
    sections: tuple[Section, ...]

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{x.study.claim} {x.verdict}" for x in self.sections)
        return f"StudyReport({verdicts})"

    @property
    def num_judged(self) -> int:
        """The number of studies that have a verdict."""
        return sum(section.judged.verdict is not None for section in self.sections)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about the run, before its verdicts."""
        if not self.changes:
            return ()
        results, planned = self.results, registered()
        notes = ["The designs of this run were not registered beforehand."]
        if results.registration:
            date, commit = (results.registration[key] for key in ("date", "commit"))
            notes = [f"Designs, margins and seeds were registered on {date} (commit {commit})."]
        for run in history()[0]:
            after = [x for x in self.changes if x.after == run.name]
            measured = results.versions.get("commit", "")
            if run.commit and measured.startswith(run.commit) and after:
                counts = _counted(Counter(x.kind for x in after))
                notes.append(
                    f"These trials are those of the {run.name} ({run.date}). After its results "
                    f"were known, {counts} changed; its trials are judged by today's rules: see "
                    "the changes below."
                )
                verdicts = "; ".join(x.verdicts for x in after if x.verdicts)
                notes += [f"Verdicts that changed as a result: {verdicts}."] if verdicts else []
        if planned and planned["first_seed"] != results.first_seed:
            seed = planned["first_seed"]
            notes.append(f"No run with the registered designs, seeds from {seed} on, exists yet.")
        return tuple(notes)

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes after results were seen; empty for studies of a user's own."""
        of_project = any(x.judged.result.source.startswith(CLAIMS) for x in self.sections)
        return history()[1] if of_project else ()

    @property
    def change_table(self) -> text.TableText | None:
        """One row per change."""
        return text.change_table(self.changes)

    @property
    def versions(self) -> str:
        """What measured: names and versions in a line."""
        return ", ".join(f"{name} {version}" for name, version in self.results.versions.items())

    @property
    def shared_trainings(self) -> list[str]:
        """Which studies measured the same trained models."""
        claims = {x.study.name: x.study.claim for x in self.sections}
        return text.shared_trainings(self.results.log, claims)

    @property
    def runs(self) -> list[str]:
        """Each run that added trials: command, number of trials, time, machine."""
        return text.run_lines(self.results.log)

    def to_dict(self) -> dict[str, Any]:
        """Settings, verdicts, evidence, every trial and the log, as JSON types."""
        results = self.results
        return {
            "budget": results.budget,
            "first_seed": results.first_seed,
            "versions": results.versions,
            "registration": results.registration,
            "studies": [section.to_dict() for section in self.sections],
            "log": list(results.log),
        }

    def to_html(self) -> str:
        """The report as an HTML page without scripts that includes figures and raw data."""
        return render_page(
            "report.html",
            package=PACKAGE,
            styles=("base.css", "report.css"),
            title="Claims about attention, tested",
            report=self,
            downloads=_downloads,
            raw_table=text.raw_table,
            svg=lambda content: data_uri(content, "image/svg+xml"),
        )

    def to_markdown(self, folder: str) -> dict[str, bytes]:
        """The report as Markdown: a first page, and a page and figures for every study.

        Args:
            folder: The folder of all but the first page, relative to it.

        Returns:
            The files by path, relative to the first page, which is the empty path.
        """
        environment = Environment(  # noqa: S701 - `finalize` escapes
            loader=PackageLoader(PACKAGE),
            finalize=_escape_markdown,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        first = environment.get_template("report.md").render(report=self, folder=folder)
        template = environment.get_template("study.md")
        files = {"": first.encode()}
        for section in self.sections:
            path = f"{folder}/{section.file_name}"
            files[f"{path}.md"] = template.render(section=section, first=f"{folder}.md").encode()
            figures = {f"{path}.svg": section.svg, f"{path}-results.svg": section.small_svg}
            files |= {name: content for name, content in figures.items() if content}
        return files


def report_studies(results: Results) -> StudyReport:
    """Judge all results together, and describe and draw each study.

    Args:
        results: From `run_studies`, `read_results` or `read_published`.

    Returns:
        The report. What cannot be drawn or judged is named in the study's `problems`.
    """
    sections = tuple(_section(judged, results.budget) for judged in judge(results))
    return StudyReport(results=results, sections=sections)


def write_study_report(
    report: StudyReport, page: str | Path, *, markdown: str | Path | None = None
) -> tuple[Path, ...]:
    """Write a report as an HTML page, and as Markdown.

    Args:
        report: The report.
        page: The HTML file.
        markdown: The Markdown file of the first page; the pages and figures of the studies go to a
            folder of the same name without suffix.

    Returns:
        The paths of page and Markdown.

    Raises:
        ConfigError: A path has the wrong suffix.
        StorageError: A file cannot be written; then none is.
    """
    page = Path(page)
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"a report is an HTML file such as report.html, got {page.name!r}")
    contents = {page: report.to_html().encode()}
    written = [page]
    if markdown is not None:
        path = Path(markdown)
        if path.suffix.lower() != ".md":
            raise ConfigError(f"expected a Markdown file such as report.md, got {path.name!r}")
        files = report.to_markdown(path.stem)
        contents |= {path.parent / name if name else path: x for name, x in files.items()}
        written.append(path)
    write_all_atomic(contents)
    return tuple(written)


def _escape_markdown(value: object) -> str:
    """A value as literal text in one line of Markdown."""
    return " ".join(str(value).translate(MARKDOWN_SIGNS).split())


def _section(judged: Judged, budget: Budget) -> Section:
    problems = judged.result.damaged
    if judged.verdict is None:
        return Section(judged=judged, budget=budget, problems=problems)
    study, outcomes = judged.result.study, judged.result.outcomes
    table = Table(outcomes)
    samples = [x.sample(table) for x in study.hypotheses if x.is_measured(table)]
    drawn = [x for x in judged.verdict.findings if x.kind != "exact" and x.interval]
    lines: tuple[str, ...] = ()
    svg, alt, small = b"", "", b""
    try:
        small = figure_bytes(draw_findings(drawn), "svg") if drawn else b""
        published = judged.result.published
        lines = published.lines if published else study.text(outcomes)
        if study.panels:
            figure = study.figure(outcomes)
            svg, alt = figure_bytes(figure, "svg"), _in_words(figure)
        elif published:
            svg, alt = published.figure, f"Figure of {study.claim}, as it was published"
    except Exception as error:  # noqa: BLE001 - one study's defect must not hide the others
        reason = f"{type(error).__name__}: {error}"
        problems = (*problems, f"text or figure cannot be made ({reason})")
    return Section(
        judged=judged,
        budget=budget,
        samples=tuple(samples),
        lines=lines,
        svg=svg,
        alt=alt,
        small_svg=small,
        problems=problems,
    )


def _in_words(figure: "Figure") -> str:
    """The titles and axes of a figure."""
    parts = [figure.get_suptitle()]
    for axes in figure.axes:
        x, y = axes.get_xlabel(), axes.get_ylabel()
        parts += [axes.get_title(), f"{y} against {x}" if x and y else x or y]
    words = "; ".join(dict.fromkeys(" ".join(part.split()) for part in parts if part.strip()))
    return f"Figure: {words}" if words else "Figure"


def _downloads(section: Section) -> list[tuple[str, str]]:
    """Names and addresses of the files with raw data inside the page."""
    data = json.dumps(section.to_dict(), ensure_ascii=False, allow_nan=False)
    name = section.file_name
    return [
        (f"{name}.json", data_uri(data.encode(), "application/json")),
        (f"{name}.csv", data_uri(section.to_csv().encode(), "text/csv")),
    ]


def _counted(counts: Counter[str]) -> str:
    """1 rule and 2 designs."""
    return " and ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items())
