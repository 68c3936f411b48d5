"""One study of a report: its verdict, evidence, figures and tables."""

import csv
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from io import StringIO
from typing import TYPE_CHECKING, Any

from clearhead.explanation import data_uri
from clearhead.insight.plots import figure_bytes
from clearhead.studies import _report_text as text
from clearhead.studies._panels import draw_findings, draw_panels
from clearhead.studies.claims import CLAIMS
from clearhead.studies.hypotheses import Hypothesis
from clearhead.studies.registration import Planned, history, plan_study, registered
from clearhead.studies.store import Results, StudyResult, file_name
from clearhead.studies.study import WORDS, Part, Study, each_hypothesis
from clearhead.studies.table import Budget, Table
from clearhead.studies.verdict import NOT_DECIDING, Finding, Verdict, judge_study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DECISIVE = ("contradicted", "undecided", "supported", "by construction")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is drawn and said of a study, each empty if there is none."""

    svg: bytes = b""
    alt: str = ""
    """The titles and axes of the figure in words"""
    small_svg: bytes = b""
    """The figure of the comparisons"""
    lines: tuple[str, ...] = ()
    """Summaries"""
    problem: str = ""
    """Why something cannot be made"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """The result of a study with its verdict, or the reason why it has none.

    Attributes:
        result: The result.
        budget: "quick" or "full".
        verdict: The verdict, if there is one.
        unjudged: Why there is none.
    """

    result: StudyResult
    budget: Budget
    verdict: Verdict | None = None
    unjudged: str = ""

    @property
    def study(self) -> Study:
        """The study."""
        return self.result.study

    @property
    def file_name(self) -> str:
        """The study's name as a name of files and anchors."""
        return file_name(self.study.name)

    @property
    def outcome(self) -> str:
        """The outcome of the verdict, or why there is no verdict."""
        return self.verdict.outcome if self.verdict else self.unjudged

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Those of the study, with their values if there is a verdict: else they may not pair."""
        table = Table(self.result.outcomes)
        return tuple(x.sample(table) if self.verdict else x for x in self.study.parts)

    @property
    def samples(self) -> tuple[Hypothesis, ...]:
        """Every hypothesis that was judged, with its values; each once."""
        found = (x for part in self.parts for x in (*part.premises, *part.hypotheses))
        return tuple({x.name: x for x in found if self.verdict and x.values is not None}.values())

    @cached_property
    def figures(self) -> Figures:
        """Figures and summaries; what cannot be made is named in `problems`."""
        made: dict[str, Any] = {}
        study, result, outcomes = self.study, self.result, self.result.outcomes
        if self.verdict is None:
            return Figures()
        drawn = [x for x in self.verdict.findings if x.kind != "exact" and x.interval]
        try:
            made["small_svg"] = figure_bytes(draw_findings(drawn), "svg") if drawn else b""
            made["lines"] = study.text(outcomes)
            if study.panels:
                figure = draw_panels(study, Table(outcomes))
                made |= {"svg": figure_bytes(figure, "svg"), "alt": _in_words(figure)}
            elif result.num_published:  # its design was changed since then
                alt = f"Figure of {study.claim}, as it was published"
                made |= {"svg": result.figure, "alt": alt, "lines": result.lines}
        except Exception as error:  # noqa: BLE001 - one study's defect must not hide the others
            reason = f"{type(error).__name__}: {error}"
            made["problem"] = f"text or figure cannot be made ({reason})"
        return Figures(**made)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is missing, and why, one line each."""
        return tuple(filter(None, (*self.result.damaged, self.figures.problem)))

    @property
    def headline(self) -> tuple[str, str]:
        """The outcome, capitalised and with a mark after it, and the parts by outcome."""
        verdict = self.verdict
        if verdict is None:
            return f"{self.unjudged.capitalize()}.", ""
        outcome, parts = verdict.outcome.capitalize(), verdict.sentence
        if {x.outcome for x in verdict.parts} - set(NOT_DECIDING) <= {verdict.outcome}:
            mark, _, rest = parts.removeprefix(outcome).partition(": ")
            return f"{outcome}{mark}:", rest
        return f"{outcome}.", parts

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every hypothesis that was judged, premises first."""
        parts = self.verdict.parts if self.verdict else ()
        return tuple(x for part in parts for x in (*part.premises, *part.findings))

    @property
    def decisive(self) -> str:
        """The first result that keeps the claim from being supported, else the first result."""
        findings = self.verdict.findings if self.verdict else ()
        ranked = (x for outcome in DECISIVE for x in findings if x.outcome == outcome)
        line = next(map(text.result_line, ranked), "")
        condition, colon, rest = line.partition(": ")
        line = f"{self.study.labels.get(condition, condition)}{colon}{rest}"
        return line[:1].upper() + line[1:]

    @property
    def plan(self) -> tuple[Planned, ...]:
        """The plan, with the power that was computed before the run."""
        result = self.result
        if result.plan:
            return result.plan
        design = registered().get("studies", {}).get(self.study.name, {})
        if design.get("fingerprint") == result.fingerprint:
            return tuple(Planned(**x) for x in design["hypotheses"])
        return plan_study(self.study, self.budget)

    @property
    def is_of_project(self) -> bool:
        """Whether it is a study of the project, not of a user's own."""
        return self.result.source.startswith(CLAIMS)

    @property
    def tables(self) -> list[tuple[str, text.TableText]]:
        """Hypotheses, literature, sensitivity, changes and plan, with their titles."""
        study, verdict = self.study, self.verdict
        changes = [x for x in history()[1] if self.is_of_project and study.claim in x["claims"]]
        spreads = {x.name: x.measured_spread for x in self.samples if x.measured_spread is not None}
        tables: dict[str, text.TableText] = {}
        if verdict:
            tables["Hypotheses"] = text.evidence_table(verdict.parts)
            tables["What papers found"] = text.literature_table(study, self.findings)
            tables["Other margins, cut-offs and families"] = text.sensitivity_table(verdict)
        tables["Changes after results were seen"] = text.change_table(changes)
        tables["Plan"] = text.plan_table(self.plan, spreads)
        return [(title, (head, rows)) for title, (head, rows) in tables.items() if rows]

    def to_dict(self) -> dict[str, Any]:
        """The study, its verdict, the evidence and every trial, as JSON types.

        Returns:
            A dictionary for `json.dumps`.
        """
        study, result = self.study, self.result
        return {
            **{key: getattr(study, key) for key in WORDS},
            "source": result.source,
            "fingerprint": result.fingerprint,
            "seeds": study.seeds[self.budget],
            "num_trials": result.num_planned,
            "limits": list(study.limits),
            "literature": [asdict(x) for x in study.literature],
            "references": list(study.references),
            "verdict": self.verdict.to_dict() if self.verdict else None,
            "unjudged": self.unjudged,
            "text": list(self.figures.lines),
            "problems": list(self.problems),
            "plan": [asdict(x) for x in self.plan],
            "parts": [each_hypothesis(vars(x), Hypothesis.to_dict) for x in self.parts],
            "trials": [x.trial.to_dict() | {"values": x.values} for x in result.outcomes],
        }

    def to_csv(self) -> str:
        """One row for each value of each trial; lists and objects are JSON.

        Returns:
            The text of the file.
        """
        file = StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["study", "condition", "seed", "settings", "measure", "value"])
        for outcome in self.result.outcomes:
            trial = outcome.trial
            settings = json.dumps(dict(trial.settings), sort_keys=True)
            for measure, value in outcome.values.items():
                cell = value if isinstance(value, str | int | float) else json.dumps(value)
                writer.writerow([trial.study, trial.condition, trial.seed, settings, measure, cell])
        return file.getvalue()

    @property
    def downloads(self) -> dict[str, str]:
        """Names and data URIs of the files with raw data inside the page."""
        data = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
        return {
            f"{self.file_name}.json": data_uri(data.encode(), "application/json"),
            f"{self.file_name}.csv": data_uri(self.to_csv().encode(), "text/csv"),
        }


def judge(results: Results) -> tuple[Section, ...]:
    """The verdict of every study, by the hypotheses of its own claim alone.

    Args:
        results: From `run_studies`, `read_results` or `read_published`.

    Returns:
        One section for each study; one that is not complete, or whose values cannot be computed,
        has no verdict.
    """
    family = sum(x.study.num_tests for x in results.studies if x.is_complete)
    return tuple(
        Section(result=x, budget=results.budget, **_judged(x, family)) for x in results.studies
    )


def _judged(result: StudyResult, report_family: int) -> dict[str, Any]:
    if not result.is_complete:
        count, total = len(result.outcomes), result.num_planned
        return {"unjudged": f"unfinished: {count} of {total} trials are measured"}
    table = Table(result.outcomes)
    try:
        return {"verdict": judge_study(result.study, table, report_family=report_family)}
    except Exception as error:  # noqa: BLE001 - one study's defect must not hide the others
        return {"unjudged": f"its verdict cannot be computed ({type(error).__name__}: {error})"}


def _in_words(figure: "Figure") -> str:
    """The titles and axes of a figure."""
    parts = [figure.get_suptitle()]
    for axes in figure.axes:
        x, y = axes.get_xlabel(), axes.get_ylabel()
        parts += [axes.get_title(), f"{y} against {x}" if x and y else x or y]
    words = "; ".join(dict.fromkeys(" ".join(part.split()) for part in parts if part.strip()))
    return f"Figure: {words}" if words else "Figure"
