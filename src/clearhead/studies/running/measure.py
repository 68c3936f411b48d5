"""One trial, measured in this process: the same values in any process with the same code."""

import json
import random
import sys
import time
import traceback
from typing import Any

import numpy as np

from clearhead.studies.registry import load_study
from clearhead.studies.running.provenance import provenance
from clearhead.studies.running.records import canonical
from clearhead.studies.study import Study
from clearhead.studies.table import Trial, Values


def measure(request: str) -> str:
    """The answer to a `Task` as JSON: its values and seconds, or what went wrong."""
    asked = json.loads(request)
    sys.path.extend(place for place in asked["path"] if place not in sys.path)
    try:
        here = provenance(asked["source"])
        if here != asked["provenance"]:
            raise RuntimeError(f"this process has {here}, the run began with {asked['provenance']}")
        study = load_study(asked["source"])
        started = time.perf_counter()
        values = _values(study, Trial(**asked["trial"]))
    except Exception as error:  # noqa: BLE001 - any failure of a study is its own, and reported
        answer: dict[str, Any] = {"error": _in_one_line(error), "trace": traceback.format_exc()}
        return json.dumps(answer)
    return canonical({"values": values, "seconds": time.perf_counter() - started})


def _values(study: Study, trial: Trial) -> Values:
    _forget_what_ran_before(trial.seed)
    values = study.run(trial)
    canonical(values)
    if not isinstance(values, dict):
        raise TypeError(f"a trial gives a dict of values, got {type(values).__name__}")
    return values


def _forget_what_ran_before(seed: int) -> None:
    """One thread, and the same hidden random state whichever trials this process has run.

    Studies draw from generators of their own; a library that they call may not.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the hidden state is meant
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)


def _in_one_line(error: Exception) -> str:
    told = " ".join(str(error).split())
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
