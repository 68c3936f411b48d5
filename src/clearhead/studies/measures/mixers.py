"""Accuracy of blocks that mix patches by attention or by convolution, by the length of training."""

from clearhead.studies._panels import Curves, side_by_side
from clearhead.studies.measures import gates
from clearhead.studies.measures.classifiers import accuracy_on
from clearhead.studies.measures.trainings import on_digits, trained
from clearhead.studies.table import Trial, Values

MODELS = {"vit": "attention", "conv": "convolution between patches"}
LABELS = {"floor": "no mixing", "conv": "convolution", "with_attention": "attention"}
BUDGETS = (90, 300, 900)  # steps; 300 are the trainings of other claims


def accuracies_by_steps(trial: Trial) -> Values:
    """Number of steps → model → accuracy on unseen digits, in per cent."""
    unseen, digits, seed = gates.unseen_of(trial), trial.settings["digits"], trial.seed
    return {
        str(steps): {
            name: accuracy_on(trained(on_digits(name, examples=digits, steps=steps), seed), unseen)
            for name in MODELS
        }
        for steps in trial.settings["budgets"]
    }


def gap(accuracies: Values) -> float:
    """Attention minus convolution, in points."""
    return float(accuracies["vit"] - accuracies["conv"])


PANELS = (
    Curves(
        measure=lambda values: {
            label: [100 - values[str(x)][name] for x in BUDGETS] for name, label in MODELS.items()
        },
        group="measure",
        conditions=("digits",),
        x=BUDGETS,
        xscale="log",
        yscale="log",
        xlabel="training steps",
        ylabel="error rate on unseen digits (%)",
    ),
    side_by_side(
        LABELS, "accuracy on the common digit (%)", conditions=("common digit",), ylim=(0, 100)
    ),
)
