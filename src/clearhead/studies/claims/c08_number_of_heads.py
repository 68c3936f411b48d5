"""C8: more heads give better features, up to a saturation point.

The width stays as it is and with it the number of parameters; only the number of heads changes, and
their dimension. "Better features" is the accuracy of a linear head on unseen data. On digits, 1, 8
and 32 heads at width 64 decide; the gain of 8 heads over 1 at widths 16, 32 and 64 shows how it
depends on size. The same is measured on the common digit and recall, which need attention, with 1
and 4 heads: these are the models of other claims. All numbers of heads have the same rates.

Cost, one busy core: 4 to 9 s for a hundred steps at width 64; quick 100 s, full about 17 minutes.
"""

from clearhead.models.config import ViTConfig
from clearhead.studies import (
    Cell,
    Curves,
    Difference,
    Equivalence,
    Estimate,
    Grid,
    Part,
    PerBudget,
    Points,
)
from clearhead.studies._literature import literature
from clearhead.studies.measures import gates
from clearhead.studies.measures.classifiers import (
    COMPARED_MODELS,
    accuracy_on,
    accuracy_on_unseen,
)
from clearhead.studies.measures.recall import recall_accuracy, recall_texts
from clearhead.studies.measures.slopes import per_doubling
from clearhead.studies.measures.trainings import Training, train
from clearhead.studies.study import Study, Summary
from clearhead.studies.table import Trial, Values

WIDTHS, FEW_AND_MANY = (16, 32, 64), (1, 8)
DIGITS = {"digits": 2_500, "epochs": 10, "unseen": 10_000}
COMMON, RECALL = "common digit", "recall"
POINTS = "percentage points"
MARGIN = 0.5  # percentage points: fifty digits more or less in 10,000
TASK_MARGIN = 2.0  # where accuracies differ by tens of points


def accuracy_on_digits(trial: Trial, width: int, heads: int) -> Values:
    """The accuracy of a classifier of that width, with so many heads."""
    settings, rates = trial.settings, COMPARED_MODELS["vit"]
    slower = min(1.0, 32 / width)  # halved for twice the width that the rates were tuned for
    training = Training(
        task="digits",
        model=ViTConfig(depth=2, embed_dim=width, num_heads=heads),
        examples=settings["digits"],
        epochs=settings["epochs"],
        batch_size=min(100, settings["digits"]),
        rates=(slower * rates.learning_rate, slower * rates.matrix_learning_rate),
    )
    model = train(training, trial.seed)
    return accuracy_on_unseen(model, unseen=settings["unseen"], seed=trial.seed)


def run(trial: Trial) -> Values:
    """Accuracy by number of heads: one number, several widths, or a task that needs attention."""
    settings, seed = trial.settings, trial.seed
    if trial.condition == "heads":
        return accuracy_on_digits(trial, WIDTHS[-1], settings["heads"])
    if trial.condition == "widths":
        return {
            str(width): {
                str(heads): accuracy_on_digits(trial, width, heads)["accuracy"]
                for heads in FEW_AND_MANY
            }
            for width in settings["widths"]
        }
    if trial.condition == COMMON:
        unseen = gates.unseen_images(gates.COMMON_DIGIT_TASK, settings["unseen"], seed)
        single = gates.common_digit_model(trial, num_heads=1)
        return gates.common_digit_floor(trial) | {"one": accuracy_on(single, unseen)}
    texts = recall_texts("test", settings["unseen"], seed)
    one = recall_accuracy(gates.recall_model(trial, num_heads=1), texts)
    return gates.recall_floor(trial) | {"one": one}


def gain(accuracies: Values) -> float:
    """Of many heads over few, at one width."""
    few, many = (float(accuracies[str(heads)]) for heads in FEW_AND_MANY)
    return many - few


def several_are_better(condition: str) -> Part:
    """Four heads against one where attention is needed."""
    return Part(
        f"4 heads are better than 1 ({condition})",
        (
            Difference(
                name=f"{condition}: 4 heads, against 1",
                unit=POINTS,
                first=Cell(condition, "with_attention"),
                second=Cell(condition, "one"),
                margin=TASK_MARGIN,
            ),
        ),
        premises=(gates.clears_the_floor(condition),),
    )


ONE, ENOUGH, MANY = (Cell("heads", "accuracy", {"heads": heads}) for heads in (1, 8, 32))
STUDY = Study(
    name="number-of-heads",
    claim="C8",
    statement="More heads give better features, up to a saturation point.",
    question="How does accuracy depend on the number of heads at constant width?",
    conditions="ViTs of two layers and width 64 (105,000 parameters) with 1 to 32 heads, trained "
    "on 2,500 digits of MNIST for 250 steps of 100, no augmentation, at half the rates that were "
    "best at width 32; the same at widths 16 and 32. The models of other claims, of width 32, on "
    "the common digit and on recall, with 4 heads and 1.",
    measure="Accuracy on all 10,000 test digits, on 1,000 unseen images and on 500 unseen texts, "
    "in per cent.",
    seeds={"quick": 2, "full": 12},
    grid=(
        Grid(conditions=("heads",), settings=DIGITS, vary={"heads": (1, 8, 32)}),
        Grid(
            conditions=("heads",),
            settings=DIGITS,
            vary={"heads": (2, 4, 16)},
            num_seeds=PerBudget(quick=0, full=2),
        ),
        Grid(
            conditions=("widths",),
            settings=DIGITS | {"widths": WIDTHS},
            num_seeds=PerBudget(quick=0, full=6),
        ),
        Grid(conditions=(COMMON,), settings=gates.COMMON_DIGIT | {"unseen": 1_000}),
        Grid(conditions=(RECALL,), settings=gates.RECALL | {"unseen": 500}),
    ),
    run=run,
    parts=(
        Part(
            "8 heads are better than 1 (digits)",
            (
                Difference(
                    name="8 heads, against 1",
                    unit=POINTS,
                    first=ENOUGH,
                    second=ONE,
                    margin=MARGIN,
                    spread=0.5,
                ),
            ),
        ),
        Part(
            "32 heads are as good as 8 (digits)",
            (
                Equivalence(
                    name="32 heads, against 8",
                    unit=POINTS,
                    first=MANY,
                    second=ENOUGH,
                    margin=MARGIN,
                    spread=0.6,
                ),
            ),
        ),
        Part(
            "the gain depends on the width (digits)",
            (
                Estimate(
                    name="gain of 8 heads over 1, change with each doubling of the width",
                    unit=POINTS,
                    first=Cell("widths", per_doubling(gain, WIDTHS)),
                ),
            ),
        ),
        several_are_better(COMMON),
        several_are_better(RECALL),
    ),
    panels=(
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
        Curves(
            measure=lambda values: [values[x] for x in ("floor", "one", "with_attention")],
            conditions=(COMMON, RECALL),
            x=("no attention", "1 head", "4 heads"),
            join=False,
            xlabel="",
            ylabel="accuracy on unseen data (%)",
        ),
    ),
    title="The number of heads at constant width and constant parameters",
    summaries=(Summary(name="Accuracy on unseen digits (%)", measure="accuracy", by="heads"),),
    limits=(
        "Two layers, one training and rates tuned for no number of heads: where saturation lies in "
        "other models was not measured.",
    ),
    **literature("C8"),
)
