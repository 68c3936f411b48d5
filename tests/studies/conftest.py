"""A folder with small studies, from which they can be imported, as a user's own can."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from clearhead.studies.measures import trainings
from tests.studies.toy_studies import forget_toys, write_toys


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_toys(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    forget_toys()
    yield tmp_path
    forget_toys()


class Killed(BaseException):
    """Instead of the end of the process."""


class ThisProcess:
    """Loky's executor, without its processes, which take longer to start than the toys' trials."""

    def submit(self, function: Callable[..., Any], *arguments: object) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Killed:
            future.set_exception(TerminatedWorkerError("killed"))
        return future

    def shutdown(self, **_: object) -> None:
        pass


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are measured in this process, which outlives those that kill it."""

    def kill(*_: object) -> None:
        raise Killed

    path = "clearhead.studies.runner.get_reusable_executor"
    monkeypatch.setattr(path, lambda *_, **__: ThisProcess())
    monkeypatch.setattr(os, "kill", kill)


@pytest.fixture
def small_trainings(
    mnist_train: object, mnist_test: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Shared trainings are kept in a folder of the test."""
    monkeypatch.setattr(trainings, "cache_folder", lambda: tmp_path)
