"""Labels and numbers of a report on studies, for HTML, Markdown and the command line."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Any

from clearhead.studies.study import ComparisonData, EvidenceData
from clearhead.studies.verdict import LEVEL, Finding

SIGNIFICANT_DIGITS = 3
MIN_P = 1e-4
MAX_RAW_ROWS = 100
DIMENSIONLESS = ("", "1")

EVIDENCE_HEAD = (
    *("evidence", "outcome", "n", "predicted"),
    *("mean (check: median)", "95 % interval (check: range)"),
    *("effect size", "p", "adjusted p", "observed"),
)
RULES = (
    (
        "Evidence",
        "A comparison is paired: the same seed on both sides, first minus second. If “more” is "
        f"expected, it is supported if the adjusted p is below {LEVEL} and the 95 % interval lies "
        "wholly at or above the margin, and contradicted if the interval lies wholly below the "
        "margin. If “equal” is expected, it is supported if the interval lies within ± margin, and "
        "contradicted if it lies wholly outside. With fewer than three pairs it is undecided. A "
        "check is supported if every single value lies in the predicted range.",
    ),
    (
        "Verdict",
        "A claim is supported if all of its evidence is, contradicted if all of its evidence is, "
        "mixed if some is supported and some contradicted, and undecided otherwise. All parts of a "
        "hypothesis are tested, even where the statement contains “or” or “can”. Margins, "
        "conditions and numbers of seeds are in the code of the study.",
    ),
    (
        "Observed",
        "The last column of the evidence does not depend on the prediction: more or less than zero "
        "(by less than the margin, if the interval lies within ± margin), no difference if the "
        "interval lies within ± margin and contains zero, otherwise unclear; for a check, the "
        "number of values outside the range.",
    ),
    (
        "Limits",
        "A p value is about a difference from zero, not from the margin. The adjustment for many "
        "comparisons changes p values only, not intervals. A check of the shipped model is about "
        "one set of weights: its n counts samples of digits. Designs were changed after pilots; "
        "the project's LOG.md lists the changes and the seeds of the pilots.",
    ),
)
STATISTICS = (
    "Intervals: on each side the wider of bootstrap-t (9,999 resamples; Efron & Tibshirani 1993) "
    "and Student's t; below five pairs Student's alone. p: sign-flip permutation test of the mean "
    "difference (Fisher 1935), exact up to 14 pairs, above with 99,999 random flips and the "
    "correction of Phipson & Smyth (2010); if “equal” is expected, the larger p of two one-sided "
    "tests at ± margin (Schuirmann 1987). Effect size: mean difference in standard deviations of "
    "the differences, with Hedges' correction (1981)."
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
    """Headings and one row a finding, without empty columns."""
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


def methods(
    *, family: int, first_seed: int, versions: Mapping[str, str], log: Iterable[dict[str, Any]]
) -> list[tuple[str, str]]:
    """The section on methods: headings and texts."""
    return [
        *RULES,
        ("Statistics", STATISTICS),
        (
            "Many comparisons",
            f"The p values are adjusted by Holm's method (1979) over all {family} comparisons of "
            "this report; checks have no p value."
            if family
            else "There are no comparisons in this report, and so no p values.",
        ),
        (
            "Seeds",
            f"The first seed is {first_seed:,}; each study fixes the number of seeds for this "
            "budget. Condition, settings and seed determine a trial.",
        ),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        *(("Run", run) for run in _runs(log)),
    ]


def _runs(log: Iterable[dict[str, Any]]) -> list[str]:
    """Each run that added trials: command, number of trials, time, machine."""
    runs: list[dict[str, Any]] = []
    for event in log:
        if event["event"] == "begin":
            runs.append({**event, "elapsed": 0.0, "measured": 0})
        elif runs:
            runs[-1]["elapsed"] = event.get("elapsed", runs[-1]["elapsed"])
            runs[-1]["measured"] += event["event"] == "trial"
    return [_run(run) for run in runs]


def _run(run: Mapping[str, Any]) -> str:
    seconds, machine = run["elapsed"], run["machine"]
    duration = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"
    return (
        f"{run['command']}: {run['measured']} trials in {duration}, {run['workers']} at a time "
        f"({run['engine']}), on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}"
    )
