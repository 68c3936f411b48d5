"""All trials of some studies: those that are not recorded yet are measured, and recorded."""

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

from clearhead.errors import ConfigError
from clearhead.studies.running.engine import Engine, Measured
from clearhead.studies.running.folder import PRINTED, default_folder, log, opened
from clearhead.studies.running.planning import Planned, Task, plan
from clearhead.studies.running.progress import Progress
from clearhead.studies.running.provenance import available_cores, machine, provenance
from clearhead.studies.running.records import write_record
from clearhead.studies.running.results import Results, read_outcomes, read_results
from clearhead.studies.table import Budget

EngineName = Literal["local", "ray"]


def run_studies(
    names: Sequence[str],
    *,
    budget: Budget = "quick",
    first_seed: int = 0,
    engine: EngineName = "local",
    workers: int | None = None,
    out: str | Path | None = None,
    restart: bool = False,
) -> Results:
    """Measure every trial of these studies that `out` does not hold, and give what it holds then.

    `names` are studies of the project, or MODULE:OBJECT for your own. Stopped at any moment, the
    same call goes on. `workers` processes measure at once (as many as there are cores; on Ray as
    the cluster has). A trial that fails is named in `failures`, and the others go on. Raises
    `ConfigError` if `out` holds results of other settings or other code.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    if first_seed < 0:
        raise ConfigError(f"first_seed must be at least 0, got {first_seed}")
    planned = plan(names, budget, first_seed)
    folder = Path(out) if out is not None else default_folder(budget, first_seed)
    with opened(folder, planned, budget, first_seed, restart=restart):
        failures = _measure_missing(folder, planned, engine, workers)
    return replace(read_results(folder), failures=tuple(failures))


def _measure_missing(
    folder: Path, planned: Sequence[Planned], engine: EngineName, workers: int | None
) -> list[str]:
    tasks, recorded, damaged = _missing(folder, planned)
    workers_here = workers or available_cores()
    failures: list[str] = []
    started = time.monotonic()
    if not tasks:
        return failures
    log(
        folder,
        "begin",
        command=shlex.join(["clearhead", *sys.argv[1:]]),
        machine=machine(),
        engine=engine,
        workers=workers_here,
        trials=len(tasks),
    )
    with Progress(tasks, recorded, workers_here) as progress:
        for line in damaged:
            progress.say(f"{line}; measuring it again")
        try:
            for one in _in_two_turns(tasks, folder, engine, workers):
                failures += _keep(folder, one, progress, time.monotonic() - started)
        except KeyboardInterrupt:
            log(folder, "interrupted", elapsed=round(time.monotonic() - started, 3))
            raise
    log(folder, "end", elapsed=round(time.monotonic() - started, 3))
    return failures


def _missing(folder: Path, planned: Sequence[Planned]) -> tuple[list[Task], int, list[str]]:
    """What is to be measured, how much is recorded, and what is wrong with damaged records."""
    tasks: list[Task] = []
    damaged_lines: list[str] = []
    recorded = 0
    for one in planned:
        outcomes, damaged = read_outcomes(folder, one.trials)
        known = {outcome.trial.name for outcome in outcomes}
        recorded += len(known)
        damaged_lines += damaged
        here = provenance(one.source)
        tasks += [
            Task(one.source, trial, here, one.study.exclusive)
            for trial in one.trials
            if trial.name not in known
        ]
    return tasks, recorded, damaged_lines


def _in_two_turns(
    tasks: Sequence[Task], folder: Path, engine: EngineName, workers: int | None
) -> Iterator[Measured]:
    """First what may run side by side, then, one by one, what measures time."""
    shared = [task for task in tasks if not task.exclusive]
    alone = [task for task in tasks if task.exclusive]
    for turn, at_once in ((shared, workers), (alone, 1)):
        if turn:
            with closing(_engine(engine, folder, at_once)(turn)) as measured:
                yield from measured


def _engine(engine: EngineName, folder: Path, workers: int | None) -> Engine:
    if engine == "ray":
        from clearhead.studies.running.on_ray import run_on_ray

        return lambda tasks: run_on_ray(tasks, workers)
    from clearhead.studies.running.local import run_locally

    return lambda tasks: run_locally(tasks, workers or available_cores(), folder / PRINTED)


def _keep(folder: Path, one: Measured, progress: Progress, elapsed: float) -> list[str]:
    """Record a trial; what went wrong, if something did, in one line."""
    trial = one.task.trial
    told = {"study": trial.study, "trial": trial.name, "elapsed": round(elapsed, 3)}
    failures = []
    if one.values is not None:
        write_record(folder, trial, one.values)
        log(folder, "trial", **told, seconds=round(one.seconds, 3))
    else:
        failures = [f"study {trial.study}, trial {trial.name}: {one.error}"]
        log(folder, "error", **told, error=one.error, trace=one.trace)
        progress.say(failures[0])
    progress.count(one)
    return failures
