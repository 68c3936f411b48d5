"""C4: softmax rows are probability distributions, and interpretable ones.

The first half is a property of the formula: numbers of at least 0 that sum to 1. A row whose keys
are all masked is an exception: its weights are zeros by definition.

"Interpretable" has no agreed test. Jain and Wallace (2019) ask whether other weights would have led
to another prediction; Wiegreffe and Pinter (2019) argue that this asks too much. The minimum is
tested here, on the map that is shown most: with the rows of the last layer permuted, predictions
should change. Whether stronger attention goes with stronger influence is C17.
"""

from clearhead.studies import Cell, Grid, PerBudget, Study, difference, exact, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import distributions as rows

IMAGES = {"images": 500}
TRAINING = IMAGES | {"digits": PerBudget(quick=6_000, full=9_000), "epochs": 2}
LABELS = {"random": "random tensors", "shipped": "shipped model", "trained": "small classifiers"}

HYPOTHESES = {
    "rows are probability distributions": [
        exact(
            "rows of weights: largest distance of a sum from 1",
            rows.EPSILONS,
            *(Cell(x, rows.sum_error) for x in LABELS),
            high=rows.ROUNDING,
        ),
        exact(
            "weights: farthest outside 0 … 1, or on a masked key",
            "share",
            *(Cell(x, rows.outside_or_forbidden) for x in LABELS),
            low=0.0,
            high=0.0,
        ),
    ],
    **{
        f"permuting the last layer's weights changes predictions ({LABELS[x]})": [
            difference(
                f"{LABELS[x]}: change of probabilities, weights permuted or not",
                "total variation",
                *(Cell(x, measure) for measure in ("moved", "moved_none")),
                margin=rows.MOVED,
            )
        ]
        for x in ("trained", "shipped")
    },
}

STUDY = Study(
    **words(__name__),
    seeds={"quick": 3, "full": 12},
    grid=(
        Grid("random", rows.errors_of_random_rows, {"draws": 3}),
        Grid("shipped", rows.errors_and_moves_in_model, IMAGES),
        Grid("trained", rows.errors_and_moves_in_model, TRAINING),
    ),
    parts=parts(HYPOTHESES),
    panels=rows.PANELS,
    summaries=rows.SUMMARIES,
    labels=LABELS,
)
