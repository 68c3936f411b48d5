"""C10: global reasoning beats convolution alone on these digits.

A patch ViT against a CNN on pixels differs in much more than attention. So tokens, stem, MLPs,
parameters (within 2 %), optimiser, rates and batches are the same here, and only what mixes the
patches differs: attention over all of them, or a 3 × 3 convolution between neighbours. On 4 × 4
patches two convolutions reach nearly everything, so "global" is no advantage of reach alone. The
common digit needs a comparison of distant patches by their content.
"""

from functools import partial

from clearhead.studies import Cell, Grid, Study, difference, estimate, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import slopes
from clearhead.studies.measures.slopes import BUDGETS
from clearhead.studies.measures.tasks import COMMON
from clearhead.studies.measures.trainings import FLOORS, ON_COMMON, floor_of, within

DIGITS = {"digits": 3_000, "budgets": BUDGETS, "unseen": 4_000}
POINTS = "percentage points"
MARGIN, TASK_MARGIN = 0.5, 5.0
"""Twenty of 4,000 digits; the common digit has accuracies tens of points apart"""
with_convolution = partial(floor_of, conv={"name": "conv"})

HYPOTHESES = {
    **{
        f"attention beats convolution between patches (digits, {steps} steps)": difference(
            f"attention, against convolution: {steps} steps",
            POINTS,
            Cell("digits", (str(steps), "vit")),
            Cell("digits", (str(steps), "conv")),
            margin=MARGIN,
            spread=1.5,  # second run, ViT against CNN
        )
        for steps in BUDGETS
    },
    "the difference changes with training (digits)": estimate(
        "attention minus convolution, change with each tripling of the steps",
        POINTS,
        Cell("digits", slopes.per_doubling(slopes.gap("vit", "conv"), BUDGETS, 3.0)),
    ),
    f"attention beats convolution between patches ({COMMON})": within(
        COMMON,
        "attention, against convolution between patches",
        POINTS,
        "with_attention",
        "conv",
        margin=TASK_MARGIN,
    ),
}

STUDY = Study(
    **words(__name__),
    grid=(
        Grid("digits", slopes.accuracies_by_steps, DIGITS),
        Grid(COMMON, with_convolution, ON_COMMON | {"unseen": 1_000}),
    ),
    parts=parts(HYPOTHESES, premises=FLOORS),
    panels=slopes.PANELS_BY_MIXER,
    summaries=slopes.SUMMARIES_BY_MIXER,
)
