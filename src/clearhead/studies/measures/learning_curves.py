"""Grid, trial, panels and summaries of claims that compare models by number of training digits."""

from collections.abc import Mapping
from types import MappingProxyType

from clearhead.studies._panels import Points
from clearhead.studies.measures.classifiers import accuracy_on_unseen
from clearhead.studies.measures.trainings import on_digits, trained
from clearhead.studies.study import Grid, PerBudget, Summary
from clearhead.studies.table import Trial, Values

STEPS: Mapping[int, int] = MappingProxyType({100: 200, 1_000: 300, 10_000: 500, 60_000: 600})
"""Steps of 100 digits, by number of training digits"""
LONG = 2_000
"""Steps on `MANY` digits that show whether a gap closes with training"""
MANY = 10_000
MIN_ERROR = 0.01  # stands for 0 % on an axis that has no zero


def training_grid(
    conditions: tuple[str, ...],
    digits: int,
    *,
    steps: int | None = None,
    num_seeds: int | PerBudget | None = None,
) -> Grid:
    """Trainings on so many digits, for `STEPS` by default."""
    settings = {"digits": digits, "steps": steps or STEPS[digits], "unseen": 4_000}
    return Grid(conditions=conditions, settings=settings, num_seeds=num_seeds)


def measure_accuracy(trial: Trial) -> Values:
    """Train the compared model that the condition names; its accuracy on unseen digits."""
    settings = trial.settings
    training = on_digits(trial.condition, examples=settings["digits"], steps=settings["steps"])
    model = trained(training, trial.seed)
    return accuracy_on_unseen(model, unseen=settings["unseen"], seed=trial.seed)


def error_rate(values: Values) -> float:
    """In per cent, above 0."""
    return max(100.0 - float(values["accuracy"]), MIN_ERROR)


PANELS = (
    Points(
        measure=error_rate,
        x="digits",
        keep=lambda trial: trial.settings["steps"] != LONG,
        xscale="log",
        yscale="log",
        xlabel="training digits",
        ylabel="error rate on unseen digits (%)",
        ticks={digits: f"{digits:,}" for digits in STEPS},
    ),
    Points(
        measure=error_rate,
        x="steps",
        settings={"digits": MANY},
        xscale="log",
        yscale="log",
        xlabel=f"training steps on {MANY:,} digits",
        ylabel="error rate on unseen digits (%)",
        ticks={steps: f"{steps:,}" for steps in (STEPS[MANY], LONG)},
    ),
)

SUMMARIES = tuple(
    Summary(
        name=f"Accuracy on unseen digits (%), {steps:,} steps on {digits:,} training digits",
        measure="accuracy",
        settings={"digits": digits, "steps": steps},
    )
    for digits, steps in (*STEPS.items(), (MANY, LONG))
)
