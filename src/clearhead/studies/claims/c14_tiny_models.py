"""C14: even tiny ViTs do well on MNIST with the right set-up.

"Well" is better than nearest neighbours among all 60,000 training digits (three of them, Euclidean
distance), on the same test digits. "Tiny" is ten thousand parameters, little more than the 7,850 of
a linear classifier. "The right set-up" is Muon, warm-up and high rates (LOG.md, 2026-11-21), the
plain one that of tutorials, AdamW at 0.001 without warm-up. Touvron et al. 2021 and Steiner et al.
2022 find that ViTs need much data or careful training.

Rates were tuned for 30,000 parameters: errors by size are no scaling law, and a size that fails
here may not fail after longer training.
"""

from clearhead.models.config import ViTConfig
from clearhead.studies import Cell, Difference, Grid, Part, PerBudget, Points, Study, Summary
from clearhead.studies.claims import notes
from clearhead.studies.measures.classifiers import (
    accuracy_on_unseen,
    fit_in_set_up,
    nearest_neighbours_accuracy,
    training_digits,
)
from clearhead.studies.table import Trial, Values

SIZES = {  # by their approximate numbers of parameters
    "3 k": ViTConfig(depth=3, embed_dim=8, num_heads=2),
    "10 k": ViTConfig(depth=2, embed_dim=18, num_heads=2),
    "30 k": ViTConfig(depth=2, embed_dim=32),
    "100 k": ViTConfig(depth=2, embed_dim=64),
}
TINY, BASELINE = "10 k", "nearest neighbours"
DIGITS, EPOCHS, BATCH_SIZE = 60_000, 5, 400
SAMPLES = {"digits": DIGITS, "unseen": 4_000}
MARGIN = 0.1  # percentage points


def run(trial: Trial) -> Values:
    """The accuracy of a size, trained in a set-up, or of nearest neighbours."""
    settings, unseen = trial.settings, trial.settings["unseen"]
    if trial.condition == BASELINE:
        return {"accuracy": nearest_neighbours_accuracy(unseen, trial.seed, settings["digits"])}
    model = fit_in_set_up(
        SIZES[settings["size"]],
        training_digits(settings["digits"], trial.seed),
        plain=trial.condition == "plain",
        epochs=settings["epochs"],
        batch_size=BATCH_SIZE,
        seed=trial.seed,
    )
    return accuracy_on_unseen(model, unseen=unseen, seed=trial.seed)


def trainings(condition: str, size: str, num_seeds: PerBudget | None) -> Grid:
    """Trainings of a size."""
    settings = {"size": size, "epochs": EPOCHS} | SAMPLES
    return Grid((condition,), settings=settings, num_seeds=num_seeds)


TWO = PerBudget(quick=0, full=2)
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
        *(trainings("right", size, None if size == TINY else TWO) for size in SIZES),
        trainings("plain", TINY, TWO),
        Grid((BASELINE,), settings=SAMPLES),
    ),
    run=run,
    parts=(
        Part.of(
            f"ViTs of {TINY} parameters beat nearest neighbours",
            Difference(
                f"a ViT of {TINY} parameters, against nearest neighbours",
                "percentage points",
                Cell("right", "accuracy", {"size": TINY}),
                Cell(BASELINE, "accuracy"),
                margin=MARGIN,
                spread=0.35,
            ),
        ),
    ),
    panels=(
        Points(
            measure=lambda values: 100 - values["accuracy"],
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
    **notes("C14"),
)
