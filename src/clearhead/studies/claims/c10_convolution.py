"""C10: global reasoning beats convolution alone on these digits.

Raghu et al. 2021 find that ViTs use global information from their first layers. Dosovitskiy et al.
2021 needed more than a million images before ViTs caught up with convolutional networks, whose
locality need not be learned (d'Ascoli et al. 2021).

A ViT and a plain CNN with as many parameters are trained on the same digits in the same batches.
Equal parameters are one way to be fair among others: the CNN takes more arithmetic for each image.
The gap after a few hundred steps may be that of too short a training; three trainings of four times
the steps, added after a first full run, show whether it closes. They are not judged.

Cost, one thread of a shared EPYC (Zen 4): a hundred steps take 2.9 s (ViT) or 3.8 s (CNN); quick
about 75 s, full about 18 minutes.
"""

from clearhead.studies import Cell, Difference, Part, PerBudget, Study
from clearhead.studies.measures.learning_curves import (
    LONG,
    MANY,
    PANELS,
    STEPS,
    SUMMARIES,
    measure_accuracy,
    training_grid,
)

FEW, ALL = 1_000, 60_000
MODELS = ("vit", "cnn")
MARGIN = 0.5  # percentage points: fifty digits more or less in 10,000


def compared(digits: int) -> Part:
    """The ViT against the CNN after training on so many digits."""
    settings = {"digits": digits, "steps": STEPS[digits]}
    hypothesis = Difference(
        name=f"ViT, against the CNN ({digits:,} digits)",
        unit="percentage points",
        first=Cell("vit", "accuracy", settings),
        second=Cell("cnn", "accuracy", settings),
        margin=MARGIN,
    )
    return Part(f"a ViT beats a CNN on {digits:,} digits", (hypothesis,))


STUDY = Study(
    name="convolution",
    claim="C10",
    statement="Global reasoning beats convolution alone on these digits.",
    question="Which is more accurate on unseen digits, a ViT or a CNN with as many parameters?",
    conditions=f"Models of about 28,000 parameters; {STEPS[FEW]} and {STEPS[MANY]} steps of 100 "
    "digits each, no augmentation, rates tuned with the same effort; beside them 100 and 60,000 "
    f"digits, and {LONG:,} steps on {MANY:,}.",
    measure="Accuracy on 4,000 test digits drawn with the seed, in per cent.",
    seeds={"quick": 2, "full": 12},
    grid=(
        training_grid(MODELS, 100, num_seeds=PerBudget(quick=0, full=2)),
        training_grid(MODELS, FEW),
        training_grid(MODELS, MANY, num_seeds=PerBudget(quick=1, full=None)),
        training_grid(MODELS, ALL, num_seeds=PerBudget(quick=0, full=2)),
        training_grid(MODELS, MANY, steps=LONG, num_seeds=PerBudget(quick=0, full=3)),
    ),
    run=measure_accuracy,
    parts=(compared(FEW), compared(MANY)),
    panels=PANELS,
    title="A Vision Transformer and a CNN with as many parameters",
    summaries=SUMMARIES,
    limits=(
        "Parameters (within 5 %), images and steps are equal; arithmetic and optimiser (Muon, and "
        "AdamW for the CNN) are not. Augmentation and pretraining were not tried.",
    ),
    labels={"vit": "ViT", "cnn": "CNN"},
    references=(
        "Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, arXiv 2010.11929",
        "Raghu et al. 2021, Do Vision Transformers See Like Convolutional Neural Networks?, "
        "arXiv 2108.08810",
        "d'Ascoli et al. 2021, ConViT, arXiv 2103.10697",
    ),
)
