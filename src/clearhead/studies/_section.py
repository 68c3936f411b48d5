"""One study of a report: its verdict, evidence, figures and tables."""

import csv
import json
from dataclasses import asdict, dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from clearhead.explanation import data_uri
from clearhead.insight.plots import figure_bytes
from clearhead.studies import _report_text as text
from clearhead.studies._panels import draw_findings
from clearhead.studies._records import file_name
from clearhead.studies.claims import CLAIMS
from clearhead.studies.hypotheses import Sample
from clearhead.studies.published import part_to_dict
from clearhead.studies.registration import Planned, history, plan_study, registered
from clearhead.studies.store import Judged
from clearhead.studies.study import Study
from clearhead.studies.table import Budget, Table
from clearhead.studies.verdict import NOT_DECIDING, Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DECISIVE = ("contradicted", "undecided", "supported", "by construction")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One study of a report."""

    judged: Judged
    budget: Budget
    samples: tuple[Sample, ...] = ()
    lines: tuple[str, ...] = ()
    """Summaries"""
    svg: bytes = b""
    alt: str = ""
    """The figure, empty if there is none, and its titles and axes in words"""
    small_svg: bytes = b""
    """The figure of the comparisons, empty if there is none"""
    problems: tuple[str, ...] = ()
    """What is missing, and why, one line each"""

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
        parts = self.judged.verdict.parts if self.judged.verdict else ()
        return tuple(x for part in parts for x in (*part.premises, *part.findings))

    @property
    def decisive(self) -> str:
        """The first result that keeps the claim from being supported, else the first result."""
        findings = self.judged.verdict.findings if self.judged.verdict else ()
        ranked = (x for outcome in DECISIVE for x in findings if x.outcome == outcome)
        line = next(map(text.result_line, ranked), "")
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
    def is_of_project(self) -> bool:
        """Whether it is a study of the project, not of a user's own."""
        return self.judged.result.source.startswith(CLAIMS)

    @property
    def tables(self) -> list[tuple[str, text.TableText]]:
        """Hypotheses, literature, sensitivity, changes and plan, with their titles."""
        study, verdict = self.study, self.judged.verdict
        changes = [x for x in history()[1] if self.is_of_project and study.claim in x.claims]
        spreads = {
            x.hypothesis.name: float(np.std(x.values, ddof=1))
            for x in self.samples
            if len(x.values) > 1
        }
        tables: dict[str, text.TableText | None] = {}
        if verdict:
            tables["Hypotheses"] = text.evidence_table(verdict.parts)
            tables["What papers found"] = text.literature_table(study, self.findings)
            tables["Other margins, cut-offs and families"] = text.sensitivity_table(verdict)
        tables["Changes after results were seen"] = text.change_table(changes)
        tables["Plan"] = text.plan_table(self.plan, spreads)
        return [(title, table) for title, table in tables.items() if table]

    def to_dict(self) -> dict[str, Any]:
        """The study, its verdict, the evidence and every trial, as JSON types."""
        study, judged = self.study, self.judged
        words = ("name", "claim", "statement", "question", "conditions", "measure")
        return {
            **{key: getattr(study, key) for key in words},
            "source": judged.result.source,
            "fingerprint": judged.result.fingerprint,
            "seeds": study.seeds[self.budget],
            "num_trials": judged.result.num_planned,
            "limits": list(study.limits),
            "literature": [asdict(x) for x in study.literature],
            "references": list(study.references),
            "verdict": judged.verdict.to_dict() if judged.verdict else None,
            "unjudged": judged.unjudged,
            "text": list(self.lines),
            "problems": list(self.problems),
            "plan": [x.to_dict() for x in self.plan],
            "parts": [part_to_dict(part, Table(judged.result.outcomes)) for part in study.parts],
            "trials": [x.trial.to_dict() | {"values": x.values} for x in judged.result.outcomes],
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

    @property
    def downloads(self) -> dict[str, str]:
        """Names and data URIs of the files with raw data inside the page."""
        data = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
        return {
            f"{self.file_name}.json": data_uri(data.encode(), "application/json"),
            f"{self.file_name}.csv": data_uri(self.to_csv().encode(), "text/csv"),
        }


def section_of(judged: Judged, budget: Budget) -> Section:
    """Describe and draw a study; what cannot be made is named in `problems`."""
    made: dict[str, Any] = {"problems": judged.result.damaged}
    if judged.verdict:
        study, published = judged.result.study, judged.result.published
        table = Table(judged.result.outcomes)
        made["samples"] = tuple(x.sample(table) for x in study.hypotheses if x.is_measured(table))
        drawn = [x for x in judged.verdict.findings if x.kind != "exact" and x.interval]
        try:
            made["small_svg"] = figure_bytes(draw_findings(drawn), "svg") if drawn else b""
            made["lines"] = study.text(table.outcomes)
            if study.panels:
                figure = study.figure(table.outcomes)
                made |= {"svg": figure_bytes(figure, "svg"), "alt": _in_words(figure)}
            elif published:  # its design was changed since then
                made["lines"] = published.lines
                alt = f"Figure of {study.claim}, as it was published"
                made |= {"svg": published.figure, "alt": alt}
        except Exception as error:  # noqa: BLE001 - one study's defect must not hide the others
            reason = f"{type(error).__name__}: {error}"
            made["problems"] += (f"text or figure cannot be made ({reason})",)
    return Section(judged=judged, budget=budget, **made)


def _in_words(figure: "Figure") -> str:
    """The titles and axes of a figure."""
    parts = [figure.get_suptitle()]
    for axes in figure.axes:
        x, y = axes.get_xlabel(), axes.get_ylabel()
        parts += [axes.get_title(), f"{y} against {x}" if x and y else x or y]
    words = "; ".join(dict.fromkeys(" ".join(part.split()) for part in parts if part.strip()))
    return f"Figure: {words}" if words else "Figure"
