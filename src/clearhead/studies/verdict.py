"""The one rule by which evidence becomes a verdict; no study has a rule of its own.

A comparison gets its mean difference with a 95 % interval, a p value, and that p adjusted (Holm)
for all comparisons that are judged together. It is

- supported: expecting "more", if the adjusted p is below 0.05 and the interval lies wholly at or
  above the margin; expecting "equal", if the interval lies within ± margin
- contradicted: expecting "more", if the interval lies wholly below the margin; expecting "equal",
  if it lies wholly outside ± margin
- undecided otherwise, and always with fewer than three pairs

A check is supported if every value lies in its range, undecided with fewer than two values.
The observed difference is described as well, independently of the prediction: "more" or "less", if
the interval lies on one side of 0; with "by less than the margin", if it also lies within ± margin;
"no difference", if it lies within ± margin and has 0 in it; else "unclear".

A study with all evidence supported is "supported"; with all contradicted, "contradicted"; with
both, "mixed"; else "undecided".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from clearhead.studies.stats import equivalence_p, hedges_g, holm, paired_interval, sign_flip_p
from clearhead.studies.study import CheckData, ComparisonData, EvidenceData

LEVEL = 0.05
MIN_PAIRS = 3
MIN_VALUES = 2

FindingOutcome = Literal["supported", "contradicted", "undecided"]
VerdictOutcome = Literal["supported", "contradicted", "mixed", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One piece of evidence, judged. Numbers that cannot be computed are None."""

    kind: Literal["comparison", "check"]
    name: str
    unit: str
    expects: Literal["more", "equal", "within"]
    n: int
    """Pairs of a comparison, values of a check"""
    estimate: float | None
    """Mean difference; of a check the median"""
    interval: tuple[float, float] | None
    """95 % interval of the mean difference; of a check the smallest and largest value"""
    p: float | None
    adjusted_p: float | None
    """p after Holm, over all comparisons judged together"""
    effect_size: float | None
    """Mean difference in standard deviations of the differences"""
    low: float | None
    """Lower bound of the predicted range; None: no bound"""
    high: float | None
    outcome: FindingOutcome
    seen: str
    """The observed difference, in a few words; of a check "within" or how many are outside"""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of one study from all its findings."""

    outcome: VerdictOutcome
    findings: tuple[Finding, ...]
    family: int
    """How many comparisons the p values were adjusted for"""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


def judge_evidence(evidence: Mapping[str, Sequence[EvidenceData]]) -> dict[str, Verdict]:
    """The verdict of each study, from the evidence of all that are judged together."""
    comparisons = [
        (study, place, one)
        for study, parts in evidence.items()
        for place, one in enumerate(parts)
        if isinstance(one, ComparisonData)
    ]
    p_values = [_p(one) for _, _, one in comparisons]
    adjusted = holm(p_values).tolist() if p_values else []
    pairs = {
        (study, place): both
        for (study, place, _), *both in zip(comparisons, p_values, adjusted, strict=True)
    }
    verdicts = {}
    for study, parts in evidence.items():
        findings = tuple(
            _compared(one, *pairs[study, place])
            if isinstance(one, ComparisonData)
            else _checked(one)
            for place, one in enumerate(parts)
        )
        verdicts[study] = Verdict(
            outcome=_verdict_outcome(findings), findings=findings, family=len(comparisons)
        )
    return verdicts


def _verdict_outcome(findings: Sequence[Finding]) -> VerdictOutcome:
    outcomes = {finding.outcome for finding in findings}
    if outcomes == {"supported"}:
        return "supported"
    if outcomes == {"contradicted"}:
        return "contradicted"
    if {"supported", "contradicted"} <= outcomes:
        return "mixed"
    return "undecided"


def _p(comparison: ComparisonData) -> float:
    differences = comparison.differences
    if not differences or not np.isfinite(differences).all():
        return 1.0
    if comparison.expects == "equal":
        return float(equivalence_p(differences, comparison.margin))
    return float(sign_flip_p(differences))


def _compared(comparison: ComparisonData, p: float, adjusted: float) -> Finding:
    differences = comparison.differences
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    if differences and np.isfinite(differences).all():
        estimate = float(np.mean(differences))
        if len(differences) > 1:
            low, high = paired_interval(differences)
            interval = float(low), float(high)
    margin = comparison.margin
    return Finding(
        kind="comparison",
        name=comparison.name,
        unit=comparison.unit,
        expects=comparison.expects,
        n=len(differences),
        estimate=estimate,
        interval=interval,
        p=p,
        adjusted_p=adjusted,
        effect_size=None if estimate is None else hedges_g(differences),
        low=-margin if comparison.expects == "equal" else margin,
        high=margin if comparison.expects == "equal" else None,
        outcome=_outcome(comparison, interval, adjusted),
        seen=_seen(margin, interval),
    )


def _outcome(
    comparison: ComparisonData, interval: tuple[float, float] | None, adjusted: float
) -> FindingOutcome:
    if interval is None or len(comparison.first) < MIN_PAIRS:
        return "undecided"
    low, high = interval
    margin = comparison.margin
    if comparison.expects == "equal":
        if -margin <= low and high <= margin:
            return "supported"
        return "contradicted" if low > margin or high < -margin else "undecided"
    if adjusted < LEVEL and low >= margin:
        return "supported"
    return "contradicted" if high < margin else "undecided"


def _seen(margin: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "unclear"
    low, high = interval
    small = -margin <= low and high <= margin
    if low <= 0 <= high:
        return "no difference" if small else "unclear"
    side = "more" if low > 0 else "less"
    return f"{side}, by less than the margin" if small else side


def _checked(check: CheckData) -> Finding:
    values = check.values
    outside = sum(not check.low <= value <= check.high for value in values)  # NaN is outside
    whole = bool(values) and bool(np.isfinite(values).all())
    outcome: FindingOutcome = "undecided"
    if len(values) >= MIN_VALUES:
        outcome = "contradicted" if outside else "supported"
    return Finding(
        kind="check",
        name=check.name,
        unit=check.unit,
        expects="within",
        n=len(values),
        estimate=float(np.median(values)) if whole else None,
        interval=(min(values), max(values)) if whole else None,
        p=None,
        adjusted_p=None,
        effect_size=None,
        low=check.low if math.isfinite(check.low) else None,
        high=check.high if math.isfinite(check.high) else None,
        outcome=outcome,
        seen=f"{outside} of {len(values)} outside" if outside else "within",
    )
