"""What studies test: hypotheses about conditions, each of a type and paired by seed.

A comparison predicts something of the mean of `first` − `second`; `Exact` states what follows from
a formula, for every single value.
"""

from dataclasses import dataclass, field, replace
from math import inf, isfinite, nan
from typing import Any, ClassVar, Literal, Self

from clearhead.errors import ConfigError, InputError
from clearhead.studies.table import Cell, Series, Table

Kind = Literal["difference", "non-inferiority", "equivalence", "bound", "estimate", "exact"]

MIN_DISTINCT = 5
"""Distinct values from which a shifted copy of a series can be no coincidence"""


@dataclass(frozen=True)
class Comparison:
    """The mean of `first` − `second` over seeds; use one of its types.

    Args:
        name: what is compared with what
        unit: unit of both sides
        first: cell
        second: cell with the same seeds, or a constant
        spread: expected standard deviation of the differences between seeds, from pilots; from it
            follows the smallest effect that can be found

    Raises:
        ConfigError: both sides are the same cell
    """

    kind: ClassVar[Kind]

    name: str
    unit: str
    first: Cell
    second: Cell | float = 0.0
    spread: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise ConfigError(f"{self.name}: both sides are the same cell, {self.first}")

    @property
    def region(self) -> tuple[float, float]:
        """The predicted range of the mean difference, without its ends."""
        return -inf, inf

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The sides that are measured."""
        return tuple(x for x in (self.first, self.second) if isinstance(x, Cell))

    def scaled(self, factor: float) -> Self:
        """With `factor` times the margin, if it has one."""
        return self

    def is_measured(self, table: Table) -> bool:
        """Whether every side has outcomes."""
        return all(map(table.has, self.cells))

    def sample(self, table: Table) -> "Sample":
        """The measured values.

        Raises:
            InputError: outcomes are missing, the sides have different seeds, or one side is the
                other one with shifted seeds
        """
        first, second = table.series(self.first), self.second
        if isinstance(second, Cell):
            other = table.series(second)
        else:
            other = Series(first.seeds, (float(second),) * len(first))
        try:
            return Sample(self, first - other, first, other)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class _WithMargin(Comparison):
    margin: float

    ends: ClassVar[tuple[float, float]]
    """Of the predicted range, in margins"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.margin > 0:
            raise ConfigError(f"{self.name}: margin must be above 0, got {self.margin}")

    @property
    def region(self) -> tuple[float, float]:
        low, high = self.ends
        return low * self.margin, high * self.margin

    def scaled(self, factor: float) -> Self:
        return replace(self, margin=factor * self.margin)


@dataclass(frozen=True, kw_only=True)
class Difference(_WithMargin):
    """`first` is larger than `second` by more than `margin`, the smallest difference that matters.

    Args:
        margin: in `unit`, above 0
    """

    kind = "difference"
    ends = (1, inf)


@dataclass(frozen=True, kw_only=True)
class NonInferiority(_WithMargin):
    """`first` is less than `margin` below `second`.

    Args:
        margin: in `unit`, above 0
    """

    kind = "non-inferiority"
    ends = (-1, inf)


@dataclass(frozen=True, kw_only=True)
class Equivalence(_WithMargin):
    """`first` and `second` differ by less than `margin`: two one-sided tests (Schuirmann 1987).

    Args:
        margin: in `unit`, above 0
    """

    kind = "equivalence"
    ends = (-1, 1)


@dataclass(frozen=True, kw_only=True)
class Bound(Comparison):
    """The mean lies between `low` and `high`.

    Args:
        low: lower bound
        high: upper bound
    """

    kind = "bound"

    low: float = -inf
    high: float = inf

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -inf <= self.low < self.high <= inf or (self.low, self.high) == (-inf, inf):
            raise ConfigError(f"{self.name}: expected low < high, got {self.low}, {self.high}")

    @property
    def region(self) -> tuple[float, float]:
        """From `low` to `high`."""
        return self.low, self.high


@dataclass(frozen=True, kw_only=True)
class Estimate(Comparison):
    """A difference that is described with its interval and decides nothing."""

    kind = "estimate"


@dataclass(frozen=True)
class Exact:
    """What follows from a formula: every single value lies in `low` … `high`, up to rounding.

    Args:
        name: what is measured
        unit: its unit
        cells: whose outcomes; unlike in a comparison, there may be several per seed
        low: lower bound, included
        high: upper bound, included
    """

    kind: ClassVar[Kind] = "exact"

    name: str
    unit: str
    cells: tuple[Cell, ...]
    low: float = field(default=-inf, kw_only=True)
    high: float = field(default=inf, kw_only=True)

    @property
    def region(self) -> tuple[float, float]:
        """From `low` to `high`."""
        return self.low, self.high

    def scaled(self, factor: float) -> Self:
        """The same: it has no margin."""
        return self

    def is_measured(self, table: Table) -> bool:
        """Whether every cell has outcomes."""
        return all(map(table.has, self.cells))

    def sample(self, table: Table) -> "Sample":
        """The measured values; raises `InputError` if a cell has no outcomes."""
        rows = (table.rows(cell).values(cell.measure) for cell in self.cells)
        return Sample(self, tuple(float(x) for values in rows for x in values))


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A hypothesis of a published study, with its values as in `Sample`; None if not measured."""

    kind: Kind
    name: str
    unit: str
    low: float = -inf
    high: float = inf
    values: tuple[float, ...] | None = None
    first: Series | None = None
    second: Series | None = None
    cells: tuple[Cell, ...] = ()

    @property
    def region(self) -> tuple[float, float]:
        """From `low` to `high`."""
        return self.low, self.high

    def scaled(self, factor: float) -> Self:
        """With `factor` times the margin, if it has one."""
        if self.kind not in ("difference", "non-inferiority", "equivalence"):
            return self
        return replace(self, low=factor * self.low, high=factor * self.high)

    def is_measured(self, table: Table) -> bool:
        """Whether there are values."""
        return self.values is not None

    def sample(self, table: Table) -> "Sample":
        """The recorded values; raises `InputError` if it was not measured."""
        if self.values is None:
            raise InputError(f"{self.name}: expected recorded values, got none")
        return Sample(self, self.values, self.first, self.second)

    @classmethod
    def of(cls, hypothesis: "Hypothesis", table: Table) -> "Recorded":
        """A hypothesis with its values in a table."""
        (low, high), name, unit = hypothesis.region, hypothesis.name, hypothesis.unit
        found = cls(kind=hypothesis.kind, name=name, unit=unit, low=low, high=high)
        if not hypothesis.is_measured(table):
            return found
        sample = hypothesis.sample(table)
        return replace(found, values=sample.values, first=sample.first, second=sample.second)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types: None for what is not finite, the values of both sides without seeds."""
        found: dict[str, Any] = {"kind": self.kind, "name": self.name, "unit": self.unit}
        found["low"], found["high"] = _finite(self.region)
        found["values"] = None if self.values is None else _finite(self.values)
        if self.first and self.second:
            found["seeds"] = list(self.first.seeds)
            found["first"] = _finite(self.first.values)
            found["second"] = _finite(self.second.values)
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Recorded":
        """From `to_dict`; None becomes NaN in values and infinity in bounds."""

        def numbers(key: str) -> tuple[float, ...]:
            return tuple(nan if x is None else x for x in data[key])

        first, second = (
            Series(tuple(data["seeds"]), numbers(side)) if side in data else None
            for side in ("first", "second")
        )
        return cls(
            **{key: data[key] for key in ("kind", "name", "unit")},
            low=-inf if data["low"] is None else data["low"],
            high=inf if data["high"] is None else data["high"],
            values=None if data["values"] is None else numbers("values"),
            first=first,
            second=second,
        )


Hypothesis = Comparison | Exact | Recorded


@dataclass(frozen=True)
class Sample:
    """A hypothesis with its measured values.

    Args:
        hypothesis: the hypothesis
        values: differences, one per seed; of `Exact` every value
        first: the first side of a comparison
        second: the second side of a comparison

    Raises:
        InputError: one side is the other one with shifted seeds
    """

    hypothesis: Hypothesis
    values: tuple[float, ...]
    first: Series | None = None
    second: Series | None = None

    def __post_init__(self) -> None:
        if self.first and self.second and _shifted(self.first.values, self.second.values):
            raise InputError(
                "the values of one condition are those of the other one with shifted seeds; give "
                "both conditions the same seeds"
            )


def _finite(values: tuple[float, ...]) -> list[float | None]:
    return [x if isfinite(x) else None for x in values]


def _shifted(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether the end of one series is the beginning of the other."""
    return first != second and any(
        a[k:] == b[:-k] and len(set(a[k:])) >= MIN_DISTINCT
        for a, b in ((first, second), (second, first))
        for k in range(1, len(a))
    )
