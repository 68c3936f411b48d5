"""Accuracy of digit classifiers by the number of heads, at constant width and parameters."""

from clearhead.models.config import ViTConfig
from clearhead.studies._panels import Curves, Points, side_by_side
from clearhead.studies.measures.classifiers import COMPARED_MODELS, accuracy_on_unseen
from clearhead.studies.measures.trainings import Training, train
from clearhead.studies.table import Trial, Values

WIDTHS, FEW_AND_MANY = (16, 32, 64), (1, 8)


def accuracy_with_heads(trial: Trial, width: int, num_heads: int) -> Values:
    """The accuracy of a digit classifier of that width, with so many heads."""
    settings, rates = trial.settings, COMPARED_MODELS["vit"]
    slower = min(1.0, 32 / width)  # halved for twice the width that the rates were tuned for
    training = Training(
        task="digits",
        model=ViTConfig(depth=2, embed_dim=width, num_heads=num_heads),
        examples=settings["digits"],
        epochs=settings["epochs"],
        batch_size=min(100, settings["digits"]),
        rates=(slower * rates.learning_rate, slower * rates.matrix_learning_rate),
    )
    model = train(training, trial.seed)
    return accuracy_on_unseen(model, unseen=settings["unseen"], seed=trial.seed)


def accuracies_by_width(trial: Trial) -> Values:
    """Width → number of heads → accuracy."""
    return {
        str(width): {
            str(heads): accuracy_with_heads(trial, width, heads)["accuracy"]
            for heads in FEW_AND_MANY
        }
        for width in trial.settings["widths"]
    }


def gain(accuracies: Values) -> float:
    """Of many heads over few, at one width."""
    few, many = (float(accuracies[str(heads)]) for heads in FEW_AND_MANY)
    return many - few


PANELS = (
    Points(
        measure="accuracy",
        x="heads",
        xscale="log2",
        xlabel="heads (dimension of each)",
        ylabel="accuracy on unseen digits (%)",
        title="line: means over the seeds that all numbers of heads have",
        ticks={heads: f"{heads}\n({64 // heads})" for heads in (1, 2, 4, 8, 16, 32)},
    ),
    Curves(
        measure=lambda values: [gain(values[str(width)]) for width in WIDTHS],
        conditions=("widths",),
        x=WIDTHS,
        xscale="log2",
        xlabel="width",
        ylabel="gain of 8 heads over 1 (points)",
    ),
    side_by_side(
        {"floor": "no attention", "one": "1 head", "with_attention": "4 heads"},
        "accuracy on unseen data (%)",
        conditions=("common digit", "recall"),
    ),
)
