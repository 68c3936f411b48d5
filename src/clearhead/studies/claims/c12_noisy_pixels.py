"""C12: patches attend to relevant neighbours, which makes a ViT robust to noisy pixels.

Two claims in one sentence, each with parts of its own. A fall from a higher accuracy can be larger
or smaller for that alone, so falls are counted among the digits that all models classify correctly
without noise: all start from 100 %. Noise on blank patches leaves the digit unchanged; whether
attention moves off it shows whether the ViT ignores it. Relevant neighbours are, on digits,
adjacent patches with ink; in the common digit the digit of the same class in the other half.
"""

from clearhead.studies import Cell, Grid, Study, difference, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import robustness
from clearhead.studies.measures.robustness import BLANK, LABELS, fall_under
from clearhead.studies.measures.tasks import COMMON
from clearhead.studies.measures.trainings import FLOORS, ON_COMMON, ON_DIGITS, within

NOISES = ("shot noise", "impulse noise"), (BLANK,)
SPREADS = {"uniform": 4.0, "cnn": 9.0}  # of losses, second run
POINTS, WEIGHT = "percentage points", "% of the attention"
UNSEEN = {"unseen": 1_000}
MARGIN = 2.0  # percentage points, of falls of ten and more
MIN_SHIFT = 5.0  # percentage points of all attention
MIN_WEIGHT = 2.0  # per cent; uniform weights are 6.25
ATTENDS = {
    "patches attend to neighbours with ink": ("digits", "inked", "blank"),
    "patches attend to the digit that decides": (COMMON, "twin", "others"),
}

HYPOTHESES = {
    **{
        f"the ViT falls less than {LABELS[other]} under {' and '.join(noises)}": difference(
            f"fall of {LABELS[other]}, against the ViT: {' and '.join(noises)}",
            POINTS,
            *(Cell("digits", fall_under(model, *noises)) for model in (other, "vit")),
            margin=MARGIN,
            spread=spread,
        )
        for noises in NOISES
        for other, spread in SPREADS.items()
    },
    **{
        f"{name} ({task})": within(
            task, f"weight on {a}, against {b}", WEIGHT, a, b, margin=MIN_WEIGHT
        )
        for name, (task, a, b) in ATTENDS.items()
    },
    **{
        f"attention avoids noisy patches ({task})": within(
            task,
            "attention on blank patches, without noise on them against with it",
            WEIGHT,
            *(("on_blank", "vit", x) for x in ("clean", "noisy")),
            margin=MIN_SHIFT,
            spread=2.0,
        )
        for task in ("digits", COMMON)
    },
}

STUDY = Study(
    **words(__name__),
    grid=(
        Grid("digits", robustness.falls_and_neighbours, ON_DIGITS | UNSEEN),
        Grid(COMMON, robustness.falls_and_twins, ON_COMMON | UNSEEN),
    ),
    parts=parts(HYPOTHESES, premises=FLOORS),
    panels=robustness.PANELS,
    summaries=robustness.SUMMARIES,
    labels=LABELS,
)
