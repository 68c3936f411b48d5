"""C14: even tiny ViTs do well on MNIST with the right set-up.

"Well" is 97 %: nearest neighbours among all 60,000 training digits, with Euclidean distance, have
96.91 % (LeCun, Cortes & Burges). "Tiny" is ten thousand parameters, little more than the 7,850 of a
linear classifier. "The right set-up" is Muon, warm-up and high rates (LOG.md, 2026-11-21), the
plain one that of tutorials, AdamW at 0.001 without warm-up. Touvron et al. 2021 and Steiner et al.
2022 find that ViTs need much data or careful training.

Rates were tuned for 30,000 parameters, and the largest size sees each digit once, the others five
times (in a first full run that of 100,000 parameters did, too): errors by size are no scaling law,
and a size that fails here may not fail after longer training.

Cost, one thread of a shared EPYC (Zen 4): a tiny training of five epochs takes 32 s, in the plain
set-up 23 s, one of 100,000 parameters 75 s; one epoch of the largest 100 s. Quick about 65 s, full
about 17 minutes.
"""

from clearhead.models.config import ViTConfig
from clearhead.studies import Cell, Difference, Grid, Part, PerBudget, Points, Study, Summary
from clearhead.studies.measures.classifiers import (
    COMPARED_MODELS,
    accuracy_on_unseen,
    fit_classifier,
    training_digits,
)
from clearhead.studies.table import Trial, Values
from clearhead.training.config import TrainConfig

SIZES = {  # by their approximate numbers of parameters
    "3 k": ViTConfig(depth=3, embed_dim=8, num_heads=2),
    "10 k": ViTConfig(depth=2, embed_dim=18, num_heads=2),
    "30 k": ViTConfig(depth=2, embed_dim=32),
    "100 k": ViTConfig(depth=2, embed_dim=64),
    "1 M": ViTConfig(depth=4, embed_dim=144),
}
TINY, LARGE = "10 k", "1 M"
DIGITS, EPOCHS, BATCH_SIZE = 60_000, 5, 400
PLAIN_RATE = 1e-3
BASELINE, MARGIN = 96.9, 0.1  # per cent; "well" is their sum


def run(trial: Trial) -> Values:
    """The accuracy of a size, trained in a set-up."""
    settings, plain = trial.settings, trial.condition == "plain"
    rates = COMPARED_MODELS["vit"]
    config = TrainConfig(
        model=SIZES[settings["size"]],
        epochs=settings["epochs"],
        batch_size=BATCH_SIZE,
        optimizer="adamw" if plain else "muon",
        learning_rate=PLAIN_RATE if plain else rates.learning_rate,
        matrix_learning_rate=rates.matrix_learning_rate,
        warmup=0.0 if plain else 0.1,
        label_smoothing=0.0,
        seed=trial.seed,
    )
    model = fit_classifier(config, training_digits(settings["digits"], trial.seed))
    return accuracy_on_unseen(model, unseen=settings["unseen"], seed=trial.seed)


def trainings(condition: str, size: str, num_seeds: PerBudget | None) -> Grid:
    """Trainings of a size; the largest sees every digit once, or would cost as much as the rest."""
    epochs = 1 if size == LARGE else EPOCHS
    settings = {"size": size, "digits": DIGITS, "epochs": epochs, "unseen": 4_000}
    return Grid(conditions=(condition,), settings=settings, num_seeds=num_seeds)


TWO = PerBudget(quick=0, full=2)
STUDY = Study(
    name="tiny-models",
    claim="C14",
    statement="Even tiny ViTs do well on MNIST with the right set-up.",
    question=f"Are ViTs of {TINY} parameters more accurate than nearest neighbours?",
    conditions=f"ViTs of 3 k to 1 M parameters; all {DIGITS:,} training digits of MNIST, {EPOCHS} "
    f"times ({LARGE}: once) in batches of {BATCH_SIZE}, no augmentation, at rates tuned for 30 k; "
    "beside them a plain set-up, with another optimiser, rate and warm-up.",
    measure="Accuracy on 4,000 test digits drawn with the seed, in per cent.",
    seeds={"quick": 2, "full": 12},
    grid=(
        *(trainings("right", size, None if size == TINY else TWO) for size in SIZES),
        trainings("plain", TINY, TWO),
    ),
    run=run,
    parts=(
        Part(
            name=f"ViTs of {TINY} parameters beat nearest neighbours",
            hypotheses=(
                Difference(
                    name=f"a ViT of {TINY} parameters, against nearest neighbours ({BASELINE} %)",
                    unit="percentage points",
                    first=Cell("right", "accuracy", {"size": TINY}),
                    second=BASELINE,
                    margin=MARGIN,
                ),
            ),
        ),
    ),
    panels=(
        Points(
            measure=lambda values: 100 - values["accuracy"],
            x="size",
            yscale="log",
            xlabel="parameters",
            ylabel="error rate on unseen digits (%)",
            lines={100 - BASELINE - MARGIN: "“well”: 3 %"},
        ),
    ),
    title=f"Error rate by size: {LARGE} saw every digit once, the others {EPOCHS} times",
    summaries=(
        Summary(name="Accuracy (%), Muon", measure="accuracy", conditions=("right",), by="size"),
        Summary(name="Accuracy (%), AdamW", measure="accuracy", conditions=("plain",), by="size"),
        Summary(name="Parameters", measure="parameters", settings={"size": TINY}),
    ),
    limits=("Optimiser, rate and warm-up differ at once: no single one is shown to help.",),
    labels={"right": "Muon, warm-up, high rates", "plain": "AdamW at 0.001, no warm-up"},
    references=(
        "LeCun, Cortes & Burges, The MNIST Database of handwritten digits, table of results",
        "Touvron et al. 2021, Training data-efficient image transformers, arXiv 2012.12877",
        "Steiner et al. 2022, How to train your ViT?, arXiv 2106.10270",
    ),
)
