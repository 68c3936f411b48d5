"""Labels, numbers and tables of a report on studies, for HTML, Markdown and the command line."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from types import MappingProxyType
from typing import Any

from clearhead.studies.hypotheses import Declared, Hypothesis
from clearhead.studies.registration import Planned, Row
from clearhead.studies.study import Study
from clearhead.studies.verdict import Finding, PartVerdict, Verdict

SIGNIFICANT_DIGITS = 3
MIN_P = 1e-4
MAX_RAW_ROWS = 100
DIMENSIONLESS = ("", "1", "share")

TableText = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Headings and rows"""

EVIDENCE_HEAD = (
    *("part", "hypothesis", "outcome", "n", "predicted"),
    *("mean (exact: median)", "95 % interval (exact: range)"),
    *("effect size", "p", "p against", "note"),
)
PLAN_HEAD = (
    *("part", "hypothesis", "type", "predicted", "seeds"),
    "distance of the mean from the margin that is decided with 80 % power",
)
CHANGE_HEAD = ("after the", "claims", "of", "change", "reason", "verdicts changed")
LITERATURE_HEAD = ("paper", "setting", "found there", "found here")


def number(value: float | None) -> str:
    """Three significant digits; empty for None."""
    if value is None:
        return ""
    text = f"{value:.{SIGNIFICANT_DIGITS}g}"
    if 1e3 <= abs(float(text)) < 1e6:
        text = f"{value:,.0f}"
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


def predicted(item: Declared) -> str:
    """The predicted range: "above 1 points", "within ± 0.5 %", "0 to 1"."""
    low, high, exact = item.low, item.high, item.kind == "exact"
    if low is None and high is None:
        return ""
    if item.kind == "equivalence":
        text = f"within ± {number(high)}"
    elif low is not None and high is not None:
        text = interval((low, high))
    elif low is None:
        text = f"{'at most' if exact else 'below'} {number(high)}"
    else:
        text = f"{'at least' if exact else 'above'} {number(low)}"
    return with_unit(text, item.unit)


def result_line(finding: Finding) -> str:
    """A finding in a line: name, estimate, interval."""
    if finding.estimate is None:
        return f"{finding.name}: not measured"
    kind = "all values" if finding.kind == "exact" else "95 % interval"
    text = f"{finding.name}: {with_unit(number(finding.estimate), finding.unit)}"
    bounds = finding.interval
    return text if bounds is None else f"{text} ({kind} {interval(bounds)})"


def evidence_table(parts: Iterable[PartVerdict]) -> TableText:
    """One row per hypothesis and premise, without empty columns."""
    rows = [
        (
            f"premise of: {part.name}" if finding in part.premises else part.name,
            finding.name,
            finding.outcome,
            f"{finding.n}",
            predicted(finding),
            with_unit(number(finding.estimate), finding.unit) if finding.n else "",
            interval(finding.interval),
            number(finding.effect_size),
            p_value(finding.p),
            p_value(finding.p_against),
            finding.note,
        )
        for part in parts
        for finding in (*part.premises, *part.findings)
    ]
    return _without_empty_columns(EVIDENCE_HEAD, rows)


def sensitivity_table(verdict: Verdict) -> TableText:
    """One row per part: its outcome as declared, and under other margins, cut-offs and families."""
    names = tuple(dict.fromkeys(name for part in verdict.parts for name in part.sensitivity))
    rows = [
        (part.name, part.outcome, *(part.sensitivity.get(name, "") for name in names))
        for part in verdict.parts
        if part.sensitivity
    ]
    return ("part", "as declared", *names), rows


def plan_table(plan: Iterable[Planned], spreads: Mapping[str, float]) -> TableText:
    """One row per hypothesis; `spreads`, of the run, where the spread was unknown before it."""
    return PLAN_HEAD, [
        (x.part, x.name, x.kind, predicted(x), f"{x.seeds or ''}", smallest_text(x, spreads))
        for x in plan
    ]


def plan_line(planned: Planned) -> str:
    """A hypothesis in a line: name, type, predicted range, seeds, smallest effect."""
    smallest = smallest_text(planned)
    if planned.distance_in_sd:
        smallest = f"decided with 80 % power at a distance from the margin of at least {smallest}"
    seeds = f"{planned.seeds} seeds" if planned.seeds else ""
    facts = (planned.kind, predicted(planned), seeds, smallest)
    return f"{planned.name}: {'; '.join(filter(None, facts))}"


def smallest_text(planned: Planned, spreads: Mapping[str, float] = MappingProxyType({})) -> str:
    """How far from its margin a mean must lie to be decided; `spreads`: as found in the run."""
    distance, in_unit = planned.distance_in_sd, planned.distance
    if distance is None:
        return "never decided: too few seeds" if planned.decides else ""
    text = f"{number(distance)} standard deviations"
    if in_unit is None and planned.name not in spreads:
        return text
    if in_unit is None:
        in_unit = distance * spreads[planned.name]
        return f"{text} ({with_unit(number(in_unit), planned.unit)} with the spread of this run)"
    text += f" ({with_unit(number(in_unit), planned.unit)})"
    if planned.low is not None and planned.high is not None:
        text += ", with less power to support it" * (2 * in_unit > planned.high - planned.low)
    return text


def literature_table(study: Study, findings: Sequence[Finding]) -> TableText:
    """What papers found, beside what was found here."""
    here = {x.name: result_line(x) for x in findings}
    rows = [(x.source, x.setting, x.found, here.get(x.beside, "")) for x in study.literature]
    return _without_empty_columns(LITERATURE_HEAD, rows)


def change_table(changes: Iterable[Row]) -> TableText:
    """One row per change of a rule or a design after results were seen."""
    keys = ("after", "claims", "kind", "what", "why", "verdicts")
    rows = (x | {"claims": ", ".join(x["claims"]) or "all"} for x in changes)
    return CHANGE_HEAD, [tuple(x[key] for key in keys) for x in rows]


def raw_table(sample: Hypothesis) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Caption, headings and rows of the values behind a hypothesis, at most 100 rows."""
    head: tuple[str, ...] = ("trial", "value")
    values = sample.values or ()
    columns: tuple[Iterable[float], ...] = (range(1, len(values) + 1), values)
    if sample.first and sample.second:
        head = ("seed", "first", "second", "difference")
        columns = (sample.first, sample.first.values(), sample.second.values(), values)
    rows = [tuple(map(repr, row)) for row in zip(*columns, strict=True)]
    caption = f"{sample.name}, {sample.unit}".rstrip(", ")
    if len(rows) > MAX_RAW_ROWS:
        caption += f" (the first {MAX_RAW_ROWS} of {len(rows):,})"
    return caption, head, rows[:MAX_RAW_ROWS]


def shared_trainings(log: Iterable[dict[str, Any]], claims: Mapping[str, str]) -> list[str]:
    """Which studies measured the same trained models, and how many; `claims` by study."""
    users: dict[str, set[str]] = {}
    for event in log:
        for training in event.get("trainings", ()):
            users.setdefault(training, set()).add(event["study"])
    groups = Counter(
        tuple(claim for name, claim in claims.items() if name in studies)
        for studies in users.values()
    )
    return [
        f"{', '.join(group)}: the same {count} trained models"
        for group, count in groups.items()
        if len(group) > 1
    ]


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


def _without_empty_columns(head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> TableText:
    filled = [any(column) for column in zip(*rows, strict=True)]
    return tuple(compress(head, filled)), [tuple(compress(row, filled)) for row in rows]
