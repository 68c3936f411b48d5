"""How measures change with layers and sizes; accuracy by the number of heads, and by mixer.

Slopes are those of a straight line by least squares.
"""

from collections.abc import Callable, Sequence

import numpy as np

from clearhead.models.config import ViTConfig
from clearhead.studies import Curves, Measure, Points, Summary, Trial, Values, side_by_side
from clearhead.studies.measures.classifiers import COMPARED_MODELS, accuracy_on, accuracy_on_unseen
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.studies.measures.trainings import Training, on_digits, train, trained, unseen_of
from clearhead.studies.table import measured

WIDTHS, FEW_AND_MANY = (16, 32, 64), (1, 8)
MIXERS = {"vit": "attention", "conv": "convolution between patches"}
BUDGETS = (90, 300, 900)  # steps; 300 as in other claims


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of y against x."""
    return float(np.polyfit(x, y, 1)[0])


def over_layers(measure: Measure) -> Callable[[Values], float]:
    """Change of a measure from the first to the last layer: its slope over the relative depth.

    Unlike a difference between halves, it does not depend on where the halves are cut.
    """

    def change(values: Values) -> float:
        layers = measured(values, measure)
        return slope(np.linspace(0.0, 1.0, len(layers)).tolist(), layers)

    return change


def per_doubling(
    measure: Callable[[Values], float], sizes: Sequence[int], base: float = 2.0
) -> Callable[[Values], float]:
    """Slope of a measure over the logarithm of the size; values hold one dict for each size."""

    def change(values: Values) -> float:
        x = [float(np.log(size) / np.log(base)) for size in sizes]
        return slope(x, [measure(values[str(size)]) for size in sizes])

    return change


def gap(first: str | int, second: str | int) -> Callable[[Values], float]:
    """The difference of two values."""
    return lambda values: float(values[str(first)] - values[str(second)])


def accuracy_with_heads(trial: Trial, width: int = 64, num_heads: int | None = None) -> Values:
    """The accuracy of a digit classifier of a width, with so many heads (setting `heads`)."""
    settings, (rate, matrix_rate) = trial.settings, COMPARED_MODELS["vit"].rates
    slower = min(1.0, 32 / width)  # halved for twice the width that the rates were tuned for
    training = Training(
        task="digits",
        model=ViTConfig(depth=2, embed_dim=width, num_heads=num_heads or settings["heads"]),
        examples=settings["digits"],
        epochs=settings["epochs"],
        batch_size=min(100, settings["digits"]),
        rates=(slower * rate, slower * matrix_rate),
    )
    model = train(training, trial.seed)
    return accuracy_on_unseen(model, trial)


def accuracies_by_width(trial: Trial) -> Values:
    """Width → number of heads → accuracy."""
    return {
        str(width): {
            str(heads): accuracy_with_heads(trial, width, heads)["accuracy"]
            for heads in FEW_AND_MANY
        }
        for width in trial.settings["widths"]
    }


def accuracies_by_steps(trial: Trial) -> Values:
    """Number of steps → mixer → accuracy on unseen digits, in per cent."""
    unseen, digits, seed = unseen_of(trial), trial.settings["digits"], trial.seed
    return {
        str(steps): {
            name: accuracy_on(trained(on_digits(name, examples=digits, steps=steps), seed), unseen)
            for name in MIXERS
        }
        for steps in trial.settings["budgets"]
    }


gain = gap(FEW_AND_MANY[1], FEW_AND_MANY[0])
"""Of many heads over few, at one width"""

PANELS_BY_HEADS = (
    Points(
        "accuracy",
        "accuracy on unseen digits (%)",
        "heads (dimension of each)",
        x="heads",
        xscale="log2",
        title="line: means over the seeds that all numbers of heads have",
        ticks={heads: f"{heads}\n({64 // heads})" for heads in (1, 2, 4, 8, 16, 32)},
    ),
    Curves(
        lambda values: [gain(values[str(width)]) for width in WIDTHS],
        "gain of 8 heads over 1 (points)",
        "width",
        x=WIDTHS,
        conditions=("widths",),
        xscale="log2",
    ),
    side_by_side(
        {"floor": "no attention", "one": "1 head", "with_attention": "4 heads"},
        "accuracy on unseen data (%)",
        conditions=(COMMON, RECALL),
    ),
)
SUMMARIES_BY_HEADS = (Summary("Accuracy on unseen digits (%)", "accuracy", by="heads"),)
PANELS_BY_MIXER = (
    Curves(
        lambda values: {
            label: [100 - values[str(x)][name] for x in BUDGETS] for name, label in MIXERS.items()
        },
        "error rate on unseen digits (%)",
        "training steps",
        group="measure",
        x=BUDGETS,
        conditions=("digits",),
        xscale="log",
        yscale="log",
    ),
    side_by_side(
        {"floor": "no mixing", "conv": "convolution", "with_attention": "attention"},
        "accuracy on the common digit (%)",
        conditions=(COMMON,),
        ylim=(0, 100),
    ),
)
SUMMARIES_BY_MIXER = (
    Summary("Accuracy (%): no mixing, convolution, attention", ["floor", "conv", "with_attention"]),
)
