"""One trial in a worker process. Workers import this module, so it imports little."""

import random
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np

from clearhead._processes import exit_with_parent
from clearhead.studies.claims import load_study
from clearhead.studies.table import Trial, Values, canonical

_USED: list[str] = []


def note_training(digest: str) -> None:
    """Record that the trial of this process uses a training run that other trials may use, too."""
    _USED.append(digest)


@dataclass(frozen=True)
class Task:
    """A trial to measure, and where its study is found."""

    source: str
    trial: Trial
    exclusive: bool = False


@dataclass(frozen=True)
class Measured:
    """The values of a trial, if there are any, and facts for the log: `error`, or how long."""

    task: Task
    values: Values | None
    facts: dict[str, Any]


def measure(task: Task, paths: Sequence[str] = ()) -> Measured:
    """Measure one trial in this process: the same values in any process with the same code.

    `paths` are folders to add to Python's path, for studies outside the package.
    """
    exit_with_parent()
    sys.path.extend(path for path in paths if path not in sys.path)
    try:
        study = load_study(task.source)
        _seed_everything(task.trial.seed)
        _USED.clear()
        started = time.perf_counter()
        with redirect_stdout(sys.stderr):
            values = study.run(task.trial)
        facts: dict[str, Any] = {"seconds": round(time.perf_counter() - started, 3)}
        canonical(values)  # raises for NaN and for what is not JSON
        if not isinstance(values, dict):
            raise TypeError(f"a trial returns a dict of values, got {type(values).__name__}")
    except Exception as error:  # noqa: BLE001 - any failure of a study is reported as its own
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Measured(task, None, {"error": reason, "trace": traceback.format_exc()})
    used = list(dict.fromkeys(_USED))
    return Measured(task, values, facts | ({"trainings": used} if used else {}))


def _seed_everything(seed: int) -> None:
    """One thread, and the global random state of a new process, for libraries that use it."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global state, on purpose
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)
