"""Before a run: its plan, the registered designs, and what changed after results were seen.

`registered.json` holds the registered designs: hypotheses, margins, seeds and a fingerprint of each
study. It is committed and tagged before the run, which checks it. `history.toml` lists earlier runs
and every change of a rule or a design made with their results known; reports print both. A run
records `versions` and `machine`.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from joblib import cpu_count

from clearhead._atomic import sha256, write_atomic
from clearhead.errors import ConfigError, CorruptDataError
from clearhead.studies.hypotheses import Declared, Hypothesis
from clearhead.studies.stats import smallest_effect
from clearhead.studies.study import Study
from clearhead.studies.table import Budget, Measure, canonical
from clearhead.studies.verdict import LEVEL, MIN_SEEDS

Row = dict[str, Any]
POWER = 0.8
REGISTERED = "registered.json"
PACKAGE = Path(str(resources.files("clearhead.studies")))
LIBRARIES = ("clearhead", "torch", "numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class Planned(Declared):
    """A hypothesis with its seeds and power.

    Attributes:
        part: The part that it belongs to.
        seeds: The number of seeds; None for what is exact.
        distance_in_sd: How far the mean must lie from an end of the range to be decided with 80 %
            power at the strictest level of Holm's method, in standard deviations of the
            differences; None if it decides nothing, or with too few seeds.
        distance: The same in its unit, if the spread is known.
    """

    part: str
    seeds: int | None = None
    distance_in_sd: float | None = None
    distance: float | None = None

    @property
    def decides(self) -> bool:
        """Whether it predicts something of a mean."""
        return self.seeds is not None and self.kind != "estimate"


def plan_study(
    study: Study, budget: Budget, spreads: Mapping[str, float] = MappingProxyType({})
) -> tuple[Planned, ...]:
    """Every hypothesis of a study, premises first, with the smallest effect it can find.

    Args:
        study: The study.
        budget: "quick" or "full".
        spreads: Standard deviations of the differences in an earlier run, by the names of the
            hypotheses, for those that declare no spread.

    Returns:
        One entry for each premise and hypothesis of each part.
    """

    def planned(part: str, hypothesis: Hypothesis, level: float) -> Planned:
        found = Planned(part=part, **hypothesis.declared())
        if not hypothesis.is_comparison:
            return found
        seeds = study.seeds_of(hypothesis, budget)
        if seeds < MIN_SEEDS or found.kind == "estimate":
            return replace(found, seeds=seeds)
        distance = smallest_effect(seeds, level, power=POWER)
        spread = hypothesis.spread or spreads.get(found.name)
        in_unit = None if spread is None else distance * spread
        return replace(found, seeds=seeds, distance_in_sd=distance, distance=in_unit)

    strictest = LEVEL / max(1, study.num_tests)
    return tuple(
        planned(part.name, hypothesis, level)
        for part in study.parts
        for level, group in ((LEVEL, part.premises), (strictest, part.hypotheses))
        for hypothesis in group
    )


@cache
def history() -> tuple[list[Row], list[Row]]:
    """Earlier runs and changes, in the order of time, as `history.toml` describes them."""
    data = tomllib.loads((PACKAGE / "history.toml").read_text("utf-8"))
    optional: Row = {"why": "", "claims": [], "verdicts": ""}
    return data["run"], [optional | change for change in data["change"]]


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


def registration_folder() -> Path:
    """Where registrations are written: in a clone of Clearhead the package.

    Elsewhere the root of the current repository, or without one the current folder.
    """
    here = Path.cwd()
    root = next((x for x in (here, *here.parents) if (x / ".git").exists()), here)
    package = root / "src" / "clearhead" / "studies"
    return package if package.is_dir() else root


def register(
    studies: Iterable[Study],
    budget: Budget,
    first_seed: int,
    spreads: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    folder: Path | None = None,
) -> Path:
    """Write the designs of studies to `registered.json`; the seeds must not have been used before.

    By default to `registration_folder()`, where runs look for it; for `spreads` see `plan_study`.
    """
    last = max(run["last_seed"] for run in history()[0])
    if first_seed <= last:
        raise ConfigError(f"seeds up to {last} were used before; register a first seed above it")
    designs = {
        study.name: {
            "claim": study.claim,
            "fingerprint": fingerprint(study, budget),
            "seeds": study.seeds[budget],
            "trials": len(study.trials(budget, range(study.seeds[budget]))),
            "hypotheses": [
                asdict(x) for x in plan_study(study, budget, spreads.get(study.name, {}))
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
    folder = folder or registration_folder()
    path = folder / REGISTERED
    if path.exists() and not _read(folder):
        raise ConfigError(f"{path} holds no registration; rename it, or choose a folder with --out")
    write_atomic(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def registered() -> dict[str, Any]:
    """What `register` wrote: here, or else in the package; empty if nothing is registered."""
    return _read(registration_folder()) or _read(PACKAGE)


def _read(folder: Path) -> dict[str, Any]:
    """What `register` wrote to a folder; empty without such a file, or if it holds other things."""
    path = folder / REGISTERED
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CorruptDataError(f"{path} is damaged ({error}); restore or remove it") from error
    known = isinstance(content, dict) and {"budget", "first_seed", "studies"} <= content.keys()
    return content if known else {}


def check_registered(
    studies: Iterable[Study], budget: Budget, first_seed: int
) -> dict[str, Any] | None:
    """Date and commit of the registration of this budget and first seed; None if there is none.

    Raises `ConfigError` if a design differs from the registered one, or is not registered.
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
    here = registration_folder()
    folder = here if _read(here) else PACKAGE
    commit = git("log", "-1", "--format=%h", "--", REGISTERED, folder=folder)
    return {"date": found["date"], "commit": commit}


def _declared(hypothesis: Hypothesis) -> list[Any]:
    bounds = [str(x) for x in hypothesis.region]
    cells = [
        [x.condition, _measure(x.measure), dict(x.settings), x.best_of] for x in hypothesis.cells
    ]
    return [hypothesis.kind, hypothesis.name, hypothesis.unit, *bounds, hypothesis.constant, *cells]


def _measure(measure: Measure) -> Any:
    return f"{measure.__module__}.{measure.__qualname__}" if callable(measure) else measure


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on, and the commit, if known."""
    found = {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
    commit = git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    return found | ({"commit": commit} if commit else {})


def machine() -> dict[str, str | int]:
    """What times depend on: processor, cores, memory, system."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = re.search(r"^model name\s*:\s*(.*)$", cpuinfo.read_text(errors="replace"), re.M)
        processor = names[1] if names else processor
    memory = 0
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor,
        "cores": cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def git(*arguments: str, folder: Path | None = None) -> str:
    """The output of a git command, by default in the package; empty outside of a repository."""
    program, place = shutil.which("git"), folder or PACKAGE
    if program is None:
        return ""
    command = [program, "-C", str(place), *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() if found.returncode == 0 else ""
