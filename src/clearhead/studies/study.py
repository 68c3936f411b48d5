"""What a study is: all that is fixed before a result is seen, and what comes out of it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from clearhead.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Budget = Literal["quick", "full"]
Values = dict[str, Any]
"""What a trial measured, as JSON has it: numbers, words, lists and dicts of these; never NaN"""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One measurement of one condition with one seed; its values follow from these alone.

    `settings` (JSON) hold what else the trial is told: sizes, rates, how many images.
    """

    study: str
    arm: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A short name that no other trial has: two trials are one if all they are told is."""
        told = json.dumps([self.arm, self.seed, dict(self.settings)], sort_keys=True)
        return f"{self.arm}-{self.seed}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A trial, and what it measured."""

    trial: Trial
    values: Values


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A prediction about a difference: `first` minus `second`, paired, one number a seed.

    Predicted is, by `expects`, that the mean difference is at least `margin` ("more"), or lies
    within ± `margin` ("equal"). `margin` is the smallest difference that would matter to somebody;
    it is fixed beforehand, in the numbers' own `unit`.
    """

    name: str
    unit: str
    first: tuple[float, ...]
    second: tuple[float, ...]
    margin: float
    expects: Literal["more", "equal"] = "more"

    def __post_init__(self) -> None:
        if len(self.first) != len(self.second):
            raise ConfigError(
                f"{self.name}: a paired comparison needs as many numbers on both sides, got "
                f"{len(self.first)} and {len(self.second)}"
            )
        if not self.margin > 0:
            raise ConfigError(f"{self.name}: margin must be above 0, got {self.margin}")

    @property
    def differences(self) -> tuple[float, ...]:
        """First minus second, seed by seed."""
        return tuple(a - b for a, b in zip(self.first, self.second, strict=True))


@dataclass(frozen=True, kw_only=True)
class Check:
    """A prediction about every single value: that it lies in `low` … `high`.

    For what follows from the formula, up to rounding; `values` has one number a trial.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    low: float = float("-inf")
    high: float = float("inf")


Evidence = Comparison | Check


@dataclass(frozen=True, kw_only=True)
class Study:
    """One claim, and how it is put to the test.

    All of it is written down before a result is seen. The verdict follows from `evidence` by the
    one rule of `verdict`; a study has no rule of its own.
    """

    name: str
    """As on the command line: "score-variance" """
    claim: str
    """Its number in the list of claims: "C1" """
    statement: str
    """The claim, as people make it"""
    hypothesis: str
    """What would have to be seen if it were true"""
    conditions: str
    """What is compared, on which data, with how much training"""
    measure: str
    """What is measured, with its unit"""
    seeds: Mapping[Budget, int]
    """How many seeds each condition gets"""
    trials: Callable[[Budget, range], tuple[Trial, ...]]
    """Every trial for these seeds"""
    run: Callable[[Trial], Values]
    """One trial, in a process with one thread; the same values wherever and whenever it runs"""
    evidence: Callable[[Sequence[Outcome]], tuple[Evidence, ...]]
    """What the claim predicts beside what was measured"""
    sentences: Callable[[Sequence[Outcome]], tuple[str, ...]]
    """What was measured, for people: up to three sentences with figures"""
    figure: Callable[[Sequence[Outcome]], "Figure"]
    exclusive: bool = False
    """Whether it measures time, so that nothing else may run beside it; then values differ"""
    references: tuple[str, ...] = ()
