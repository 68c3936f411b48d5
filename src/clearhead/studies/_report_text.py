"""Labels and numbers of a report on studies, for HTML, Markdown and the command line."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Any

from clearhead.studies.study import ComparisonData, EvidenceData
from clearhead.studies.verdict import Finding

SIGNIFICANT_DIGITS = 3
MIN_P = 1e-4
MAX_RAW_ROWS = 100
DIMENSIONLESS = ("", "1")

EVIDENCE_HEAD = (
    *("evidence", "outcome", "n", "predicted"),
    *("mean (check: median)", "95 % interval (check: range)"),
    *("effect size", "p", "adjusted p", "observed"),
)


def number(value: float | None) -> str:
    """Three significant digits; empty for None."""
    if value is None:
        return ""
    text = f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.{SIGNIFICANT_DIGITS}g}"
    return text.replace("-", "−")


def interval(bounds: tuple[float, float] | None) -> str:
    """Such as "1.2 to 3.4"; empty for None."""
    return "" if bounds is None else f"{number(bounds[0])} to {number(bounds[1])}"


def p_value(p: float | None) -> str:
    """Two significant digits, or "<0.0001"; empty for None."""
    if p is None:
        return ""
    return f"<{MIN_P:.4f}" if p < MIN_P else f"{p:.2g}"


def with_unit(text: str, unit: str) -> str:
    """The text and the unit, except for pure numbers."""
    return text if unit in DIMENSIONLESS else f"{text} {unit}"


def predicted(finding: Finding) -> str:
    """The predicted range: "at least 1 points", "within ± 0.5 %", "0 to 1"."""
    low, high = finding.low, finding.high
    if finding.expects == "equal":
        text = f"within ± {number(high)}"
    elif low is not None and high is not None:
        text = interval((low, high))
    else:
        text = f"at most {number(high)}" if low is None else f"at least {number(low)}"
    return with_unit(text, finding.unit)


def result_line(finding: Finding) -> str:
    """A finding in a line: name, estimate, interval."""
    if finding.estimate is None:
        return f"{finding.name}: no number"
    kind = "95 % interval" if finding.kind == "comparison" else "all values"
    text = f"{finding.name}: {with_unit(number(finding.estimate), finding.unit)}"
    bounds = finding.interval
    return text if bounds is None else f"{text} ({kind} {interval(bounds)})"


def evidence_table(findings: Sequence[Finding]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and one row per finding, without empty columns."""
    rows = [
        (
            finding.name,
            finding.outcome,
            f"{finding.n}",
            predicted(finding),
            with_unit(number(finding.estimate), finding.unit),
            interval(finding.interval),
            number(finding.effect_size),
            p_value(finding.p),
            p_value(finding.adjusted_p),
            finding.seen,
        )
        for finding in findings
    ]
    filled = [any(column) for column in zip(*rows, strict=True)]
    return tuple(compress(EVIDENCE_HEAD, filled)), [tuple(compress(row, filled)) for row in rows]


def raw_table(evidence: EvidenceData) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Caption, headings and rows of the values behind a piece of evidence, at most 100 rows."""
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    if isinstance(evidence, ComparisonData):
        head = ("seed", "first", "second", "difference")
        sides = (evidence.first.seeds, evidence.first.values, evidence.second.values)
        columns = (*sides, evidence.differences)
        rows = [tuple(map(repr, row)) for row in zip(*columns, strict=True)]
    else:
        head = ("trial", "value")
        rows = [(f"{place}", repr(x)) for place, x in enumerate(evidence.values, start=1)]
    caption = f"{evidence.name}, {evidence.unit}".rstrip(", ")
    if len(rows) > MAX_RAW_ROWS:
        caption += f" (the first {MAX_RAW_ROWS} of {len(rows):,})"
    return caption, head, rows[:MAX_RAW_ROWS]


def run_lines(log: Iterable[dict[str, Any]]) -> list[str]:
    """Each run that added trials: command, number of trials, time, machine."""
    runs: list[dict[str, Any]] = []
    for event in log:
        if event["event"] == "begin":
            runs.append({**event, "elapsed": 0.0, "measured": 0})
        elif runs:
            runs[-1]["elapsed"] = event.get("elapsed", runs[-1]["elapsed"])
            runs[-1]["measured"] += event["event"] == "trial"
    return [_run_line(run) for run in runs]


def _run_line(run: Mapping[str, Any]) -> str:
    seconds, machine = run["elapsed"], run["machine"]
    duration = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"
    return (
        f"{run['command']}: {run['measured']} trials in {duration}, {run['workers']} at a time "
        f"({run['engine']}), on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}"
    )
