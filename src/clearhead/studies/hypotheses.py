"""What studies test: hypotheses about conditions, each of a type and paired by seed.

A comparison predicts something of the mean of `first` − `second`; `Exact` states what follows from
a formula, for every single value.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import inf, isfinite, nan
from typing import Any, ClassVar, Literal

import numpy as np

from clearhead.errors import ConfigError, InputError
from clearhead.studies.table import Cell, Series, Table

Kind = Literal["difference", "non-inferiority", "equivalence", "bound", "estimate", "exact"]

DECLARED = ("kind", "name", "unit", "low", "high")
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

    def sample(self, table: Table) -> "Sample":
        """With the measured values, if every side has outcomes.

        Raises:
            InputError: the sides have different seeds, or one side is the other one with shifted
                seeds
        """
        if not all(map(table.has, self.cells)):
            return Sample.of(self)
        first, second = table.series(self.first), self.second
        if isinstance(second, Cell):
            other = table.series(second)
        else:
            other = Series(first.seeds, (float(second),) * len(first))
        try:
            return Sample.of(self, first - other, first, other)
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

    def sample(self, table: Table) -> "Sample":
        """With the measured values, if every cell has outcomes."""
        if not all(map(table.has, self.cells)):
            return Sample.of(self)
        rows = (table.rows(cell).values(cell.measure) for cell in self.cells)
        return Sample.of(self, tuple(float(x) for values in rows for x in values))


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A hypothesis as it is printed and stored: JSON types, without its cells.

    Attributes:
        kind: Its type.
        name: Its name.
        unit: Its unit.
        low: Lower end of the predicted range of the mean difference, of `Exact` of every value;
            None: no end.
        high: Its upper end.
    """

    kind: Kind
    name: str
    unit: str
    low: float | None = None
    high: float | None = None

    @property
    def region(self) -> tuple[float, float]:
        """From `low` to `high`, infinite without an end."""
        return -inf if self.low is None else self.low, inf if self.high is None else self.high


@dataclass(frozen=True, kw_only=True)
class Sample(Declared):
    """A hypothesis with its measured values; a published study has nothing but these.

    Attributes:
        values: Differences, one per seed; of `Exact` every value; None: not measured.
        first: The first side of a comparison.
        second: The second side of a comparison.

    Raises:
        InputError: one side is the other one with shifted seeds
    """

    cells: ClassVar[tuple[Cell, ...]] = ()

    values: tuple[float, ...] | None = None
    first: Series | None = None
    second: Series | None = None

    def __post_init__(self) -> None:
        if self.first and self.second and _shifted(self.first.values, self.second.values):
            raise InputError(
                "the values of one condition are those of the other one with shifted seeds; give "
                "both conditions the same seeds"
            )

    @classmethod
    def of(
        cls,
        hypothesis: "Hypothesis",
        values: tuple[float, ...] | None = None,
        first: Series | None = None,
        second: Series | None = None,
    ) -> "Sample":
        """A hypothesis with values."""
        return cls(**declared(hypothesis), values=values, first=first, second=second)

    @property
    def spread(self) -> float | None:
        """Standard deviation of the values; None for fewer than two."""
        values = self.values or ()
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def sample(self, table: Table) -> "Sample":
        """The same, whatever the table contains."""
        return self

    def scaled(self, factor: float) -> "Sample":
        """With `factor` times the margin, if it has one."""
        if self.kind not in ("difference", "non-inferiority", "equivalence"):
            return self
        low, high = _finite(factor * x for x in self.region)
        return replace(self, low=low, high=high)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types: None for what is not finite, the values of both sides without seeds."""
        found = declared(self)
        found["values"] = None if self.values is None else _finite(self.values)
        if self.first and self.second:
            found["seeds"] = list(self.first.seeds)
            found["first"] = _finite(self.first.values)
            found["second"] = _finite(self.second.values)
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Sample":
        """From `to_dict`; None becomes NaN in values."""

        def numbers(key: str) -> tuple[float, ...]:
            return tuple(nan if x is None else x for x in data[key])

        found: dict[str, Any] = {key: data[key] for key in DECLARED}
        if data["values"] is not None:
            found["values"] = numbers("values")
        for side in {"first", "second"} & data.keys():
            found[side] = Series(tuple(data["seeds"]), numbers(side))
        return cls(**found)


Hypothesis = Comparison | Exact | Sample


def declared(hypothesis: Hypothesis | Declared) -> dict[str, Any]:
    """The fields of `Declared`."""
    ends = _finite(hypothesis.region)
    facts = (hypothesis.kind, hypothesis.name, hypothesis.unit, *ends)
    return dict(zip(DECLARED, facts, strict=True))


def _finite(values: Iterable[float]) -> list[float | None]:
    return [x if isfinite(x) else None for x in values]


def _shifted(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether the end of one series is the beginning of the other."""
    return first != second and any(
        a[k:] == b[:-k] and len(set(a[k:])) >= MIN_DISTINCT
        for a, b in ((first, second), (second, first))
        for k in range(1, len(a))
    )
