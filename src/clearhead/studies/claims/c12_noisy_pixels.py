"""C12: patches attend to relevant neighbours, which makes a ViT robust to noisy pixels.

Two claims in one sentence, each with parts of its own: what patches attend to, and how far
predictions fall. A fall from a higher accuracy can be larger or smaller for that alone, so falls
are counted among the digits that all models classify correctly without noise: all start from 100 %.
The ViT is compared with a CNN and with the same ViT with uniform attention, after the same
training. Noise on blank patches leaves the digit unchanged; whether attention moves off it shows
whether the ViT ignores it. Relevant neighbours are, on digits, adjacent patches with ink; in the
common digit, where it is known what is relevant, the digit of the same class in the other half.
"""

from clearhead.data import CORRUPTIONS
from clearhead.studies.hypotheses import difference
from clearhead.studies.measures import robustness, trainings
from clearhead.studies.measures.robustness import BLANK, LABELS, fall_under
from clearhead.studies.measures.tasks import COMMON
from clearhead.studies.study import Grid, Study, Summary, parts_of
from clearhead.studies.table import Cell

NOISES = ("shot noise", "impulse noise"), (BLANK,)
SPREADS = {"uniform": 4.0, "cnn": 9.0}  # of losses, second run
POINTS, WEIGHT = "percentage points", "% of the attention"
UNSEEN = {"unseen": 1_000}
MARGIN = 2.0  # percentage points, of falls of ten and more
MIN_SHIFT = 5.0  # percentage points of all attention
MIN_WEIGHT = 2.0  # per cent; uniform weights are 6.25
ATTENDS = {
    "digits": ("patches attend to neighbours with ink", "inked", "blank"),
    COMMON: ("patches attend to the digit that decides", "twin", "others"),
}

STUDY = Study(
    name="noisy-pixels",
    claim="C12",
    statement="Patches attend to relevant neighbours, which makes a ViT robust to noisy pixels.",
    question="Do patches attend to what is relevant, and does a ViT fall less far under noise?",
    conditions="Models of about 28,000 parameters, trained on 3,000 clean digits of MNIST for 300 "
    "steps, or a ViT on the common digit; fifteen corruptions as in MNIST-C, and impulse noise on "
    "the patches without ink.",
    measure="Per cent of the digits that all models classify correctly without noise (of 1,000) "
    "and a model no longer does; attention in per cent, mean over queries, heads and layers.",
    grid=(
        Grid(("digits",), robustness.falls_and_neighbours, trainings.ON_DIGITS | UNSEEN),
        Grid((COMMON,), robustness.falls_and_twins, trainings.ON_COMMON | UNSEEN),
    ),
    parts=(
        *parts_of(
            {
                f"the ViT falls less than {LABELS[other]} under {' and '.join(noises)}": difference(
                    f"fall of {LABELS[other]}, against the ViT: {' and '.join(noises)}",
                    POINTS,
                    Cell("digits", fall_under(other, *noises)),
                    Cell("digits", fall_under("vit", *noises)),
                    margin=MARGIN,
                    spread=spread,
                )
                for noises in NOISES
                for other, spread in SPREADS.items()
            }
        ),
        *(
            trainings.part_on(
                condition,
                name,
                f"weight on {first}, against {second}",
                first,
                second,
                WEIGHT,
                margin=MIN_WEIGHT,
            )
            for condition, (name, first, second) in ATTENDS.items()
        ),
        *(
            trainings.part_on(
                condition,
                "attention avoids noisy patches",
                "attention on blank patches, without noise on them against with it",
                ("on_blank", "vit", "clean"),
                ("on_blank", "vit", "noisy"),
                WEIGHT,
                margin=MIN_SHIFT,
                spread=2.0,
            )
            for condition in ("digits", COMMON)
        ),
    ),
    panels=robustness.PANELS,
    title="Noise: falls from equal starts, and what patches attend to",
    summaries=(
        *(Summary(f"Accuracy on clean images (%), {LABELS[x]}", ("clean", x)) for x in LABELS),
        Summary("Share of the images that all models classify correctly", "common"),
        Summary(
            "Fall under fifteen corruptions (points): ViT, uniform attention, CNN",
            [fall_under(name, *CORRUPTIONS) for name in LABELS],
            conditions=("digits",),
        ),
    ),
    labels=LABELS,
)
