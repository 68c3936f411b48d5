"""Running studies: every trial measured once, by loky on this machine or on a Ray cluster.

`run_studies` measures the trials that a folder does not hold yet and records each in a file of its
own, so that a run that was stopped or killed continues where it ended. The driver writes the
records; `measure` runs one trial in a worker process, with one thread and its own random state.
"""

import shlex
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from clearhead._processes import ctrl_c_deferred, ray_cluster
from clearhead.errors import ConfigError, check_one_of
from clearhead.studies._worker import Measured, Task, measure
from clearhead.studies.claims import find_source
from clearhead.studies.registration import machine
from clearhead.studies.store import (
    Results,
    StudyResult,
    default_folder,
    log,
    open_folder,
    read_outcomes,
    read_results,
    study_trials,
    write_record,
)
from clearhead.studies.table import Budget

RunnerName = Literal["local", "ray"]
MAX_ATTEMPTS = 3
"""Maximum number of attempts if a trial's process dies; errors of its own code are not retried."""
IDLE_SECONDS = 300  # until a worker process without a trial ends
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}

SECONDS_BETWEEN_LINES = 10.0


def run_studies(
    names: Sequence[str],
    *,
    budget: Budget = "quick",
    first_seed: int = 0,
    runner: RunnerName = "local",
    workers: int | None = None,
    out: str | Path | None = None,
    restart: bool = False,
) -> Results:
    """Measure every trial of these studies that `out` does not hold, and read the results.

    Args:
        names: Studies by name or claim, or your own as MODULE:OBJECT.
        budget: "quick" or "full": the number of seeds and the sizes.
        first_seed: The first seed.
        runner: "local": processes of this machine; "ray": the Ray cluster of RAY_ADDRESS, or one
            started for the run.
        workers: Trials measured at once; by default the number of cores.
        out: The folder of results; by default below runs/studies.
        restart: Whether to discard earlier results of these studies.

    Returns:
        All results in the folder. A trial that failed is named in `failures`; the others are
        measured all the same.

    Raises:
        ConfigError: A study or a setting is unknown, or `out` holds results of another budget or
            other seeds, or is in use.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    check_one_of("runner", runner, get_args(RunnerName))
    if isinstance(names, str):
        names = [names]
    if first_seed < 0:
        raise ConfigError(f"first_seed must be at least 0, got {first_seed}")
    studies = _studies(names, budget, first_seed)
    folder = Path(out) if out is not None else default_folder(budget, first_seed)
    with open_folder(folder, studies, budget, first_seed, restart=restart) as lines:
        failures = _measure_missing(folder, studies, runner, workers or cpu_count(), lines)
    return replace(read_results(folder), failures=tuple(failures))


def _studies(names: Sequence[str], budget: Budget, first_seed: int) -> tuple[StudyResult, ...]:
    sources = dict.fromkeys(find_source(name) for name in names)
    studies = tuple(study_trials(source, budget, first_seed) for source in sources)
    for name, count in Counter(item.study.name for item in studies).items():
        if count > 1:
            raise ConfigError(f"two of the studies have the name {name!r}; rename one of them")
    return studies


def _measure_missing(
    folder: Path,
    studies: Sequence[StudyResult],
    runner: RunnerName,
    workers: int,
    lines: list[str],
) -> list[str]:
    tasks: list[Task] = []
    for item in studies:
        outcomes, damaged = read_outcomes(folder, item.trials)
        recorded = {outcome.trial.name for outcome in outcomes}
        lines += [f"{line}; it is measured again" for line in damaged]
        tasks += [
            Task(item.source, trial, item.study.exclusive)
            for trial in item.trials
            if trial.name not in recorded
        ]
    failures: list[str] = []
    total = sum(len(item.trials) for item in studies)
    started = time.monotonic()
    with _Progress(tasks, total) as progress:
        for line in lines:
            progress.print(line)
        if not tasks:
            return failures
        command = shlex.join(["clearhead", *sys.argv[1:]])
        # "engine" as in the logs of published runs
        log(folder, "begin", command=command, machine=machine(), engine=runner, workers=workers)
        try:
            for result in _measured(tasks, runner, workers):
                failures += _keep(folder, result, progress, time.monotonic() - started)
        except KeyboardInterrupt:
            log(folder, "interrupted", elapsed=round(time.monotonic() - started, 3))
            raise
    log(folder, "end", elapsed=round(time.monotonic() - started, 3))
    return failures


def _keep(folder: Path, result: Measured, progress: "_Progress", elapsed: float) -> list[str]:
    """Record a trial; return its failure as a line, if it failed."""
    trial, failures = result.task.trial, []
    facts = {"study": trial.study, "trial": trial.name, "elapsed": round(elapsed, 3)}
    if result.values is not None:
        write_record(folder, trial, result.values)
    else:
        failures = [f"study {trial.study}, trial {trial.name}: {result.facts['error']}"]
        progress.print(failures[0])
    log(folder, "error" if failures else "trial", **facts, **result.facts)
    progress.count(trial.study)
    return failures


def _measured(tasks: Sequence[Task], runner: RunnerName, workers: int) -> Iterator[Measured]:
    """All trials, in any order; those that measure time come last, one at a time."""
    with ray_cluster(workers) if runner == "ray" else _loky():
        run = _run_on_ray if runner == "ray" else _run
        yield from run([task for task in tasks if not task.exclusive], workers)
        yield from run([task for task in tasks if task.exclusive], 1)


def _run_on_ray(tasks: Sequence[Task], workers: int) -> Iterator[Measured]:
    """Trials in parallel on the cluster, which repeats a trial if its process dies."""
    import ray

    paths = _python_paths()
    remote: Any = ray.remote(num_cpus=1, max_retries=MAX_ATTEMPTS - 1)(measure)
    left = iter(tasks)
    running: dict[Any, Task] = {}
    while True:
        for task in islice(left, workers - len(running)):
            running[remote.remote(task, paths)] = task
        if not running:
            return
        for reference in ray.wait(list(running))[0]:
            task = running.pop(reference)
            try:
                yield ray.get(reference)
            except ray.exceptions.RayError as error:
                yield _died(task, error)


def _run(tasks: Sequence[Task], workers: int) -> Iterator[Measured]:
    """Trials in parallel. If a worker process dies, those that ran are repeated, each alone."""
    left = iter(tasks)
    running: dict[Future[Measured], Task] = {}
    while True:
        # Trials are submitted by this thread alone. As a callback of another one, `submit` would
        # wait for the lock that `get_reusable_executor` holds while it waits for that thread.
        for task in islice(left, workers - len(running)):
            running[_submit(task, workers)] = task
        if not running:
            return
        done = wait(running, return_when=FIRST_COMPLETED).done
        if any(map(_has_lost_worker, done)):
            done = wait(running).done  # the other processes are ended, too
        suspects = []
        for future in done:
            task = running.pop(future)
            if _has_lost_worker(future):
                suspects.append(task)
            else:
                yield future.result()
        for task in suspects:
            yield _run_alone(task)


def _has_lost_worker(future: Future[Measured]) -> bool:
    return isinstance(future.exception(), TerminatedWorkerError)


def _run_alone(task: Task) -> Measured:
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return _submit(task, 1).result()
        except TerminatedWorkerError as error:
            reason = error
    return _died(task, reason)


def _died(task: Task, error: Exception) -> Measured:
    reason = " ".join(str(error).split()) or type(error).__name__
    facts = {"error": f"its process died {MAX_ATTEMPTS} times: {reason}", "trace": ""}
    return Measured(task, None, facts)


def _submit(task: Task, workers: int) -> Future[Measured]:
    """Start a trial in one of so many worker processes."""
    with ctrl_c_deferred():
        while True:
            executor = get_reusable_executor(workers, timeout=IDLE_SECONDS, env=ONE_THREAD)
            try:
                future: Future[Measured] = executor.submit(measure, task, _python_paths())
            except TerminatedWorkerError:  # a process died meanwhile: the next executor is new
                continue
            return future


def _python_paths() -> list[str]:
    return [str(Path(place or ".").absolute()) for place in sys.path]


@contextmanager
def _loky() -> Iterator[None]:
    """Worker processes of this machine, ended with the run."""
    with warnings.catch_warnings():
        # Loky replaces a worker between two trials if its memory has grown, as by a data set that
        # is kept; it warns of that, but no trial is lost or measured twice.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        try:
            yield
        finally:
            get_reusable_executor(kill_workers=True).shutdown(wait=True, kill_workers=True)


class _Progress:
    """One live line on a terminal, plain lines elsewhere, with the time left at the mean speed."""

    def __init__(self, tasks: Sequence[Task], total: int) -> None:
        self._console = Console(file=sys.stderr, highlight=False)
        self._left = Counter(task.trial.study for task in tasks)
        self._printed_at = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            speed_estimate_period=3600,
            refresh_per_second=2,  # drawing takes time from studies that measure time
            disable=not self._console.is_terminal or not tasks,
        )
        self._bar.add_task("starting", total=total, completed=total - len(tasks))

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def print(self, text: str) -> None:
        self._console.print(f"clearhead: {text}", soft_wrap=True, markup=False)

    def count(self, study: str) -> None:
        """After a trial, measured or failed."""
        (task,) = self._bar.tasks
        self._left[study] -= 1
        self._bar.update(task.id, advance=1, description=study)
        now = time.monotonic()
        due = not self._left[study] or now - self._printed_at > SECONDS_BETWEEN_LINES
        if self._bar.disable and due:
            self._printed_at = now
            seconds = task.time_remaining  # None until it is known
            left = "" if seconds is None else f"  {timedelta(seconds=int(seconds))} left"
            done = f"{task.completed:.0f}/{task.total:.0f}"
            self._console.print(f"trial {done}  {study}{left}", markup=False)
