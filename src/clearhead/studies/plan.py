"""The plan of a study before it is run: its hypotheses, and the smallest effects it can find."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from types import MappingProxyType
from typing import Any

from clearhead.studies.hypotheses import Comparison, Hypothesis, Kind
from clearhead.studies.stats import smallest_effect
from clearhead.studies.study import Study
from clearhead.studies.table import Budget
from clearhead.studies.verdict import LEVEL, MIN_SEEDS

POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A hypothesis with its seeds and power.

    Attributes:
        part: The part that it belongs to.
        name: Its name.
        kind: Its type.
        unit: Its unit.
        low: Lower end of the predicted range of the mean difference; None: no end.
        high: Its upper end.
        seeds: The number of seeds; None for `Exact`.
        distance_in_sd: How far the mean must lie from an end of the range to be decided with 80 %
            power at the strictest level of Holm's method, in standard deviations of the
            differences; None if it decides nothing, infinite with too few seeds.
        distance: The same in its unit, if the spread is known.
    """

    part: str
    name: str
    kind: Kind
    unit: str
    low: float | None
    high: float | None
    seeds: int | None = None
    distance_in_sd: float | None = None
    distance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types, with None for what is infinite."""
        return {
            key: None if isinstance(value, float) and not isfinite(value) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Planned":
        """From `to_dict`; a distance that is not finite becomes infinite again."""
        planned = cls(**data)
        if planned.seeds is None or planned.kind == "estimate" or planned.distance_in_sd:
            return planned
        return replace(planned, distance_in_sd=inf, distance=planned.distance)


def plan_study(
    study: Study, budget: Budget, spreads: Mapping[str, float] = MappingProxyType({})
) -> tuple[Planned, ...]:
    """Every hypothesis of a study, premises first, with the smallest effect it can find.

    Args:
        study: The study.
        budget: "quick" or "full".
        spreads: Standard deviations of the differences in an earlier run, by the names of the
            hypotheses, for those that declare no spread.

    Returns:
        One entry for each premise and hypothesis of each part.
    """
    level = LEVEL / max(1, study.num_tests)
    return tuple(
        _planned(
            study,
            budget,
            part.name,
            hypothesis,
            level=LEVEL if is_premise else level,
            spread=getattr(hypothesis, "spread", None) or spreads.get(hypothesis.name),
        )
        for part in study.parts
        for is_premise, group in ((True, part.premises), (False, part.hypotheses))
        for hypothesis in group
    )


def _planned(
    study: Study,
    budget: Budget,
    part: str,
    hypothesis: Hypothesis,
    *,
    level: float,
    spread: float | None,
) -> Planned:
    seeds, distance = None, None
    low, high = (end if isfinite(end) else None for end in hypothesis.region)
    if isinstance(hypothesis, Comparison):
        seeds = study.seeds_of(hypothesis, budget)
        if hypothesis.kind != "estimate":
            distance = smallest_effect(seeds, level, power=POWER)
            distance = distance if seeds >= MIN_SEEDS else inf
    return Planned(
        part=part,
        name=hypothesis.name,
        kind=hypothesis.kind,
        unit=hypothesis.unit,
        low=low,
        high=high,
        seeds=seeds,
        distance_in_sd=distance,
        distance=None if distance is None or spread is None else distance * spread,
    )
