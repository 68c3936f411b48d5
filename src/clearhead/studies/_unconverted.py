"""The first edition's shape of a study, for claims that are not converted yet; then deleted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from clearhead.errors import InputError
from clearhead.studies._panels import draw_differences as draw_differences
from clearhead.studies.study import CheckData, ComparisonData, EvidenceData, Expectation
from clearhead.studies.study import Study as NewStudy
from clearhead.studies.table import Budget, Cell, Outcome, Series, Table, Trial
from clearhead.studies.table import Values as Values


class Comparison(ComparisonData):
    """A comparison given as numbers."""

    def __init__(
        self,
        *,
        name: str,
        unit: str,
        first: tuple[float, ...],
        second: tuple[float, ...],
        margin: float,
        expects: Expectation = "more",
    ) -> None:
        one, other = (Series(tuple(range(len(x))), x) for x in (first, second))
        super().__init__(
            name=name, unit=unit, first=one, second=other, margin=margin, expects=expects
        )


Check = CheckData
Evidence = EvidenceData


@dataclass(frozen=True, kw_only=True)
class Study(NewStudy):
    """A study given as functions."""

    trials: Callable[[Budget, range], tuple[Trial, ...]]  # type: ignore[assignment]
    evidence: Callable[[Sequence[Outcome]], tuple[EvidenceData, ...]]  # type: ignore[assignment]
    sentences: Callable[[Sequence[Outcome]], tuple[str, ...]]
    figure: Callable[[Sequence[Outcome]], Figure]  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Nothing to check."""

    def evaluate(self, outcomes: Sequence[Outcome]) -> tuple[EvidenceData, ...]:
        """From the function."""
        return tuple(self.evidence(outcomes))

    def text(self, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
        """From the function."""
        return tuple(self.sentences(outcomes))


def outcomes_of(
    outcomes: Sequence[Outcome], condition: str, **settings: Any
) -> tuple[Outcome, ...]:
    """The outcomes of one condition, one a seed, in the order of the seeds."""
    rows = Table(outcomes).rows(Cell(condition, "", settings)).outcomes
    seeds = [row.trial.seed for row in rows]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"expected one outcome a seed for {condition}, got seeds {seeds}")
    return rows


def values_of(
    outcomes: Sequence[Outcome], condition: str, measure: str, **settings: Any
) -> tuple[float, ...]:
    """One number a seed, of one condition."""
    return Table(outcomes).series(Cell(condition, measure, settings)).values
