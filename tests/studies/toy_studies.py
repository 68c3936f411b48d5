"""Studies of a few milliseconds a trial, written to a folder as a user would write theirs."""

import sys
from pathlib import Path

TOY = """
import os
import random
import time
from pathlib import Path

from clearhead.studies import Comparison, Study, Trial
from clearhead.studies._unconverted import values_of

ARMS = ("with", "without", "1/d_k of <b>&")


def trials(budget, seeds):
    return tuple(
        Trial(study="toy", condition=arm, seed=seed, settings={"size": 3})
        for arm in ARMS
        for seed in seeds
    )


def run(trial):
    with Path("begun.txt").open("a") as file:
        file.write(trial.name + "\\n")
    time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
    generator = random.Random(f"{trial.condition} {trial.seed}")
    level = {"with": 3.0, "without": 0.0}.get(trial.condition, 0.0)
    return {"score": generator.gauss(level, 0.5), "all": [generator.random() for _ in range(5)]}


def evidence(outcomes):
    score = {arm: values_of(outcomes, arm, "score", size=3) for arm in ARMS}
    return (
        Comparison(
            name="score, with minus without", unit="points", margin=1.0,
            first=score["with"], second=score["without"],
        ),
    )


def sentences(outcomes):
    mean = sum(values_of(outcomes, "with", "score")) / (len(outcomes) / 3)
    return (f"With it, the score is {mean:.2f} points.",)


def figure(outcomes):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for arm in ARMS[:2]:
        axes.plot(values_of(outcomes, arm, "score"), label=arm)
    axes.set_xlabel("seed")
    axes.set_ylabel("score (points)")
    axes.legend()
    return figure


STUDY = Study(
    name="toy", claim="X1", statement="With it, the score is higher",
    hypothesis="The score is at least one point higher with it.",
    conditions="Three arms of random numbers.", measure="Score in points.",
    seeds={"quick": 8, "full": 12}, trials=trials, run=run, evidence=evidence,
    sentences=sentences, figure=figure, references=("Nobody (2020), A paper",),
)
"""

NULL = """
from dataclasses import replace

from clearhead.studies import Comparison, Trial
from clearhead.studies._unconverted import values_of
import toy


def trials(budget, seeds):
    return tuple(Trial(study="null", condition=arm, seed=s) for arm in ("a", "b") for s in seeds)


def run(trial):
    import random

    return {"score": random.Random(trial.seed).gauss(90, 3)}


def evidence(outcomes):
    first, second = (values_of(outcomes, arm, "score") for arm in ("a", "b"))
    return (Comparison(name="a minus b", unit="%", first=first, second=second, margin=0.5),)


STUDY = replace(
    toy.STUDY, name="null", claim="X2", statement="The same is more than the same", trials=trials,
    run=run, evidence=evidence, sentences=lambda outcomes: ("Both arms are the same.",),
)
"""

FAULTY = """
import os
import signal
from dataclasses import replace
from pathlib import Path

import toy
from clearhead.studies import Trial


def trials(budget, seeds):
    arms = ("fine", "raises", "dies", "dies once", "NaN", "no dict", "prints", "draws")
    return tuple(Trial(study="faulty", condition=arm, seed=seeds[0]) for arm in arms)


def run(trial):
    with Path("begun.txt").open("a") as file:
        file.write(trial.condition + "\\n")
    if trial.condition == "raises":
        raise ValueError("two\\nlines")
    if trial.condition == "dies" or (trial.condition == "dies once" and not Path("died").exists()):
        Path("died" if trial.condition == "dies once" else "begun.txt").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.condition == "NaN":
        return {"score": float("nan")}
    if trial.condition == "no dict":
        return [1.0]
    if trial.condition == "prints":
        print("{}")
        os.write(1, b"from below\\n")
    return {"score": 1.0}


STUDY = replace(toy.STUDY, name="faulty", trials=trials, run=run, evidence=lambda outcomes: ())
"""

ALONE = """
import time
from dataclasses import replace
from pathlib import Path

import toy
from clearhead.studies import Trial


def trials(budget, seeds):
    return tuple(Trial(study="alone", condition="a", seed=seed) for seed in seeds)


def run(trial):
    with Path("begun.txt").open("a") as file:
        file.write("alone begins\\n")
    time.sleep(0.05)
    with Path("begun.txt").open("a") as file:
        file.write("alone ends\\n")
    return {"seconds": 0.05}


STUDY = replace(
    toy.STUDY, name="alone", claim="X0", trials=trials, run=run, exclusive=True,
    evidence=lambda outcomes: (),
)
"""


def forget_toys() -> None:
    """What another test imported under these names lay in another folder."""
    for name in ("toy", "null", "faulty", "alone", "hidden"):
        sys.modules.pop(name, None)


def write_toys(folder: Path) -> None:
    """toy.py, null.py, faulty.py, alone.py."""
    for name, text in {"toy": TOY, "null": NULL, "faulty": FAULTY, "alone": ALONE}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
