"""Picking outcomes: by condition, in the order of their seeds."""

from collections.abc import Sequence
from typing import Any

from clearhead.errors import InputError
from clearhead.studies.study import Outcome


def outcomes_of(outcomes: Sequence[Outcome], arm: str, **settings: Any) -> tuple[Outcome, ...]:
    """The outcomes of one condition, one a seed, in the order of the seeds.

    Raises `InputError` if there is none, or two with one seed.
    """
    found = [
        outcome
        for outcome in outcomes
        if outcome.trial.arm == arm
        and all(outcome.trial.settings.get(name) == value for name, value in settings.items())
    ]
    seeds = [outcome.trial.seed for outcome in found]
    if not found or len(set(seeds)) < len(seeds):
        told = ", ".join([arm, *(f"{name} {value}" for name, value in settings.items())])
        raise InputError(
            f"expected one outcome a seed for {told}, got seeds {sorted(seeds)}; run all trials"
        )
    return tuple(sorted(found, key=lambda outcome: outcome.trial.seed))


def values_of(
    outcomes: Sequence[Outcome], arm: str, measure: str, **settings: Any
) -> tuple[float, ...]:
    """One number a seed, of one condition."""
    return tuple(
        float(outcome.values[measure]) for outcome in outcomes_of(outcomes, arm, **settings)
    )
