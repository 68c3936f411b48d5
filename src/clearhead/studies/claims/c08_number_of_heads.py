"""C8: more heads give better features, up to a saturation point.

Vaswani et al. (2017, table 3, row A) vary the number of heads at constant computation: one head
is 0.9 BLEU behind the best, and 32 are behind too. Michel et al. (2019, "Are Sixteen Heads Really
Better than One?", arXiv 1905.10650) remove most heads of trained models at little loss;
Bhojanapalli et al. (2020, arXiv 2002.07028) argue that heads which are too narrow lack capacity.

Here the width stays at 64 and the number of parameters at 105,000; only the number of heads
changes, and with it their dimension 64/h. "Better features" is measured as the accuracy of a linear
head on unseen digits. All have the same learning rates: half those that were best at width 32 with
four heads (`measures.classifiers`); they were tuned for no number of heads at this width.
Saturation is tested as no difference between 8 and 32 heads. All test digits are used, so
intervals are about other trainings, not about other digits.

Cost, one thread of a shared EPYC (Zen 4): a hundred steps take 3.6 s (up to 8 heads) to 9 s (64),
the 10,000 test digits 1.2 s; quick about 70 s, full about 12 minutes.
"""

from dataclasses import replace

from clearhead.models.config import ViTConfig
from clearhead.studies import (
    Cell,
    Difference,
    Equivalence,
    Grid,
    Part,
    PerBudget,
    Points,
    Study,
    Summary,
    Trial,
    Values,
)
from clearhead.studies.measures.classifiers import (
    COMPARED_MODELS,
    accuracy_on_unseen,
    fit_classifier,
    training_digits,
)
from clearhead.training.config import TrainConfig

MODEL = ViTConfig(depth=2, embed_dim=64)
ONE, ENOUGH, MANY = (Cell("heads", "accuracy", {"heads": heads}) for heads in (1, 8, 32))
DECIDING, OTHERS = (1, 8, 32), (2, 4, 16, 64)
FEW = PerBudget(quick=0, full=2)
SETTINGS = {"digits": 2_500, "epochs": 10, "unseen": 10_000}
POINTS = "percentage points"
MARGIN = 0.5  # percentage points: fifty digits more or less in 10,000


def run(trial: Trial) -> Values:
    """The accuracy of a classifier with so many heads."""
    settings = trial.settings
    rates = COMPARED_MODELS["vit"]
    config = TrainConfig(
        model=replace(MODEL, num_heads=settings["heads"]),
        epochs=settings["epochs"],
        batch_size=min(100, settings["digits"]),
        optimizer="muon",
        learning_rate=rates.learning_rate / 2,  # halved for twice the width, not tuned
        matrix_learning_rate=rates.matrix_learning_rate / 2,
        label_smoothing=0.0,
        seed=trial.seed,
    )
    model = fit_classifier(config, training_digits(settings["digits"], trial.seed))
    return accuracy_on_unseen(model, unseen=settings["unseen"], seed=trial.seed)


STUDY = Study(
    name="number-of-heads",
    claim="C8",
    statement="More heads give better features, up to a saturation point.",
    question="How does accuracy depend on the number of heads at constant width?",
    conditions="ViTs of two layers and width 64 (105,000 parameters) with 1 to 64 heads, trained "
    "on 2,500 digits of MNIST for 250 steps of 100, no augmentation, at half the rates that were "
    "best at width 32 with four heads; 1, 8 and 32 heads with all seeds, the others with two.",
    measure="Accuracy on all 10,000 test digits, in per cent.",
    seeds={"quick": 2, "full": 15},
    grid=(
        Grid(conditions=("heads",), settings=SETTINGS, vary={"heads": DECIDING}),
        Grid(conditions=("heads",), settings=SETTINGS, vary={"heads": OTHERS}, num_seeds=FEW),
    ),
    run=run,
    parts=(
        Part(
            name="8 heads are better than 1",
            hypotheses=(
                Difference(
                    name="8 heads, against 1", unit=POINTS, first=ENOUGH, second=ONE, margin=MARGIN
                ),
            ),
        ),
        Part(
            name="32 heads are as good as 8",
            hypotheses=(
                Equivalence(
                    name="32 heads, against 8",
                    unit=POINTS,
                    first=MANY,
                    second=ENOUGH,
                    margin=MARGIN,
                ),
            ),
        ),
    ),
    panels=(
        Points(
            measure="accuracy",
            x="heads",
            xscale="log2",
            xlabel="heads (dimension of each)",
            ylabel="accuracy on unseen digits (%)",
            title="line: means over the seeds that all numbers of heads have",
            ticks={heads: f"{heads}\n({64 // heads})" for heads in (*DECIDING, *OTHERS)},
        ),
    ),
    title="The number of heads at constant width (64) and constant parameters",
    summaries=(Summary(name="Accuracy on unseen digits (%)", measure="accuracy", by="heads"),),
    limits=(
        "Digits, one width, two layers, one training and rates tuned for no number of heads: where "
        "saturation lies in other models was not measured.",
    ),
    references=(
        "Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, table 3",
        "Michel et al. 2019, Are Sixteen Heads Really Better than One?, arXiv 1905.10650",
        "Bhojanapalli et al. 2020, Low-Rank Bottleneck in Multi-head Attention Models, "
        "arXiv 2002.07028",
    ),
)
