"""The words and numbers of a report on studies, for page, Markdown and terminal alike."""

from collections.abc import Iterable

from clearhead.studies.store import Judged, Results
from clearhead.studies.verdict import LEVEL, Finding

DIGITS = 3  # significant
LEAST_P = 1e-4
PURE = "1"

RULE = (
    "A comparison is paired: the same seed on both sides, first minus second. Expecting more, it "
    f"is supported if the adjusted p is below {LEVEL} and its 95 % interval lies wholly at or "
    "above the margin, and contradicted if that lies wholly below the margin. Expecting no "
    "difference, it is supported if the interval lies within ± margin, and contradicted if it lies "
    "wholly outside. With fewer than three pairs it is undecided. A check is supported if every "
    "single value lies in the range that was predicted.",
    "A claim is supported if all of its evidence is, contradicted if all of its evidence is, "
    "mixed if there is both, and undecided otherwise. So all parts of a hypothesis are tested, "
    "even where the statement says “or” or “can”. Margins, conditions and numbers of seeds stand "
    "in the study's code.",
    "A p is about a difference from zero, not from the margin; adjusted for many comparisons are "
    "the p that can support “more”, and no intervals. A check of the shipped "
    "reader is about one set of weights: its n counts samples of digits. Designs were changed "
    "after pilots; the project's log says how, and with which seeds.",
    "Seen is what the interval shows, whatever was expected: more or less than zero (by less than "
    "the margin, where it lies within ± margin), no difference where it lies within ± margin and "
    "has zero in it, else unclear; of a check, how many values are outside.",
)
STATISTICS = (
    "Intervals: on each side the wider of bootstrap-t (9,999 resamples; Efron & Tibshirani 1993) "
    "and Student's t; below five pairs Student's alone. p: sign-flip permutation test of the mean "
    "difference (Fisher 1935), exact up to 14 pairs, above with 99,999 drawn flips and the "
    "correction of Phipson & Smyth (2010); for no difference, the larger p of two one-sided tests "
    "at ± margin (Schuirmann 1987). Effect size: mean difference in standard deviations of the "
    "differences, with Hedges' correction (1981)."
)


def number(value: float | None) -> str:
    """Three significant digits; empty where there is none."""
    if value is None:
        return ""
    text = f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.{DIGITS}g}"
    return text.replace("-", "−")


def interval(pair: tuple[float, float] | None) -> str:
    """From – to."""
    return "" if pair is None else f"{number(pair[0])} to {number(pair[1])}"


def probability(p: float | None) -> str:
    """A p value."""
    if p is None:
        return ""
    return f"<{LEAST_P:.4f}" if p < LEAST_P else f"{p:.2g}"


def predicted(finding: Finding) -> str:
    """What was predicted, with its unit: "at least 1 points", "within ± 0.5 %", "0 to 1"."""
    if finding.kind == "comparison" and finding.expects == "more":
        told = f"at least {number(finding.low)}"
    elif finding.kind == "comparison":
        told = f"within ± {number(finding.high)}"
    elif finding.low is None or finding.high is None:
        told = "at most " + number(finding.high) if finding.low is None else ""
        told = told or f"at least {number(finding.low)}"
    else:
        told = interval((finding.low, finding.high))
    return with_unit(told, finding)


def with_unit(told: str, finding: Finding) -> str:
    """Numbers and their unit, which for pure numbers is "1" and not said."""
    return told if finding.unit in ("", PURE) else f"{told} {finding.unit}"


def effect(finding: Finding) -> str:
    """One finding in a line: what, how much, from where to where."""
    if finding.estimate is None:
        return f"{finding.name}: no number"
    kind = "95 % interval" if finding.kind == "comparison" else "all values"
    told = f"{finding.name}: {with_unit(number(finding.estimate), finding)}"
    return told if finding.interval is None else f"{told} ({kind} {interval(finding.interval)})"


def answer(judged: Judged) -> str:
    """The verdict, or why there is none."""
    return judged.verdict.outcome if judged.verdict else judged.unjudged


def decisive(judged: Judged) -> str:
    """What decided: the first finding, or the first that did not come supported."""
    if judged.verdict is None or not judged.verdict.findings:
        return ""
    findings = judged.verdict.findings
    wanted = "undecided" if judged.verdict.outcome == "undecided" else "contradicted"
    return effect(next((x for x in findings if x.outcome == wanted), findings[0]))


def budget_note(results: Results) -> str:
    """What to know about the budget before reading on; empty for the full one."""
    if results.budget != "quick":
        return ""
    return (
        "Quick budget: few seeds and small runs, for a first look. Much stays undecided that the "
        "full budget can decide; do not cite these verdicts."
    )


def methods(results: Results, family: int) -> tuple[tuple[str, str], ...]:
    """How it was done: heading and text, in the order to be read."""
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    seeds = f"Seeds from {results.first_seed} on, as many as each study says for this budget"
    return (
        ("Rule", " ".join(RULE)),
        ("Statistics", STATISTICS),
        (
            "Many comparisons",
            f"The p values are adjusted by Holm's method (1979) over all {family} comparisons of "
            "this report; checks, which have no p, are not counted."
            if family
            else "There is no comparison in this report, so no p value.",
        ),
        ("Seeds", f"{seeds}; a trial follows from its condition and its seed alone."),
        ("Versions", versions),
        *(("Run", line) for line in _runs(results.log)),
    )


def minutes(seconds: float) -> str:
    """A duration as people say it."""
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"


def _runs(log: Iterable[dict[str, object]]) -> list[str]:
    """Each run that added to the results: command, machine, engine, time."""
    runs: list[dict[str, object]] = []
    for event in log:
        if event["event"] == "begin":
            runs.append({**event, "elapsed": 0.0, "measured": 0})
        elif runs:
            runs[-1]["elapsed"] = event.get("elapsed", runs[-1]["elapsed"])
            runs[-1]["measured"] = int(str(runs[-1]["measured"])) + (event["event"] == "trial")
    return [_run(one) for one in runs]


def _run(one: dict[str, object]) -> str:
    machine = one.get("machine")
    facts = machine if isinstance(machine, dict) else {}
    told = f"{facts.get('processor')}, {facts.get('cores')} cores, {facts.get('memory_gib')} GiB"
    duration = minutes(float(str(one["elapsed"])))
    return (
        f"{one.get('command')} measured {one['measured']} trials in {duration}"
        f" with {one.get('workers')} at once ({one.get('engine')}), on {told}, "
        f"{facts.get('system')}"
    )
