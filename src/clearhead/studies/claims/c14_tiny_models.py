"""C14: even tiny ViTs do well on MNIST with the right set-up.

"Well" is better than nearest neighbours among all 60,000 training digits (three of them, Euclidean
distance), on the same test digits. "Tiny" is ten thousand parameters, little more than the 7,850 of
a linear classifier. "The right set-up" is Muon, warm-up and high rates (LOG.md, 2026-11-21), the
plain one that of tutorials. Touvron et al. 2021 and Steiner et al. 2022 find that ViTs need much
data or careful training. Rates were tuned for 30,000 parameters, so that errors by size are not a
scaling law.
"""

from clearhead.studies import Cell, Grid, PerBudget, Study, Summary, difference, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import classifiers
from clearhead.studies.measures.classifiers import SIZES, accuracy_in_set_up

TINY, BASELINE = "10 k", "nearest neighbours"
DIGITS, EPOCHS, BATCH_SIZE = 60_000, 5, classifiers.LARGE_BATCH_SIZE
SAMPLES = {"digits": DIGITS, "unseen": 4_000}
TRAINING = SAMPLES | {"epochs": EPOCHS}
MARGIN = 0.1  # percentage points
TWO = PerBudget(quick=0, full=2)  # described, not judged
SET_UPS = [("right", size) for size in SIZES] + [("plain", TINY)]

HYPOTHESES = {
    f"ViTs of {TINY} parameters beat nearest neighbours": difference(
        f"a ViT of {TINY} parameters, against nearest neighbours",
        "percentage points",
        Cell("right", "accuracy", {"size": TINY}),
        Cell(BASELINE, "accuracy"),
        margin=MARGIN,
        spread=0.35,
    )
}

STUDY = Study(
    **words(__name__),
    grid=(
        *(
            Grid(
                set_up,
                accuracy_in_set_up,
                TRAINING | {"size": size},
                num_seeds=None if (set_up, size) == ("right", TINY) else TWO,
            )
            for set_up, size in SET_UPS
        ),
        Grid(BASELINE, classifiers.nearest_neighbours_accuracy, SAMPLES),
    ),
    parts=parts(HYPOTHESES),
    panels=classifiers.PANELS_BY_SIZE,
    summaries=(
        Summary("Accuracy (%), Muon", "accuracy", conditions=("right",), by="size"),
        Summary("Accuracy (%), AdamW", "accuracy", conditions=("plain",), by="size"),
        Summary("Accuracy (%), nearest neighbours", "accuracy", conditions=(BASELINE,)),
        Summary("Parameters", "parameters", settings={"size": TINY}),
    ),
    labels={"right": "Muon, warm-up, high rates", "plain": "AdamW at 0.001, no warm-up"},
)
