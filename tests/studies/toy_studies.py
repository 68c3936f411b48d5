"""Studies of a few milliseconds a trial, written to a folder as a user would write theirs.

A file `limit` holds the number of trials of the study "toy" that may begin; others wait.
"""

import sys
from pathlib import Path

TOY = """
import os
import random
import time
from pathlib import Path

from clearhead.studies import Cell, Grid, Points, Study, Summary, difference, parts
from clearhead.studies._worker import note_training


def started():
    return len(Path("started.txt").read_text().splitlines())


def run(trial):
    with Path("started.txt").open("a") as file:
        file.write(trial.name + "\\n")
    while Path("limit").exists() and started() > int(Path("limit").read_text()):
        time.sleep(0.01)
    time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
    note_training(f"training {trial.seed}")
    generator = random.Random(f"{trial.condition} {trial.seed}")
    level = {"with": 3.0, "without": 0.0}.get(trial.condition, 0.0)
    return {"score": generator.gauss(level, 0.5), "all": [generator.random() for _ in range(5)]}


STUDY = Study(
    name="toy", claim="X1", statement="With it, the score is higher",
    question="By how much is the score higher with it?",
    conditions="Three conditions of random numbers.", measure="Score in points.",
    seeds={"quick": 8, "full": 12},
    grid=(Grid(("with", "without", "1/d_k of <b>&"), run, {"size": 3}),),
    parts=parts(
        {
            "the score is higher with it": difference(
                "score, with minus without", "points",
                Cell("with", "score", {"size": 3}), Cell("without", "score"), margin=1.0,
            )
        }
    ),
    panels=(Points(measure="score", xlabel="condition", ylabel="score (points)"),),
    summaries=(Summary(name="Score (points)", measure="score", conditions=("with",)),),
    limits=("Random numbers.",),
    references=("Nobody (2020), A paper",),
)
"""

NULL = """
from dataclasses import replace

from clearhead.studies import Cell, Grid, Image, difference, parts
import toy


def run(trial):
    import random

    return {"score": random.Random(trial.seed).gauss(90, 3)}


STUDY = replace(
    toy.STUDY, name="null", claim="X2", statement="The same is more than the same",
    grid=(Grid(("a", "b"), run),),
    parts=parts(
        {
            "it is more": difference(
                "a minus b", "%", Cell("a", "score"), Cell("b", "score"), margin=0.5
            )
        }
    ),
    panels=(Image(cell=Cell("with", "score"), title="no such condition"),), summaries=(),
    limits=("Both conditions are the same.",),
)
"""

FAULTY = """
import os
import signal
from dataclasses import replace
from pathlib import Path

import toy
from clearhead.studies import Grid


def run(trial):
    condition = trial.condition
    with Path("started.txt").open("a") as file:
        file.write(condition + "\\n")
    if condition == "raises":
        raise ValueError("two\\nlines [with markup]")
    if condition == "dies" or (condition == "dies once" and not Path("died").exists()):
        Path("died" if condition == "dies once" else "started.txt").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if condition == "NaN":
        return {"score": float("nan")}
    if condition == "no dict":
        return [1.0]
    if condition == "prints":
        print("{}")
        os.write(1, b"from below\\n")
    return {"score": 1.0}


CONDITIONS = ("fine", "raises", "dies", "dies once", "NaN", "no dict", "prints", "draws")
STUDY = replace(
    toy.STUDY, name="faulty", grid=(Grid(CONDITIONS, run, num_seeds=1),), parts=(),
)
"""

ALONE = """
import time
from dataclasses import replace
from pathlib import Path

import toy
from clearhead.studies import Grid


def run(trial):
    with Path("started.txt").open("a") as file:
        file.write("alone begins\\n")
    time.sleep(0.05)
    with Path("started.txt").open("a") as file:
        file.write("alone ends\\n")
    return {"seconds": 0.05}


STUDY = replace(
    toy.STUDY, name="alone", claim="X0", grid=(Grid(("a",), run),), exclusive=True,
    parts=(),
)
"""


def forget_toys() -> None:
    """What another test imported under these names lay in another folder."""
    names = ("toy", "null", "faulty", "alone", "hidden", "again", "empty")
    for name in [x for x in sys.modules if x.partition("_")[0] in names]:
        del sys.modules[name]


def write_toys(folder: Path) -> None:
    """toy.py, null.py, faulty.py, alone.py."""
    for name, text in {"toy": TOY, "null": NULL, "faulty": FAULTY, "alone": ALONE}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
