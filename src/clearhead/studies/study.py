"""What a study is: a claim, the conditions compared, and the hypotheses that decide.

Everything is fixed before a result is seen, and nearly all of it is data, so that a claim file
reads like a registration (`claims/c08_number_of_heads.py` is an example): a docstring with what is
done and why, constants with the reasons for their values, hypotheses, and `STUDY = Study(...)`. Its
question and limits in words are in `claims/words.toml`; what a trial does, and the panels and
summaries that show it beside the evidence, are in `measures/`.

Both sides of a comparison have the same seeds: a study whose grid does not give them is rejected. A
study of your own is such a file anywhere on Python's path: `clearhead study run MODULE:STUDY`.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from clearhead.errors import ConfigError
from clearhead.studies.hypotheses import Hypothesis
from clearhead.studies.table import Budget, Measure, Outcome, Table, Trial, Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORDS = ("name", "claim", "statement", "question", "conditions", "measure")
"""Fields of a study that are texts and belong to its design"""


@dataclass(frozen=True)
class PerBudget:
    """A value that depends on the budget."""

    quick: Any
    full: Any


@dataclass(frozen=True)
class Grid:
    """Conditions, crossed with settings and seeds, and how their trials are measured.

    Args:
        conditions: Names of the conditions, or one name.
        run: Measures one trial, in a process with one thread; the same values wherever it runs.
        settings: Settings that all trials share.
        vary: Settings with several values each; all combinations are measured.
        num_seeds: Number of the study's seeds that are used; by default all, 0 for no trial.
    """

    conditions: Collection[str]
    run: Callable[[Trial], Values]
    settings: Mapping[str, Any] = field(default_factory=dict)
    _: KW_ONLY
    vary: Mapping[str, object] = field(default_factory=dict)
    num_seeds: int | PerBudget | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the conditions."""
        return (self.conditions,) if isinstance(self.conditions, str) else tuple(self.conditions)

    def trials(self, study: str, budget: Budget, seeds: range) -> tuple[Trial, ...]:
        """Seed by seed, every condition with every combination of settings.

        Args:
            study: The study's name.
            budget: "quick" or "full": which value of a `PerBudget` is used.
            seeds: The seeds of the run, of which the first `num_seeds` are used.

        Returns:
            One trial for each combination.
        """
        fixed = {name: _resolve(value, budget) for name, value in self.settings.items()}
        levels: list[Any] = [_resolve(values, budget) for values in self.vary.values()]
        num_seeds = _resolve(self.num_seeds, budget)
        return tuple(
            Trial(
                study=study,
                condition=condition,
                seed=seed,
                settings=fixed | dict(zip(self.vary, combination, strict=True)),
            )
            for seed in seeds[:num_seeds]
            for condition in self.names
            for combination in itertools.product(*levels)
        )


@dataclass(frozen=True)
class Part:
    """One prediction of a claim, with a verdict of its own.

    Args:
        name: The prediction as a short clause, which is printed after "supported:".
        hypotheses: What must hold; comparisons, or what follows from a formula (`exact`).
        premises: Without these the part decides nothing.
        variants: The hypotheses with other cut-offs or measures, by name; they show how the
            verdict depends on them, and decide nothing.

    Raises:
        ConfigError: There is no hypothesis, or comparisons are mixed with `exact` ones.
    """

    name: str
    hypotheses: tuple[Hypothesis, ...]
    premises: tuple[Hypothesis, ...] = ()
    variants: Mapping[str, tuple[Hypothesis, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len({x.is_comparison for x in self.hypotheses}) != 1:
            raise ConfigError(
                f"part {self.name!r}: expected comparisons or what is exact, not none or both; "
                "make a part of each"
            )

    @property
    def all_hypotheses(self) -> tuple[Hypothesis, ...]:
        """Hypotheses, premises and variants."""
        return (
            *self.hypotheses,
            *self.premises,
            *(x for variant in self.variants.values() for x in variant),
        )

    def sample(self, table: Table) -> "Part":
        """With the measured values of every hypothesis, see `Hypothesis.sample`.

        Args:
            table: The outcomes.

        Returns:
            A new part.
        """
        return Part(**each_hypothesis(vars(self), lambda x: x.sample(table)))


def each_hypothesis(part: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The fields of a part, with every hypothesis changed: to one with values, to JSON, or back."""
    return {
        "name": part["name"],
        "hypotheses": tuple(map(change, part["hypotheses"])),
        "premises": tuple(map(change, part["premises"])),
        "variants": {name: tuple(map(change, x)) for name, x in part["variants"].items()},
    }


def parts(
    hypotheses: Mapping[str, Hypothesis | Sequence[Hypothesis]],
    *,
    premises: Mapping[str, Hypothesis] = MappingProxyType({}),
    variants: Mapping[str, Mapping[str, Hypothesis]] = MappingProxyType({}),
) -> tuple[Part, ...]:
    """Make the parts of a study from their hypotheses.

    Args:
        hypotheses: One hypothesis or several, by the name of the part.
        premises: One hypothesis by condition; a part has those of the conditions that its
            hypotheses compare.
        variants: Hypotheses by their own name, by the name of the part.

    Returns:
        A part for each entry of `hypotheses`, in that order.

    Raises:
        ConfigError: A part has no hypothesis, or mixes comparisons with `exact` ones.
    """

    def part(name: str, own: tuple[Hypothesis, ...]) -> Part:
        conditions = {cell.condition for x in own for cell in x.cells}
        given = tuple(x for condition, x in premises.items() if condition in conditions)
        return Part(name, own, given, {key: (x,) for key, x in variants.get(name, {}).items()})

    return tuple(
        part(name, (x,) if isinstance(x, Hypothesis) else tuple(x))
        for name, x in hypotheses.items()
    )


@dataclass(frozen=True, kw_only=True)
class Paper:
    """What a paper found.

    Args:
        source: Authors, year, title, where.
        setting: The models and data in which it was found.
        found: The result, as far as possible in the unit of `beside`.
        beside: The name of one of the study's hypotheses, whose result is printed beside it.
    """

    source: str
    setting: str = ""
    found: str = ""
    beside: str = ""


@dataclass(frozen=True)
class Summary:
    """Numbers that are described, not judged: mean and range over trials, by group.

    Args:
        name: What is measured, with its unit.
        measure: A number; a list of numbers, whose means are given one by one; or True and False,
            which are counted.
        conditions: Whose trials; all by default.
        settings: Settings that the trials must have.
        by: "condition", or a setting, by which the trials are grouped.
    """

    name: str
    measure: Measure
    _: KW_ONLY
    conditions: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    by: str = "condition"

    def text(self, table: Table, labels: Mapping[str, str]) -> str:
        """Such as "accuracy (%): ViT 93.1 (92 to 94.2, n = 12); CNN …"; empty without values.

        Args:
            table: The outcomes.
            labels: Names of conditions, as people read them.

        Returns:
            One line of text.
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
    """A part of a figure; `clearhead.studies` has `Points`, `Curves`, `Image`."""

    def draw(self, axes: "Axes", study: "Study", table: Table) -> None:
        """Draw the panel."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A claim and how it is tested; the module's docstring says how to write one.

    Args:
        name: As on the command line, "score-variance".
        claim: Its number in the list of claims, "C1".
        statement: The claim, as it is commonly stated.
        question: The research question.
        conditions: What is compared, on which data, with how much training.
        measure: What is measured, with its unit.
        seeds: Number of seeds for each budget; by default 2 and 12.
        grid: Which trials there are, and how they are measured.
        parts: What decides.
        panels: The figure.
        title: Of the figure.
        summaries: Numbers described beside the evidence.
        limits: What does not follow, in short sentences.
        labels: Words for conditions, in figures and summaries.
        exclusive: Whether time is measured, so that nothing else may run beside it.
        literature: What papers found.
        references: Further sources.

    Raises:
        ConfigError: A cell is not in the grid, sides of a comparison have different seeds, or two
            hypotheses have the same name.
    """

    name: str
    claim: str
    statement: str
    question: str
    conditions: str
    measure: str
    seeds: Mapping[Budget, int] = field(default_factory=lambda: {"quick": 2, "full": 12})
    grid: tuple[Grid, ...] = ()
    parts: tuple[Part, ...] = ()
    panels: tuple[Panel, ...] = ()
    title: str = ""
    summaries: tuple[Summary, ...] = ()
    limits: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    exclusive: bool = False
    literature: tuple[Paper, ...] = ()
    references: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = self.conditions_in_grid
        for condition in known:
            if len({grid.run for grid in self.grid if condition in grid.names}) > 1:
                raise ConfigError(
                    f"study {self.name}: condition {condition!r} has grids with different `run`; "
                    "name one condition for each"
                )
        for hypothesis in (x for part in self.parts for x in part.all_hypotheses):
            for cell in hypothesis.cells:
                if cell.condition not in known:
                    raise ConfigError(
                        f"study {self.name}: no condition {cell.condition!r}; the grid has "
                        f"{', '.join(sorted(known))}"
                    )
            if hypothesis.cells and hypothesis.is_comparison:
                for budget in self.seeds:
                    self.seeds_of(hypothesis, budget)
        names = [x.name for x in self.hypotheses]
        repeated = {name for name in names if names.count(name) > 1}
        lacking = {paper.beside for paper in self.literature if paper.beside} - set(names)
        if repeated or lacking:
            problem = f"several named {repeated}" if repeated else f"none named {lacking}"
            raise ConfigError(f"study {self.name}: of its hypotheses there are {problem}")

    @property
    def conditions_in_grid(self) -> tuple[str, ...]:
        """Names of all conditions, in the order of the grid."""
        return tuple(dict.fromkeys(x for grid in self.grid for x in grid.names))

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """Of all parts, premises included, each once."""
        found: list[Hypothesis] = []
        for part in self.parts:
            found += [x for x in (*part.premises, *part.hypotheses) if x not in found]
        return tuple(found)

    @property
    def num_tests(self) -> int:
        """The number of comparisons that predict something, without premises: the family."""
        tests = (x for part in self.parts for x in part.hypotheses)
        return sum(x.kind not in ("estimate", "exact") for x in tests)

    def run(self, trial: Trial) -> Values:
        """Measure a trial.

        Args:
            trial: One of `trials`.

        Returns:
            The values by measure.

        Raises:
            ConfigError: The grid does not have its condition.
        """
        run = next((x.run for x in self.grid if trial.condition in x.names), None)
        if run is None:
            raise ConfigError(f"study {self.name}: no condition {trial.condition!r} in its grid")
        return run(trial)

    def trials(self, budget: Budget, seeds: range) -> tuple[Trial, ...]:
        """Every trial for these seeds.

        Args:
            budget: "quick" or "full".
            seeds: The seeds of the run.

        Returns:
            The trials, grid by grid.
        """
        return tuple(x for grid in self.grid for x in grid.trials(self.name, budget, seeds))

    def seeds_of(self, comparison: Hypothesis, budget: Budget) -> int:
        """The number of seeds of a comparison.

        Args:
            comparison: A hypothesis of this study.
            budget: "quick" or "full".

        Returns:
            The number of seeds of each side.

        Raises:
            ConfigError: The sides have different seeds, or a side has several trials of one seed.
        """
        trials = self.trials(budget, range(self.seeds[budget]))
        table = Table(Outcome(trial=x, values={}) for x in trials)
        sides = []
        for cell in comparison.cells:
            rows = table.where(cell.condition, **cell.settings)
            levels = rows.groups(cell.best_of).values() if cell.best_of else (rows,)
            sides += [sorted(x.trial.seed for x in level.outcomes) for level in levels]
        if any(side != sides[0] for side in sides) or len(set(sides[0])) < len(sides[0]):
            raise ConfigError(
                f"study {self.name}, {comparison.name}: at the budget {budget!r} the sides have "
                f"trials with the seeds {'; '.join(map(str, sides))}; give both sides the same "
                "seeds, once each, and name the settings that tell trials apart"
            )
        return len(sides[0])

    def text(self, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
        """The summaries, one line each.

        Args:
            outcomes: Of this study.

        Returns:
            The lines; none for a summary without values.
        """
        table = Table(outcomes)
        return tuple(filter(None, (x.text(table, self.labels) for x in self.summaries)))


def _resolve(value: Any, budget: Budget) -> Any:
    return getattr(value, budget) if isinstance(value, PerBudget) else value


def _mean_and_range(values: Sequence[Any]) -> str:
    if isinstance(values[0], list | tuple):
        columns = zip(*values, strict=True)
        return ", ".join(f"{sum(column) / len(column):.3g}" for column in columns)
    if isinstance(values[0], bool):
        from scipy.stats import binomtest

        low, high = binomtest(sum(values), len(values)).proportion_ci(method="exact")
        return f"{sum(values)} of {len(values)} (95 % interval {low:.0%} to {high:.0%})"
    mean = sum(values) / len(values)
    return f"{mean:.4g} ({min(values):.4g} to {max(values):.4g}, n = {len(values)})"
