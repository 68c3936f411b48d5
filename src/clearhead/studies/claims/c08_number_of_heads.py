"""C8: more heads give better features, up to a saturation point.

The width stays as it is and with it the number of parameters; only the number of heads changes, and
their dimension. "Better features" is the accuracy of a linear head on unseen data. On digits, 1, 8
and 32 heads at width 64 decide; the gain of 8 heads over 1 at widths 16, 32 and 64 shows how it
depends on size. The same is measured on the common digit and recall, which need attention, with 1
and 4 heads: these are the models of other claims. All numbers of heads have the same rates.
"""

from functools import partial

from clearhead.studies.hypotheses import difference, equivalence, estimate
from clearhead.studies.measures import slopes, trainings
from clearhead.studies.measures.slopes import WIDTHS
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.studies.study import Grid, PerBudget, Study, Summary, parts_of
from clearhead.studies.table import Cell

DIGITS = {"digits": 2_500, "epochs": 10, "unseen": 10_000}
TWO, SIX = (PerBudget(quick=0, full=seeds) for seeds in (2, 6))  # described, not judged
POINTS = "percentage points"
MARGIN = 0.5  # percentage points: fifty digits more or less in 10,000
TASK_MARGIN = 2.0  # where accuracies differ by tens of points
with_one_head = partial(trainings.floor_of, one={"num_heads": 1})
ONE, ENOUGH, MANY = (Cell("heads", "accuracy", {"heads": heads}) for heads in (1, 8, 32))

STUDY = Study(
    name="number-of-heads",
    claim="C8",
    statement="More heads give better features, up to a saturation point.",
    question="How does accuracy depend on the number of heads at constant width?",
    conditions="ViTs of two layers and width 64 (105,000 parameters) with 1 to 32 heads, trained "
    "on 2,500 digits of MNIST for 250 steps of 100, no augmentation, at half the rates that were "
    "best at width 32; the same at widths 16 and 32. The models of other claims, of width 32, on "
    "the common digit and on recall, with 4 heads and 1.",
    measure="Accuracy on all 10,000 test digits, on 1,000 unseen images and on 500 unseen texts, "
    "in per cent.",
    grid=(
        Grid(("heads",), slopes.accuracy_with_heads, DIGITS, vary={"heads": (1, 8, 32)}),
        Grid(
            ("heads",),
            slopes.accuracy_with_heads,
            DIGITS,
            vary={"heads": (2, 4, 16)},
            num_seeds=TWO,
        ),
        Grid(("widths",), slopes.accuracies_by_width, DIGITS | {"widths": WIDTHS}, num_seeds=SIX),
        Grid((COMMON,), with_one_head, trainings.ON_COMMON | {"unseen": 1_000}),
        Grid((RECALL,), with_one_head, trainings.ON_RECALL | {"unseen": 500}),
    ),
    parts=(
        *parts_of(
            {
                "8 heads are better than 1 (digits)": difference(
                    "8 heads, against 1", POINTS, ENOUGH, ONE, margin=MARGIN, spread=0.5
                ),
                "32 heads are as good as 8 (digits)": equivalence(
                    "32 heads, against 8", POINTS, MANY, ENOUGH, margin=MARGIN, spread=0.6
                ),
                "the gain depends on the width (digits)": estimate(
                    "gain of 8 heads over 1, change with each doubling of the width",
                    POINTS,
                    Cell("widths", slopes.per_doubling(slopes.gain, WIDTHS)),
                ),
            }
        ),
        *(
            trainings.part_on(
                task,
                "4 heads are better than 1",
                "4 heads, against 1",
                "with_attention",
                "one",
                POINTS,
                margin=TASK_MARGIN,
            )
            for task in (COMMON, RECALL)
        ),
    ),
    panels=slopes.PANELS_BY_HEADS,
    title="The number of heads at constant width and constant parameters",
    summaries=(Summary("Accuracy on unseen digits (%)", "accuracy", by="heads"),),
)
