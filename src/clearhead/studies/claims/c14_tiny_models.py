"""C14: even tiny ViTs do well on MNIST with the right set-up.

"Well" is better than nearest neighbours among all 60,000 training digits (three of them, Euclidean
distance), on the same test digits. "Tiny" is ten thousand parameters, little more than the 7,850 of
a linear classifier. "The right set-up" is Muon, warm-up and high rates (LOG.md, 2026-11-21), the
plain one that of tutorials, AdamW at 0.001 without warm-up. Touvron et al. 2021 and Steiner et al.
2022 find that ViTs need much data or careful training.

Rates were tuned for 30,000 parameters: errors by size are no scaling law, and a size that fails
here may not fail after longer training.
"""

from clearhead.studies._panels import Points
from clearhead.studies.hypotheses import difference
from clearhead.studies.measures import classifiers
from clearhead.studies.measures.classifiers import SIZES
from clearhead.studies.study import Grid, PerBudget, Study, Summary, parts_of
from clearhead.studies.table import Cell

TINY, BASELINE = "10 k", "nearest neighbours"
DIGITS, EPOCHS, BATCH_SIZE = 60_000, 5, classifiers.LARGE_BATCH_SIZE
SAMPLES = {"digits": DIGITS, "unseen": 4_000}
MARGIN = 0.1  # percentage points
TWO = PerBudget(quick=0, full=2)  # described, not judged

STUDY = Study(
    name="tiny-models",
    claim="C14",
    statement="Even tiny ViTs do well on MNIST with the right set-up.",
    question=f"Are ViTs of {TINY} parameters more accurate than nearest neighbours?",
    conditions=f"ViTs of 3 k to 100 k parameters; all {DIGITS:,} training digits of MNIST, "
    f"{EPOCHS} times in batches of {BATCH_SIZE}, no augmentation, at rates tuned for 30 k; "
    "beside them a plain set-up, with another optimiser, rate and warm-up.",
    measure="Accuracy on 4,000 test digits drawn with the seed, in per cent.",
    grid=(
        *(
            Grid(
                (condition,),
                classifiers.accuracy_in_set_up,
                {"size": size, "epochs": EPOCHS} | SAMPLES,
                num_seeds=None if (condition, size) == ("right", TINY) else TWO,
            )
            for condition, size in (*(("right", size) for size in SIZES), ("plain", TINY))
        ),
        Grid((BASELINE,), classifiers.nearest_neighbours_accuracy, SAMPLES),
    ),
    parts=parts_of(
        {
            f"ViTs of {TINY} parameters beat nearest neighbours": difference(
                f"a ViT of {TINY} parameters, against nearest neighbours",
                "percentage points",
                Cell("right", "accuracy", {"size": TINY}),
                Cell(BASELINE, "accuracy"),
                margin=MARGIN,
                spread=0.35,
            )
        }
    ),
    panels=(
        Points(
            measure=classifiers.error_rate,
            x="size",
            conditions=("right", "plain"),
            yscale="log",
            xlabel="parameters",
            ylabel="error rate on unseen digits (%)",
        ),
    ),
    title="Error rate by number of parameters",
    summaries=(
        Summary("Accuracy (%), Muon", "accuracy", conditions=("right",), by="size"),
        Summary("Accuracy (%), AdamW", "accuracy", conditions=("plain",), by="size"),
        Summary("Accuracy (%), nearest neighbours", "accuracy", conditions=(BASELINE,)),
        Summary("Parameters", "parameters", settings={"size": TINY}),
    ),
    labels={"right": "Muon, warm-up, high rates", "plain": "AdamW at 0.001, no warm-up"},
)
