"""C4: softmax rows are probability distributions, and interpretable ones.

The first half is a property of the formula: numbers of at least 0 that sum to 1. It is checked on
random tensors, with scores up to 10⁴ (and -∞ as masks), four types of float and all kinds of masks,
and on every row of trained models. A row whose keys are all masked is an exception: its weights are
zeros by definition.

"Interpretable" has no agreed test. Jain and Wallace (2019) ask whether other weights would have led
to another prediction; Wiegreffe and Pinter (2019) argue that this asks too much. The minimum is
tested here, on the map that is shown most: each row of the last layer's weights is permuted over
the patches, and predictions should change. Passing would not make weights an explanation; whether
stronger attention goes with stronger influence is C17.
"""

from clearhead.studies.hypotheses import difference, exact
from clearhead.studies.measures import distributions
from clearhead.studies.study import Grid, PerBudget, Study, Summary, parts_of
from clearhead.studies.table import Cell

IMAGES = {"images": 500}
TRAINING = {"digits": PerBudget(quick=6_000, full=9_000), "epochs": 2}
LABELS = {
    "random": "random tensors",
    "shipped": "shipped model",
    "trained": "small classifiers",
}

STUDY = Study(
    name="distributions",
    claim="C4",
    statement="Softmax rows are probability distributions, and interpretable ones.",
    question="Are all rows of weights distributions, and do predictions change when they are "
    "permuted?",
    conditions="Random tensors in four types of float, scores of deviation up to 10⁴, five kinds "
    "of masks; the shipped model (one set of weights, other digits for each seed) and small "
    "classifiers (width 32, four layers) trained on MNIST, on unseen digits.",
    measure="Distance of a row's sum from 1 in machine epsilons per key; total variation between "
    "probabilities with the model's weights and with each row permuted over its keys.",
    seeds={"quick": 3, "full": 12},
    grid=(
        Grid(("random",), distributions.errors_of_random_rows, {"draws": 3}),
        Grid(("shipped",), distributions.errors_and_moves_in_model, IMAGES),
        Grid(("trained",), distributions.errors_and_moves_in_model, IMAGES | TRAINING),
    ),
    parts=parts_of(
        {
            "rows are probability distributions": (
                exact(
                    "rows of weights: largest distance of a sum from 1",
                    distributions.EPSILONS,
                    *(Cell(x, distributions.sum_error) for x in LABELS),
                    high=distributions.ROUNDING,
                ),
                exact(
                    "weights: farthest outside 0 … 1, or on a masked key",
                    "share",
                    *(Cell(x, distributions.outside_or_forbidden) for x in LABELS),
                    low=0.0,
                    high=0.0,
                ),
            ),
            **{
                f"permuting the last layer's weights changes predictions ({LABELS[x]})": difference(
                    f"{LABELS[x]}: change of probabilities, weights permuted or not",
                    "total variation",
                    Cell(x, "moved"),
                    Cell(x, "moved_none"),
                    margin=distributions.MOVED,
                )
                for x in ("trained", "shipped")
            },
        }
    ),
    panels=distributions.PANELS,
    summaries=(
        Summary("Rows with a key, per trial", "rows"),
        Summary(f"Largest distance of a sum from 1 ({distributions.EPSILONS})", "sum_error"),
        Summary("Change, all layers' weights permuted", "moved_all"),
    ),
    labels=LABELS,
)
