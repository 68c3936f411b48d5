"""The one rule by which measured values become verdicts; no study has a rule of its own.

docs/studies.md states it: comparisons by two one-sided p values each, adjusted by Holm's method
over the claim; premises outside of that family; parts from their comparisons, the claim from its
parts. The family is a claim, because each is cited by itself and adding a study must not change the
others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any, Literal

import numpy as np

from clearhead.studies.hypotheses import Declared, Hypothesis
from clearhead.studies.stats import hedges_g, holm, inside_p, outside_p, paired_interval
from clearhead.studies.study import Part, Study
from clearhead.studies.table import Table

LEVEL = 0.025
"""Level of each one-sided test; support and contradiction together have twice this"""
MIN_SEEDS = 6
"""With five, not even the sign test can reach the level: 1/2⁵ > 0.025"""
MIN_VALUES = 2
LARGEST = {"share": 1.0, "percentage points": 100.0, "%": 100.0}
"""The largest size of a difference, by the first word or words of its unit"""

Outcome = Literal[
    "supported",
    "contradicted",
    "mixed",
    "undecided",
    "by construction",
    "described",
    "not measured",
]
CONSTRUCTED: Literal["by construction"] = "by construction"
NOT_DECIDING = {CONSTRUCTED: 1, "described": 2}
"""Outcomes of parts that do not count for the claim, in the order in which they are printed"""


@dataclass(frozen=True, kw_only=True)
class Finding(Declared):
    """A hypothesis, judged. Numbers that cannot be computed are None."""

    n: int = 0
    """Seeds of a comparison; if "exact", values"""
    estimate: float | None = None
    """Mean difference; if "exact", the median"""
    interval: tuple[float, float] | None = None
    """95 % interval of the mean difference; if "exact", the smallest and largest value"""
    p: float | None = None
    """That the mean lies in the predicted range, adjusted over the claim"""
    p_against: float | None = None
    """That it lies outside, adjusted over the claim"""
    effect_size: float | None = None
    """Mean difference in standard deviations of the differences; None for a bound"""
    outcome: Outcome = "not measured"
    note: str = ""
    """Why a comparison is undecided, or what was measured, in a few words"""

    @property
    def is_claimed(self) -> bool:
        """Whether it belongs to the family: a comparison that predicts something."""
        return self.p is not None


@dataclass(frozen=True, kw_only=True)
class PartVerdict:
    """The verdict of one part.

    Attributes:
        name: The part.
        outcome: Its outcome.
        findings: Its hypotheses, judged.
        premises: Its premises, judged.
        failed: The premises that are not supported, if any.
        sensitivity: Outcomes under other margins, cut-offs and families, by name.
    """

    name: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    premises: tuple[Finding, ...] = ()
    failed: tuple[str, ...] = ()
    sensitivity: Mapping[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of a claim, with those of its parts.

    Attributes:
        outcome: The outcome of the claim.
        parts: The parts.
        family: The number of comparisons over which p values are adjusted.
    """

    outcome: Outcome
    parts: tuple[PartVerdict, ...]
    family: int

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of all parts, without premises."""
        return tuple(x for part in self.parts for x in part.findings)

    @property
    def sentence(self) -> str:
        """The parts by outcome, those that decide first; then by construction, then described."""
        groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for part in sorted(self.parts, key=lambda part: NOT_DECIDING.get(part.outcome, 0)):
            groups.setdefault((part.outcome, part.failed), []).append(part.name)
        return " ".join(
            f"{_group_name(outcome, failed)}: {'; '.join(names)}."
            for (outcome, failed), names in groups.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types.

        Returns:
            A dictionary for `json.dumps`.
        """
        return asdict(self)


def judge_study(study: Study, table: Table, *, report_family: int = 0) -> Verdict:
    """The verdict of a claim from the outcomes of its trials.

    Args:
        study: The study.
        table: The outcomes. Parts whose outcomes are missing are "not measured".
        report_family: The number of comparisons in a whole report, for the table of sensitivity.

    Returns:
        The verdict.

    Raises:
        InputError: The sides of a comparison have different seeds.
    """
    parts = [part.sample(table) for part in study.parts]
    others = _sensitivity(parts, report_family)
    variants = {name for part in parts for name in part.variants}
    verdicts = []
    findings = _judge_together([part.hypotheses for part in parts])
    for place, (part, own) in enumerate(zip(parts, findings, strict=True)):
        premises = tuple(judge_samples([x])[0] for x in part.premises)
        failed = tuple(x.name for x in premises if x.outcome not in ("supported", CONSTRUCTED))
        sensitivity = {
            name: _outcome(found[place], failed)
            for name, found in others.items()
            if name not in variants - part.variants.keys() and any(x.is_claimed for x in own)
        }
        verdicts.append(
            PartVerdict(
                name=part.name,
                outcome=_outcome(own, failed),
                findings=own,
                premises=premises,
                failed=failed,
                sensitivity=sensitivity,
            )
        )
    empirical = [x.outcome for x in verdicts if x.outcome != CONSTRUCTED]
    return Verdict(
        outcome=_combined(empirical) if empirical else CONSTRUCTED,
        parts=tuple(verdicts),
        family=sum(x.is_claimed for own in findings for x in own),
    )


def judge_samples(samples: Iterable[Hypothesis], *, family: int = 0) -> tuple[Finding, ...]:
    """Hypotheses judged as one family.

    Args:
        samples: Hypotheses with their values; those without values are "not measured".
        family: The size of a larger family, to which Bonferroni's correction is applied instead.

    Returns:
        The findings, in the same order.
    """
    findings = [_described(x) for x in samples]
    raw = np.array([(x.p, x.p_against) for x in findings if x.is_claimed]).reshape(-1, 2).T
    adjusted = iter((np.minimum(1.0, raw * family) if family else holm(raw)).T.tolist())
    return tuple(_decided(x, *next(adjusted)) if x.is_claimed else x for x in findings)


def _judge_together(
    parts: Sequence[Sequence[Hypothesis]], family: int = 0
) -> list[tuple[Finding, ...]]:
    """The findings of each part; all parts are one family."""
    findings = iter(judge_samples((x for part in parts for x in part), family=family))
    return [tuple(islice(findings, len(part))) for part in parts]


def _sensitivity(parts: Sequence[Part], report_family: int) -> dict[str, list[tuple[Finding, ...]]]:
    """The findings with other margins and cut-offs, and over all comparisons of a report."""
    own = [part.hypotheses for part in parts]
    others: dict[str, list[Any]] = {
        f"margins times {factor:g}": [[x.scaled(factor) for x in part] for part in own]
        for factor in (0.5, 2)
    }
    for name in (name for part in parts for name in part.variants):
        others[name] = [part.variants.get(name, part.hypotheses) for part in parts]
    judged = {name: _judge_together(other) for name, other in others.items()}
    if report_family:
        name = f"adjusted over all {report_family} comparisons of the report"
        judged[name] = _judge_together(own, family=report_family)
    return judged


def _outcome(findings: Iterable[Finding], failed: Sequence[str]) -> Outcome:
    """Of a part; undecided while premises fail."""
    outcome = _combined([x.outcome for x in findings])
    return "undecided" if failed and outcome not in ("not measured", "described") else outcome


def _combined(outcomes: Sequence[Outcome]) -> Outcome:
    """Of hypotheses to a part, of parts to a claim; what is only described does not count."""
    found = set(outcomes) - {"described"}
    if not found:
        return "described"
    if len(found) == 1:
        return found.pop()
    mixed = {"supported", "contradicted"} <= found or "mixed" in found
    return "mixed" if mixed else "undecided"


def _described(sample: Hypothesis) -> Finding:
    """A finding with p values that are not adjusted, and without the outcome of a comparison."""
    finding, values = Finding(**sample.declared()), sample.values
    if values is None:
        return finding
    finding = replace(finding, n=len(values), outcome="undecided")
    if sample.kind == "exact":
        return _checked(finding, values)
    if not values or not np.isfinite(values).all():
        return replace(finding, note="not all values are numbers", p=1.0, p_against=1.0)
    finding = replace(
        finding,
        estimate=float(np.mean(values)),
        interval=_interval(values, sample) if len(values) > 1 else None,
        effect_size=None if sample.kind == "bound" else hedges_g(values),
    )
    if sample.kind == "estimate":
        return replace(finding, outcome="described")
    return replace(
        finding,
        p=float(inside_p(values, *sample.region)),
        p_against=float(outside_p(values, *sample.region)),
    )


def _interval(values: Sequence[float], hypothesis: Declared) -> tuple[float, float]:
    """The interval of the mean, within what its unit allows: a bound's share is not negative.

    If almost all differences are equal, bootstrap-t can exceed it by far.
    """
    low, high = map(float, paired_interval(values))
    limits = (x for name, x in LARGEST.items() if hypothesis.unit.startswith(name))
    limit = max(next(limits, math.inf), *map(abs, values))
    is_share = limit < math.inf and hypothesis.kind == "bound" and min(values) >= 0
    return max(low, 0.0 if is_share else -limit), min(high, limit)


def _checked(finding: Finding, values: Sequence[float]) -> Finding:
    low, high = finding.region
    outside = sum(not low <= value <= high for value in values)  # NaN is outside
    whole = bool(values) and bool(np.isfinite(values).all())
    outcome: Outcome = "contradicted" if outside else CONSTRUCTED
    return replace(
        finding,
        estimate=float(np.median(values)) if whole else None,
        interval=(min(values), max(values)) if whole else None,
        outcome=outcome if len(values) >= MIN_VALUES else "undecided",
        note=f"{outside} of {len(values)} outside" if outside else "",
    )


def _group_name(outcome: str, failed: Sequence[str]) -> str:
    """Before the names of parts."""
    name = "Described, without a verdict" if outcome == "described" else outcome.capitalize()
    plural = "s" if len(failed) > 1 else ""
    return f"{name}, premise{plural} not supported ({'; '.join(failed)})" if failed else name


def _decided(finding: Finding, p: float, p_against: float) -> Finding:
    """With adjusted p values, and the outcome that follows from them."""
    outcome: Outcome = "undecided"
    note = finding.note
    if finding.n < MIN_SEEDS:
        note = note or f"fewer than {MIN_SEEDS} seeds"
    elif p < LEVEL:
        outcome = "supported"
    elif p_against < LEVEL:
        outcome, note = "contradicted", note or _observed(finding)
    return replace(finding, p=p, p_against=p_against, outcome=outcome, note=note)


def _observed(finding: Finding) -> str:
    """What was found instead of a difference."""
    if finding.kind != "difference" or finding.low is None or finding.interval is None:
        return ""
    margin, (low, high) = finding.low, finding.interval
    if low <= 0 <= high:
        return "no difference" if low >= -margin else ""
    side = "less" if high < 0 else "more"
    return f"{side}, by less than the margin" if low >= -margin else side
