"""Trials, what they measured, and the table that pairs them by seed."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Literal

from clearhead.errors import InputError

Budget = Literal["quick", "full"]
Values = dict[str, Any]
"""Measured values of a trial as JSON: numbers, strings, lists and dicts of these; never NaN"""
Measure = str | tuple[str | int, ...] | Callable[[Values], Any] | list["Measure"]
"""A key of the values, a path of keys and indices, a function of the values, or a list of these"""
Series = dict[int, float]
"""One number per seed, in the order of the seeds"""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One measurement of one condition with one seed; its values follow from these alone.

    Args:
        study: Name of the study.
        condition: Name of the condition.
        seed: Seed of everything random in the trial.
        settings: Sizes, rates, numbers of images and the like, as JSON.
    """

    study: str
    condition: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Unique for condition, seed and settings."""
        identity = json.dumps([self.condition, self.seed, dict(self.settings)], sort_keys=True)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        return f"{self.condition}-{self.seed}-{digest}"

    def to_dict(self) -> dict[str, Any]:
        """Condition, seed and settings.

        Returns:
            A dictionary for `json.dumps`.
        """
        return {"condition": self.condition, "seed": self.seed, "settings": dict(self.settings)}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A trial and its measured values."""

    trial: Trial
    values: Values

    def measure(self, measure: Measure) -> Any:
        """The value of a measure.

        Args:
            measure: A key, a path, a function or a list of these, see `Measure`.

        Returns:
            The value; for a list, a list of values.

        Raises:
            KeyError: A key is missing.
            IndexError: An index of a path is beyond the end of a list.
        """
        return measured(self.values, measure)


def measured(values: Values, measure: Measure) -> Any:
    """The value of a measure; raises `KeyError` or `IndexError` if there is none."""
    if callable(measure):
        return measure(values)
    if isinstance(measure, list):
        return [measured(values, x) for x in measure]
    found: Any = values
    for step in (measure,) if isinstance(measure, str) else measure:
        found = found[step]
    return found


@dataclass(frozen=True)
class Cell:
    """A measure of one condition, one number per seed.

    Args:
        condition: Name of the condition.
        measure: Key, path or function, see `Measure`.
        settings: Settings that the trials must have, if the condition has several.
        best_of: A setting; taken is its value with the highest mean over seeds.
    """

    condition: str
    measure: Measure
    settings: Mapping[str, Any] = field(default_factory=dict)
    best_of: str = ""

    def __str__(self) -> str:
        best = [f"best {self.best_of}"] if self.best_of else []
        settings = (f"{name} {x}" for name, x in self.settings.items())
        return ", ".join([self.condition, *settings, *best])


class Table:
    """The outcomes of a study, one row per trial.

    Args:
        outcomes: The rows.
    """

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.outcomes = tuple(outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def where(self, *conditions: str, **settings: Any) -> "Table":
        """The rows of these conditions that have these settings.

        Args:
            conditions: Names; by default all.
            settings: Values by name.

        Returns:
            A table of these rows.
        """
        return Table(
            row
            for row in self.outcomes
            if (not conditions or row.trial.condition in conditions)
            and all(row.trial.settings.get(name) == value for name, value in settings.items())
        )

    def values(self, measure: Measure) -> list[Any]:
        """A measure of every row.

        Args:
            measure: As in `Outcome.measure`.

        Returns:
            The values.
        """
        return [row.measure(measure) for row in self.outcomes]

    def having(self, measure: Measure) -> "Table":
        """The rows that have a measure.

        Args:
            measure: As in `Outcome.measure`.

        Returns:
            A table of these rows.
        """
        return Table(row for row in self.outcomes if _has(row, measure))

    def groups(self, by: str = "condition") -> dict[Any, "Table"]:
        """The rows by condition or by a setting: numbers ascending, others as they first occur.

        Args:
            by: "condition", or the name of a setting.

        Returns:
            A table for each value.
        """
        found: dict[Any, list[Outcome]] = {}
        for row in self.outcomes:
            key = row.trial.condition if by == "condition" else row.trial.settings.get(by)
            found.setdefault(key, []).append(row)
        numbers = all(isinstance(key, int | float) for key in found)
        return {key: Table(found[key]) for key in (sorted(found) if numbers else found)}

    def has(self, cell: Cell) -> bool:
        """Whether a cell has outcomes, all of them with its measure.

        Args:
            cell: Condition, settings and measure.

        Returns:
            False if there is no outcome, or one without the measure.
        """
        rows = self.where(cell.condition, **cell.settings)
        return bool(rows) and len(rows.having(cell.measure)) == len(rows)

    def rows(self, cell: Cell) -> "Table":
        """The rows of a cell, ordered by seed, possibly several per seed.

        Args:
            cell: Condition and settings.

        Returns:
            A table of these rows.

        Raises:
            InputError: There is no such row.
        """
        found = self.where(cell.condition, **cell.settings)
        if not found:
            raise InputError(f"expected outcomes of {cell}, got none; run all trials")
        return Table(sorted(found.outcomes, key=lambda row: row.trial.seed))

    def series(self, cell: Cell) -> Series:
        """One number per seed.

        Args:
            cell: Condition, settings and measure.

        Returns:
            The number by seed.

        Raises:
            InputError: There is no outcome, or there are two with the same seed.
        """
        if cell.best_of:
            levels = self.rows(cell).groups(cell.best_of).values()
            single = replace(cell, best_of="")
            return max((level.series(single) for level in levels), key=lambda x: fmean(x.values()))
        rows = self.rows(cell)
        seeds = tuple(row.trial.seed for row in rows.outcomes)
        if len(set(seeds)) < len(seeds):
            raise InputError(
                f"expected one outcome per seed for {cell}, got seeds {list(seeds)}; name more "
                "settings"
            )
        return dict(zip(seeds, map(float, rows.values(cell.measure)), strict=True))


def _has(row: Outcome, measure: Measure) -> bool:
    try:
        row.measure(measure)
    except (KeyError, IndexError):
        return False
    return True


def canonical(data: Any) -> str:
    """JSON with sorted keys; raises `ValueError` for NaN and infinity, `TypeError` otherwise."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False)
