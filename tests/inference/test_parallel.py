"""Many items in processes: results have their order, whatever ends a process."""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path

import pytest

from clearhead.inference import _parallel

ENDS = 13


class Fragile(_parallel.Pool[int, str]):
    """Processes that end, all of them, with the item 13; the other units then have no results."""

    def __init__(self) -> None:
        super().__init__(lambda unit: [f"<{item}>" for item in unit], 2)
        self.starts = 0
        self.sent: list[list[int]] = []

    def start(self) -> None:
        self.starts += 1
        self.has_ended = False

    def submit(self, unit: list[int]) -> Future[list[str]]:
        self.sent.append(unit)
        self.has_ended = self.has_ended or ENDS in unit
        future: Future[list[str]] = Future()
        if self.has_ended:
            future.set_exception(BrokenExecutor())
        else:
            future.set_result(self.function(unit))
        return future


@pytest.mark.parametrize("count", [0, 12, 14, 15, 45])
@pytest.mark.parametrize("size", [1, 3, 50])
def test_only_the_item_that_ends_a_process_has_no_result(count: int, size: int) -> None:
    pool = Fragile()
    pool.start()
    items = list(range(count))
    units = [items[start : start + size] for start in range(0, count, size)]
    results = list(pool.map(iter(units), lambda item: f"failed {item}"))
    expected = [f"<{item}>" if item != ENDS else f"failed {ENDS}" for item in items]
    assert [result for unit in results for result in unit] == expected
    assert [len(unit) for unit in results] == [len(unit) for unit in units]
    assert pool.starts == (3 if count > ENDS else 1)


def test_few_units_are_taken_in_advance() -> None:
    taken: list[int] = []

    def units() -> Iterator[list[int]]:
        for number in range(100, 150):
            taken.append(number)
            yield [number]

    pool = Fragile()
    pool.start()
    results = pool.map(units(), str)
    assert not taken
    assert next(results) == ["<100>"]
    assert len(taken) == 2 * _parallel.UNITS_AHEAD


def test_a_file_that_ends_its_process_has_an_error_and_the_others_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The processes get the functions by value, and need not import torch.
    monkeypatch.setattr(_parallel, "_all", lambda function, unit: list(map(function, unit)))
    monkeypatch.setattr(_parallel, "_start", lambda function: setattr(sys, "_own", function))
    monkeypatch.setattr(_parallel, "_run", lambda unit: sys._own(unit))  # type: ignore[attr-defined]
    parent, started = os.getpid(), tmp_path / "started"
    given: list[Path] = []

    def files() -> Iterator[Path]:
        while not started.exists():
            given.append(Path(f"{len(given)}.png"))
            yield given[-1]
        given.extend(map(Path, ["bad.png", *"abcdefghijklmnopqrstuvwxyz"]))
        yield from given[-27:]

    def read(file: Path) -> str:  # sent to the processes by value
        if os.getpid() == parent:  # until they have started
            time.sleep(0.01)
        elif file.name == "bad.png":
            os._exit(1)
        else:
            started.touch()
        return file.name

    results = [str(result) for result in _parallel.map_files(read, files(), 2)]
    names = [file.name for file in given]
    names[names.index("bad.png")] = _parallel.PROCESS_ENDED
    assert results == names
