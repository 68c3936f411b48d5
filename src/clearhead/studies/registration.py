"""Designs that are fixed before a run, and the changes that were made after results were seen.

`registered.json` holds the registered designs: hypotheses, margins, seeds and a fingerprint of each
study. It is committed and tagged before the run, which checks it. `history.toml` lists earlier runs
and every change of a rule or a design made with their results known; reports print both.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clearhead._atomic import sha256, write_atomic
from clearhead.errors import ConfigError
from clearhead.studies._environment import git
from clearhead.studies.plan import plan_study
from clearhead.studies.study import Study
from clearhead.studies.table import Budget, Cell, Measure, canonical
from clearhead.studies.verdict import LEVEL, MIN_SEEDS

REGISTERED, HISTORY = "registered.json", "history.toml"


@dataclass(frozen=True, kw_only=True)
class Run:
    """An earlier run, with the seeds that it used.

    Attributes:
        name: Such as "second full run".
        date: When it was.
        first_seed: Its first seed.
        last_seed: Its last seed.
        commit: The commit that measured it, as far as there is one.
        note: Further remarks.
    """

    name: str
    date: str
    first_seed: int
    last_seed: int
    commit: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of a rule or a design after results were seen.

    Attributes:
        after: The run whose results were known.
        kind: "rule" or "design".
        what: What was changed.
        why: The reason.
        claims: The claims; empty for all.
        verdicts: Verdicts that changed as a result, if any.
    """

    after: str
    kind: str
    what: str
    why: str = ""
    claims: tuple[str, ...] = ()
    verdicts: str = ""


@cache
def history() -> tuple[tuple[Run, ...], tuple[Change, ...]]:
    """Earlier runs and changes, in the order of time."""
    data = tomllib.loads(_file(HISTORY).read_text("utf-8"))
    runs = tuple(Run(**run) for run in data["run"])
    changes = tuple(
        Change(**change | {"claims": tuple(change.get("claims", ()))}) for change in data["change"]
    )
    unknown = {change.after for change in changes} - {run.name for run in runs}
    if unknown:
        raise ConfigError(f"{HISTORY}: changes after unknown runs: {', '.join(sorted(unknown))}")
    return runs, changes


def fingerprint(study: Study, budget: Budget) -> str:
    """The hash of what a study declares: trials, hypotheses, margins, measures by name, words.

    Panels and summaries are not part of it. What functions compute is fixed by the commit.
    """
    seeds = range(study.seeds[budget])
    design = {
        "words": [study.name, study.statement, study.question, study.conditions, study.measure],
        "trials": [[x.condition, x.seed, dict(x.settings)] for x in study.trials(budget, seeds)],
        "parts": [
            [part.name, *map(_declared, part.hypotheses), "given", *map(_declared, part.premises)]
            for part in study.parts
        ],
    }
    return sha256(canonical(design).encode())[:16]


def register(
    studies: Iterable[Study],
    budget: Budget,
    first_seed: int,
    spreads: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> Path:
    """Write the designs of studies to `registered.json`.

    Args:
        studies: The studies.
        budget: The budget of the run.
        first_seed: The first seed of the run; later than all seeds that were used before.
        spreads: Those of an earlier run, by study and hypothesis; see `plan_study`.

    Returns:
        The path of the file.

    Raises:
        ConfigError: The seeds were used before.
    """
    last = max(run.last_seed for run in history()[0])
    if first_seed <= last:
        raise ConfigError(f"seeds up to {last} were used before; register a first seed above it")
    designs = {
        study.name: {
            "claim": study.claim,
            "fingerprint": fingerprint(study, budget),
            "seeds": study.seeds[budget],
            "trials": len(study.trials(budget, range(study.seeds[budget]))),
            "hypotheses": [
                x.to_dict() for x in plan_study(study, budget, spreads.get(study.name, {}))
            ],
        }
        for study in studies
    }
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        "budget": budget,
        "first_seed": first_seed,
        "rule": {"level": LEVEL, "min_seeds": MIN_SEEDS, "family": "claim", "adjustment": "Holm"},
        "studies": designs,
    }
    path = Path(str(_file(REGISTERED)))
    write_atomic(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def check_registered(
    studies: Iterable[Study], budget: Budget, first_seed: int
) -> dict[str, Any] | None:
    """Compare studies with the registered designs, if this budget and first seed are registered.

    Returns:
        Date and commit of the registration; None if the run is not a registered one.

    Raises:
        ConfigError: A design differs from the registered one, or is not registered.
    """
    found = registered()
    if not found or (found["budget"], found["first_seed"]) != (budget, first_seed):
        return None
    changed = [
        study.claim
        for study in studies
        if found["studies"].get(study.name, {}).get("fingerprint") != fingerprint(study, budget)
    ]
    if changed:
        raise ConfigError(
            f"the designs of {', '.join(changed)} differ from those registered on {found['date']} "
            f"for seeds from {first_seed}; take another --first-seed, or register again"
        )
    return {"date": found["date"], "commit": git("log", "-1", "--format=%h", "--", REGISTERED)}


def registered() -> dict[str, Any]:
    """What `register` wrote; empty if nothing is registered."""
    file = _file(REGISTERED)
    content: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
    return content


def _file(name: str) -> Any:
    return resources.files("clearhead.studies") / name


def _declared(hypothesis: Any) -> list[Any]:
    bounds = [str(x) for x in hypothesis.region]
    cells = [_cell(cell) for cell in hypothesis.cells]
    constant = getattr(hypothesis, "second", None)
    constant = constant if isinstance(constant, int | float) else None
    return [hypothesis.kind, hypothesis.name, hypothesis.unit, *bounds, constant, *cells]


def _cell(cell: Cell) -> list[Any]:
    return [cell.condition, _measure(cell.measure), dict(cell.settings), cell.best_of]


def _measure(measure: Measure) -> Any:
    if isinstance(measure, str | tuple):
        return measure
    return f"{measure.__module__}.{measure.__qualname__}"
