"""C5: values take no part in the weights; keys are the same for all queries, each with own weights.

All three follow from softmax(Q Kᵀ / √d_k) and are checked by changing one thing and measuring what
else changes. Two things are easily read into the words but are not part of them; both are measured:
values of one layer do change the weights of the layers above, and the rows of two queries may be
alike.
"""

from clearhead.studies import Cell, Grid, Hypothesis, PerBudget, Study, exact, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import changes

IMAGES = {"images": 100}
TRAINING = IMAGES | {"digits": PerBudget(quick=4_000, full=9_000), "epochs": 2}
# Far above rounding. Only for random tensors: in a trained head keys may be so alike, or a row so
# sharp, that another query leaves it unchanged.
CHANGED = 1e-9
LABELS = {"random": "random tensors", "shipped": "shipped model", "trained": "small classifiers"}


def unchanged(name: str, measure: str, unit: str, high: float = changes.ROUNDING) -> Hypothesis:
    """A change that must not exceed rounding, in all conditions."""
    return exact(name, unit, *(Cell(x, measure) for x in LABELS), high=high)


HYPOTHESES = {
    "values take no part in the weights": [
        unchanged("other values: largest change of a weight of that layer", "values", "share", 0.0)
    ],
    "a key is the same for every query, and each query has its own weights": [
        unchanged(
            "another key: largest change of a score with any other key", "other_columns", "1"
        ),
        unchanged(
            "another query: largest change in the weights of any other query", "other_rows", "share"
        ),
        exact(
            "random tensors, another query or key: smallest change of what is its own",
            "1",
            Cell("random", lambda values: min(values["own_row"], values["own_column"])),
            low=CHANGED,
        ),
    ],
}

STUDY = Study(
    **words(__name__),
    seeds={"quick": 2, "full": 8},
    grid=(
        Grid("random", changes.changes_in_random_tensors, {"draws": 50}),
        Grid("shipped", changes.changes_in_classifier, IMAGES),
        Grid("trained", changes.changes_in_classifier, TRAINING),
    ),
    parts=parts(HYPOTHESES),
    panels=changes.PANELS,
    summaries=changes.SUMMARIES,
    labels=LABELS,
)
