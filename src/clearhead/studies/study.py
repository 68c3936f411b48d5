"""What a study is: a claim, the conditions compared, and the evidence that decides.

Everything is fixed before a result is seen, and nearly all of it is data. A claim file
(`claims/c08_number_of_heads.py` is a short example, `claims/c05_queries_keys_values.py` one with
its own measures) has, in this order:

1. a docstring: what the claim is, what others found, what is done here and what it costs
2. constants: sizes and the margins, each with the reason for its value
3. `run(trial)`: one trial, given its condition, settings and seed; it calls models and
   `clearhead.studies.measures`, and returns a dict. What could serve another claim, or has a
   formula of its own, belongs in `measures/`, with a test there
4. `STUDY = Study(...)`:

   - `grid`: which trials there are. Each `Grid` crosses conditions with the values of `vary` and
     takes all seeds, or the first `num_seeds`. `PerBudget(quick, full)` stands for any value that
     depends on the budget.
   - `evidence`: what decides. `Comparison` is a paired difference of two cells against a margin;
     `Check` a range for every single value. A `Cell` names condition, measure and settings:
     `Cell("vit", "accuracy", {"digits": 1_000})`. A measure is a key of the values, a path into
     them, or a function of them. A side of a comparison may also be a number, or a function of
     the `Table` that returns a `Series`.
   - `panels`: standard figures: `Points`, `Curves`, `Image`, `Differences`
   - `summaries`: numbers that are described but do not affect the verdict
   - `remarks`: at most two short sentences on how to read the result. They contain no measured
     numbers; those are in the tables.

The order of trials does not matter. Both sides of a comparison must have the same seeds, or
`evaluate` raises. A study of your own is such a file anywhere on Python's path, and runs as
`clearhead study run MODULE:STUDY`.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from clearhead.errors import ConfigError, InputError
from clearhead.studies.table import (
    Budget,
    Cell,
    Measure,
    Outcome,
    Series,
    Table,
    Trial,
    Values,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_REMARKS = 2


@dataclass(frozen=True)
class PerBudget:
    """A value that depends on the budget."""

    quick: Any
    full: Any


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Conditions, crossed with settings and seeds.

    Args:
        conditions: names of the conditions
        settings: settings that all trials share
        vary: settings with several values each; all combinations are measured
        num_seeds: how many of the study's seeds; all by default, 0 for no trial
    """

    conditions: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    vary: Mapping[str, Sequence[Any] | PerBudget] = field(default_factory=dict)
    num_seeds: int | PerBudget | None = None

    def trials(self, study: str, budget: Budget, seeds: range) -> tuple[Trial, ...]:
        """Seed by seed, every condition with every combination of settings."""
        fixed = {name: _resolve(value, budget) for name, value in self.settings.items()}
        levels = [_resolve(values, budget) for values in self.vary.values()]
        num_seeds = _resolve(self.num_seeds, budget)
        return tuple(
            Trial(
                study=study,
                condition=condition,
                seed=seed,
                settings=fixed | dict(zip(self.vary, combination, strict=True)),
            )
            for seed in seeds[:num_seeds]
            for condition in self.conditions
            for combination in itertools.product(*levels)
        )


Expectation = Literal["more", "equal"]
Side = Cell | float | Callable[[Table], Series]
"""A side of a comparison: a cell, a constant, or a function of the table"""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A prediction about a paired difference: `first` minus `second`, one number per seed.

    Args:
        name: what is compared
        unit: unit of both sides
        first: cell, or function of the table
        second: cell, constant, or function of the table
        margin: the smallest difference that matters, in `unit`; fixed beforehand
        expects: "more" predicts a mean difference of at least `margin`, "equal" one within
            ± `margin`
    """

    name: str
    unit: str
    first: Side
    second: Side
    margin: float
    expects: Expectation = "more"

    def evaluate(self, table: Table) -> "ComparisonData":
        """The two sides as measured.

        Raises:
            InputError: outcomes are missing, or the sides have different seeds
        """
        first = _series(self.first, table)
        if isinstance(self.second, int | float):
            second = Series.constant(self.second, first)
        else:
            second = _series(self.second, table)
        return ComparisonData(
            name=self.name,
            unit=self.unit,
            first=first,
            second=second,
            margin=self.margin,
            expects=self.expects,
        )


@dataclass(frozen=True, kw_only=True)
class Check:
    """A prediction about every single value: that it lies in `low` … `high`.

    For what follows from a formula, up to rounding.

    Args:
        name: what is measured
        unit: its unit
        cells: whose outcomes; unlike in a comparison, there may be several per seed
        low: lower bound, included
        high: upper bound, included
    """

    name: str
    unit: str
    cells: tuple[Cell, ...]
    low: float = float("-inf")
    high: float = float("inf")

    def evaluate(self, table: Table) -> "CheckData":
        """The values as measured.

        Raises:
            InputError: a cell has no outcomes
        """
        values = tuple(
            float(x) for cell in self.cells for x in table.rows(cell).values(cell.measure)
        )
        return CheckData(
            name=self.name, unit=self.unit, values=values, low=self.low, high=self.high
        )


Evidence = Comparison | Check


@dataclass(frozen=True, kw_only=True)
class ComparisonData:
    """A comparison with its measured values, paired by seed.

    Raises:
        InputError: the sides have different seeds
        ConfigError: the margin is not above 0
    """

    name: str
    unit: str
    first: Series
    second: Series
    margin: float
    expects: Expectation = "more"

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise ConfigError(f"{self.name}: margin must be above 0, got {self.margin}")
        try:
            _ = self.differences
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None

    @property
    def differences(self) -> tuple[float, ...]:
        """First minus second, one per seed."""
        return self.first - self.second


@dataclass(frozen=True, kw_only=True)
class CheckData:
    """A check with its measured values, one per trial."""

    name: str
    unit: str
    values: tuple[float, ...]
    low: float = float("-inf")
    high: float = float("inf")


EvidenceData = ComparisonData | CheckData


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Numbers that are described, not judged: mean and range over trials, by group.

    Args:
        name: what is measured, with its unit
        measure: a number; a list of numbers, whose means are given one by one; or True and False,
            which are counted
        conditions: whose trials; all by default
        settings: settings that the trials must have
        by: "condition", or a setting, by which the trials are grouped
    """

    name: str
    measure: Measure
    conditions: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    by: str = "condition"

    def text(self, table: Table, labels: Mapping[str, str]) -> str:
        """One line, such as "accuracy (%): ViT 93.1 (92.0 to 94.2, n = 12); CNN …".

        Empty if no trial has the measure.
        """
        rows = table.where(*self.conditions, **self.settings).having(self.measure)
        if not rows:
            return ""
        parts = [
            f"{labels.get(key, key) if self.by == 'condition' else f'{self.by} {key}'} "
            f"{_mean_and_range(group.values(self.measure))}"
            for key, group in rows.groups(self.by).items()
        ]
        return f"{self.name}: {'; '.join(parts)}"


class Panel(Protocol):
    """A part of a figure; `clearhead.studies` has `Points`, `Curves`, `Image`, `Differences`."""

    def draw(self, axes: "Axes", study: "Study", table: Table) -> None:
        """Draw the panel."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A claim and how it is tested; the module's docstring says how to write one.

    Args:
        name: as on the command line, "score-variance"
        claim: its number in the list of claims, "C1"
        statement: the claim, as people make it
        hypothesis: what would have to be measured if it were true
        conditions: what is compared, on which data, with how much training
        measure: what is measured, with its unit
        seeds: number of seeds for each budget
        grid: which trials there are
        run: measures one trial, in a process with one thread; the same values wherever it runs
        evidence: what decides
        panels: the figure
        title: of the figure
        summaries: numbers described beside the evidence
        remarks: at most two short sentences
        labels: words for conditions, in figures and summaries
        exclusive: whether time is measured, so that nothing else may run beside it
        references: sources
    """

    name: str
    claim: str
    statement: str
    hypothesis: str
    conditions: str
    measure: str
    seeds: Mapping[Budget, int]
    grid: tuple[Grid, ...] = ()
    run: Callable[[Trial], Values]
    evidence: tuple[Evidence, ...] = ()
    panels: tuple[Panel, ...] = ()
    title: str = ""
    summaries: tuple[Summary, ...] = ()
    remarks: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    exclusive: bool = False
    references: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.remarks) > MAX_REMARKS:
            raise ConfigError(
                f"study {self.name}: at most {MAX_REMARKS} remarks, got {len(self.remarks)}"
            )
        known = self.conditions_in_grid
        for cell in self._cells():
            if cell.condition not in known:
                raise ConfigError(
                    f"study {self.name}: no condition {cell.condition!r}; the grid has "
                    f"{', '.join(sorted(known))}"
                )

    @property
    def conditions_in_grid(self) -> tuple[str, ...]:
        """Names of all conditions, in the order of the grid."""
        return tuple(dict.fromkeys(x for grid in self.grid for x in grid.conditions))

    def trials(self, budget: Budget, seeds: range) -> tuple[Trial, ...]:
        """Every trial for these seeds."""
        return tuple(x for grid in self.grid for x in grid.trials(self.name, budget, seeds))

    def evaluate(self, outcomes: Sequence[Outcome]) -> tuple[EvidenceData, ...]:
        """The evidence with its measured values.

        Raises:
            InputError: outcomes are missing, or the sides of a comparison have different seeds
        """
        table = Table(outcomes)
        return tuple(evidence.evaluate(table) for evidence in self.evidence)

    def text(self, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
        """Remarks and summaries, one line each."""
        table = Table(outcomes)
        lines = (x.text(table, self.labels) for x in self.summaries)
        return (*self.remarks, *filter(None, lines))

    def figure(self, outcomes: Sequence[Outcome]) -> "Figure":
        """All panels in one figure."""
        from clearhead.studies._panels import draw_panels

        return draw_panels(self, Table(outcomes))

    def _cells(self) -> Iterable[Cell]:
        for evidence in self.evidence:
            if isinstance(evidence, Check):
                yield from evidence.cells
            else:
                yield from (x for x in (evidence.first, evidence.second) if isinstance(x, Cell))


def _resolve(value: Any, budget: Budget) -> Any:
    return getattr(value, budget) if isinstance(value, PerBudget) else value


def _series(side: Side, table: Table) -> Series:
    if isinstance(side, Cell):
        return table.series(side)
    if callable(side):
        return side(table)
    raise ConfigError(f"the first side of a comparison is a cell or a function, got {side}")


def _mean_and_range(values: Sequence[Any]) -> str:
    if isinstance(values[0], list | tuple):
        columns = zip(*values, strict=True)
        return ", ".join(f"{sum(column) / len(column):.3g}" for column in columns)
    if isinstance(values[0], bool):
        from clearhead.studies.stats import share_interval

        low, high = share_interval(sum(values), len(values))
        return f"{sum(values)} of {len(values)} (95 % interval {low:.0%} to {high:.0%})"
    mean = sum(values) / len(values)
    return f"{mean:.4g} ({min(values):.4g} to {max(values):.4g}, n = {len(values)})"
