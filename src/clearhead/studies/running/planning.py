"""Which trials the chosen studies have, and what one of them is to the process that runs it."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clearhead.errors import ConfigError
from clearhead.studies.registry import find_source, load_study
from clearhead.studies.study import Study
from clearhead.studies.table import Budget, Trial


@dataclass(frozen=True)
class Planned:
    """A study, where it was found, and its trials for a budget and seeds."""

    source: str
    study: Study
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Task:
    """One trial to be measured, with all that another process needs to know."""

    source: str
    trial: Trial
    provenance: str
    """Of the driver; a process with other code must not measure"""
    exclusive: bool = False

    def to_json(self) -> str:
        """One line."""
        trial = self.trial
        return json.dumps(
            {
                "source": self.source,
                "provenance": self.provenance,
                "path": [str(Path(place or ".").absolute()) for place in sys.path],
                "trial": {
                    "study": trial.study,
                    "condition": trial.condition,
                    "seed": trial.seed,
                    "settings": dict(trial.settings),
                },
            }
        )


def plan(names: Sequence[str], budget: Budget, first_seed: int) -> tuple[Planned, ...]:
    """The studies of these names, each once, with their trials, each once."""
    sources = dict.fromkeys(find_source(name) for name in names)
    planned = tuple(plan_study(source, budget, first_seed) for source in sources)
    names_found = [one.study.name for one in planned]
    for name in names_found:
        if names_found.count(name) > 1:
            raise ConfigError(f"two of the studies are called {name!r}; rename one of them")
    return planned


def plan_study(source: str, budget: Budget, first_seed: int) -> Planned:
    """One study with its trials; raises `ConfigError` if they are not its own, or none."""
    study = load_study(source)
    if budget not in study.seeds:
        raise ConfigError(
            f"study {study.name} has no seeds for the budget {budget!r}; it has "
            f"{', '.join(study.seeds)}"
        )
    seeds = range(first_seed, first_seed + study.seeds[budget])
    trials = {trial.name: trial for trial in study.trials(budget, seeds)}
    strangers = sorted({trial.study for trial in trials.values()} - {study.name})
    if strangers or not trials:
        told = f"trials of {strangers}" if strangers else "no trials"
        raise ConfigError(f"study {study.name} gives {told}; give at least one, all its own")
    return Planned(source, study, tuple(trials.values()))
