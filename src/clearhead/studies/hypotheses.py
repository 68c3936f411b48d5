"""What studies test: hypotheses about conditions, each of a kind and paired by seed.

A comparison predicts the mean of `first` − `second` over seeds; `exact` states what follows from a
formula, for every single value.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isfinite, nan
from typing import Any, Literal, Self

import numpy as np

from clearhead.errors import ConfigError, InputError
from clearhead.studies.table import Cell, Series, Table

Kind = Literal["difference", "non-inferiority", "equivalence", "bound", "estimate", "exact"]

DECLARED = ("kind", "name", "unit", "low", "high")
WITH_MARGIN: dict[Kind, tuple[float, float]] = {
    "difference": (1, inf),
    "non-inferiority": (-1, inf),
    "equivalence": (-1, 1),
}
"""Ends of the predicted range, in margins"""
MIN_DISTINCT = 5
"""Minimum number of distinct values for which a shifted copy of a series is not a coincidence"""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A hypothesis as it is printed and stored.

    Attributes:
        kind: "difference", "non-inferiority", "equivalence", "bound", "estimate" or "exact".
        name: What is compared with what.
        unit: The unit of both sides.
        low: Lower end of the predicted range of the mean difference, if "exact" of every value;
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

    def declared(self) -> dict[str, Any]:
        """The fields of `Declared` alone."""
        return {key: getattr(self, key) for key in DECLARED}


@dataclass(frozen=True, kw_only=True)
class Hypothesis(Declared):
    """What is predicted, of which cells, and the measured values, if any.

    Made by `difference` and the functions below it; those of a published study have no cells.

    Attributes:
        cells: The sides that are measured.
        constant: The second side of a comparison, if it is a number.
        spread: Expected standard deviation of the differences between seeds, from pilots; from it
            follows the smallest effect that can be found.
        values: Differences, one per seed; if "exact" every value; None: not measured.
        first: The first side of a comparison, by seed.
        second: The second side of a comparison, by seed.
    """

    cells: tuple[Cell, ...] = ()
    constant: float | None = None
    spread: float | None = None
    values: tuple[float, ...] | None = None
    first: Series | None = None
    second: Series | None = None

    @property
    def is_comparison(self) -> bool:
        """Whether it is about a mean over seeds."""
        return self.kind != "exact"

    @property
    def measured_spread(self) -> float | None:
        """Standard deviation of the values; None for fewer than two."""
        values = self.values or ()
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def sample(self, table: Table) -> Self:
        """With the measured values, if every side has outcomes.

        Args:
            table: The outcomes.

        Returns:
            A new hypothesis; this one if a side has no outcomes.

        Raises:
            InputError: As in `paired`, or a side has two outcomes with the same seed.
        """
        if not self.cells or not all(map(table.has, self.cells)):
            return self
        if not self.is_comparison:
            rows = (table.rows(cell).values(cell.measure) for cell in self.cells)
            return replace(self, values=tuple(float(x) for values in rows for x in values))
        first, *others = map(table.series, self.cells)
        return self.paired(first, *(others or [dict.fromkeys(first, float(self.constant or 0.0))]))

    def paired(self, first: Series, second: Series) -> Self:
        """With the values of both sides, by seed.

        Args:
            first: Values of the first side by seed.
            second: Values of the second side by seed.

        Returns:
            A new hypothesis, with the differences.

        Raises:
            InputError: The sides have different seeds, or one side is the other one with shifted
                seeds.
        """
        if list(first) != list(second):
            raise InputError(
                f"{self.name}: paired values need the same seeds, got {list(first)} and "
                f"{list(second)}; give both conditions the same seeds"
            )
        if _shifted(tuple(first.values()), tuple(second.values())):
            raise InputError(
                f"{self.name}: the values of one condition are those of the other one with shifted "
                "seeds; give both conditions the same seeds"
            )
        values = tuple(first[seed] - second[seed] for seed in first)
        return replace(self, values=values, first=first, second=second)

    def scaled(self, factor: float) -> Self:
        """With `factor` times the margin, if it has one.

        Args:
            factor: Such as 0.5 for half the margin.

        Returns:
            A new hypothesis; this one if it has no margin.
        """
        if self.kind not in WITH_MARGIN:
            return self
        return replace(self, **_ends(*(factor * x for x in self.region)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, without cells: None for what is not finite.

        Returns:
            A dictionary for `json.dumps`.
        """
        found = self.declared() | {"values": self.values and _finite(self.values)}
        if self.first and self.second:
            found["seeds"] = list(self.first)
            found |= {
                "first": _finite(self.first.values()),
                "second": _finite(self.second.values()),
            }
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From `to_dict`; None becomes NaN in values.

        Args:
            data: From `to_dict`.

        Returns:
            The hypothesis.
        """

        def numbers(key: str) -> tuple[float, ...]:
            return tuple(nan if x is None else x for x in data[key])

        found: dict[str, Any] = {key: data[key] for key in DECLARED}
        if data["values"] is not None:
            found["values"] = numbers("values")
        for side in {"first", "second"} & data.keys():
            found[side] = dict(zip(data["seeds"], numbers(side), strict=True))
        return cls(**found)


def difference(
    name: str,
    unit: str,
    first: Cell,
    second: Cell | float = 0.0,
    *,
    margin: float,
    spread: float | None = None,
    kind: Kind = "difference",
) -> Hypothesis:
    """`first` is larger than `second` by more than `margin`, the smallest difference that matters.

    Args:
        name: What is compared with what.
        unit: The unit of both sides.
        first: A side.
        second: The other side, with the same seeds, or a constant.
        margin: In `unit`, above 0.
        spread: Expected standard deviation of the differences between seeds, from pilots.
        kind: "difference"; "non-inferiority", which predicts that `first` is less than `margin`
            below `second`; or "equivalence", that they differ by less than `margin`, by two
            one-sided tests (Schuirmann 1987).

    Returns:
        The hypothesis, without values.

    Raises:
        ConfigError: Both sides are the same cell, or the margin is not above 0.
    """
    if not margin > 0:
        raise ConfigError(f"{name}: margin must be above 0, got {margin}")
    ends = _ends(*(end * margin for end in WITH_MARGIN[kind]))
    sides = _sides(name, first, second)
    return Hypothesis(kind=kind, name=name, unit=unit, spread=spread, **sides, **ends)


non_inferiority = partial(difference, kind="non-inferiority")
"""`first` is less than `margin` below `second`; arguments as of `difference`"""
equivalence = partial(difference, kind="equivalence")
"""The sides differ by less than `margin`; arguments as of `difference`"""


def bound(
    name: str,
    unit: str,
    cell: Cell,
    *,
    low: float = -inf,
    high: float = inf,
    spread: float | None = None,
) -> Hypothesis:
    """The mean of a cell lies between `low` and `high`.

    Args:
        name: What is measured.
        unit: The unit of the cell.
        cell: Whose mean must lie there.
        low: The lower bound; by default none.
        high: The upper bound; by default none.
        spread: Expected standard deviation between seeds, from pilots.

    Returns:
        The hypothesis, without values.

    Raises:
        ConfigError: There is no bound, or `low` is not below `high`.
    """
    if not -inf <= low < high <= inf or (low, high) == (-inf, inf):
        raise ConfigError(f"{name}: expected low < high, got {low}, {high}")
    sides, ends = _sides(name, cell, 0.0), _ends(low, high)
    return Hypothesis(kind="bound", name=name, unit=unit, spread=spread, **sides, **ends)


def estimate(name: str, unit: str, first: Cell, second: Cell | float = 0.0) -> Hypothesis:
    """A difference that is described with its interval and decides nothing.

    Args:
        name: What is compared with what.
        unit: The unit of both sides.
        first: A side.
        second: The other side, with the same seeds, or a constant.

    Returns:
        The hypothesis, without values.

    Raises:
        ConfigError: Both sides are the same cell.
    """
    return Hypothesis(kind="estimate", name=name, unit=unit, **_sides(name, first, second))


def exact(name: str, unit: str, *cells: Cell, low: float = -inf, high: float = inf) -> Hypothesis:
    """What follows from a formula: every single value lies in `low` … `high`, up to rounding.

    Both ends are included. Unlike in a comparison, cells may have several outcomes per seed.

    Args:
        name: What is computed.
        unit: The unit of the values.
        cells: Whose values must lie there.
        low: The smallest allowed value; by default without limit.
        high: The largest allowed value; by default without limit.

    Returns:
        The hypothesis, without values.
    """
    return Hypothesis(kind="exact", name=name, unit=unit, cells=cells, **_ends(low, high))


def _sides(name: str, first: Cell, second: Cell | float) -> dict[str, Any]:
    if first == second:
        raise ConfigError(f"{name}: both sides are the same cell, {first}")
    if isinstance(second, Cell):
        return {"cells": (first, second)}
    return {"cells": (first,), "constant": second}


def _ends(low: float, high: float) -> dict[str, Any]:
    return dict(zip(("low", "high"), _finite((low, high)), strict=True))


def _finite(values: Iterable[float]) -> list[float | None]:
    return [x if isfinite(x) else None for x in values]


def _shifted(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether the end of one series is the beginning of the other."""
    return first != second and any(
        a[k:] == b[:-k] and len(set(a[k:])) >= MIN_DISTINCT
        for a, b in ((first, second), (second, first))
        for k in range(1, len(a))
    )
