"""Work on many items in processes of this machine: predictions of pictures, and units of jobs."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, wait
from functools import partial
from itertools import chain, groupby, islice
from multiprocessing import current_process
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, Self, TypeVar

import torch

from clearhead._processes import ctrl_c_deferred, exit_with_parent
from clearhead._validate import check, integer, optional
from clearhead.errors import ImageError

Item = TypeVar("Item")
Result = TypeVar("Result")

POOL_AFTER = 1.0  # seconds of work; it takes about as many until the processes work
CHUNK = 8  # files that a process gets at once
UNITS_AHEAD = 4  # per process
PROCESS_ENDED = "the process that read this picture ended; is the picture damaged, or memory full?"

NUM_WORKERS_RULE = optional(integer(0))


def map_files(
    function: Callable[[Item], Result | ImageError], items: Iterable[Item], num_workers: int | None
) -> Iterator[Result | ImageError]:
    """The results in order, as soon as they are made; an error for a file that ends a process.

    Args:
        function: Of one item; it must be possible to pickle it.
        items: Paths and others, of which only few are taken in advance.
        num_workers: Processes for paths, while other items are for this process. By default, once
            this has taken a second, one for each core of the CPU.

    Raises:
        ConfigError: `num_workers` is out of range.
    """
    check("num_workers", num_workers, NUM_WORKERS_RULE)
    seconds = 0.0 if num_workers else POOL_AFTER
    for is_file, group in groupby(items, lambda item: isinstance(item, str | Path)):
        for item in group:
            if is_file and seconds <= 0 and num_workers != 0:
                files = chain([item], group)  # noqa: B031 - the rest of the group, used once
                yield from _map_in_pool(function, files, num_workers)
                continue
            started = perf_counter()
            result = function(item)
            seconds -= perf_counter() - started
            yield result


def _map_in_pool(
    function: Callable[[Item], Result | ImageError], files: Iterator[Item], num_workers: int | None
) -> Iterator[Result | ImageError]:
    from joblib import cpu_count

    workers = num_workers or cpu_count()
    if current_process().daemon or (num_workers is None and workers == 1):
        yield from map(function, files)
        return
    with Pool(partial(_all, function), workers) as pool:
        started = pool.submit([])
        for file in files:
            yield function(file)
            if started.done():
                break
        chunks = iter(lambda: list(islice(files, CHUNK)), [])
        yield from chain.from_iterable(pool.map(chunks, lambda _: ImageError(PROCESS_ENDED)))


def _all(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return list(map(function, items))


class Pool(Generic[Item, Result]):
    """Processes that each have a function of a unit of work, some items, and one thread.

    Threads would not do: most of the preprocessing holds the GIL.

    Args:
        function: Makes a result of each item.
        workers: The number of processes.
    """

    def __init__(self, function: Callable[[list[Item]], list[Result]], workers: int) -> None:
        self.function = function
        self.workers = workers

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.shutdown(kill_workers=True)

    def start(self) -> None:
        """Start processes, also after one has ended, which ends the others."""
        # Unlike those of the standard library, these processes do not import the script that is
        # running, which may lack a guard.
        from joblib.externals.loky import ProcessPoolExecutor

        self.executor = ProcessPoolExecutor(
            self.workers, initializer=_start, initargs=(self.function,)
        )

    def submit(self, unit: list[Item]) -> Future[list[Result]]:
        """The results of a unit, which a process will make."""
        future: Future[list[Result]]
        try:
            with ctrl_c_deferred():
                future = self.executor.submit(_run, unit)
        except BrokenExecutor as error:  # a process has ended since the last result
            future = Future()
            future.set_exception(error)
        return future

    def map(
        self, units: Iterator[list[Item]], failed: Callable[[Item], Result]
    ) -> Iterator[list[Result]]:
        """The results of units, in their order.

        If a process dies, the items of the first unit without a result are sent one by one, and
        the units after it again: only the item that caused it has the result of `failed`.
        """
        waiting: deque[tuple[list[Item], Future[list[Result]]]] = deque()
        while True:
            while len(waiting) < UNITS_AHEAD * self.workers and (unit := next(units, None)):
                waiting.append((unit, self.submit(unit)))
            if not waiting:
                return
            unit, first = waiting.popleft()
            try:
                yield first.result()
            except BrokenExecutor:
                wait([future for _, future in waiting])
                self.start()
                yield self.one_by_one(unit, failed)
                waiting = deque(
                    (unit, self.submit(unit) if future.exception() else future)
                    for unit, future in waiting
                )

    def one_by_one(self, unit: list[Item], failed: Callable[[Item], Result]) -> list[Result]:
        """The results of a unit that may have ended a process."""
        results: list[Result] = []
        for item in unit:
            try:
                results += self.submit([item]).result()
            except BrokenExecutor:
                self.start()
                results.append(failed(item))
        return results


_functions: list[Callable[[list[Any]], list[Any]]] = []


def _start(function: Callable[[list[Any]], list[Any]]) -> None:
    """In a new process."""
    exit_with_parent()
    torch.set_num_threads(1)
    _functions[:] = [function]


def _run(unit: list[Any]) -> list[Any]:
    return _functions[0](unit)
