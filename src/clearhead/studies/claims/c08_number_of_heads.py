"""C8: more heads give better features, up to a saturation point.

The width stays as it is and with it the number of parameters; only the number of heads changes, and
their dimension. "Better features" is the accuracy of a linear head on unseen data. The gain at
widths 16, 32 and 64 shows how it depends on size. The common digit and recall need attention; they
are measured with the models of other claims, and all numbers of heads have the same rates.
"""

from functools import partial

from clearhead.studies import Cell, Grid, PerBudget, Study, difference, equivalence, estimate, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import slopes
from clearhead.studies.measures.slopes import WIDTHS, accuracy_with_heads
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.studies.measures.trainings import FLOORS, ON_COMMON, ON_RECALL, floor_of, within

DIGITS = {"digits": 2_500, "epochs": 10, "unseen": 10_000}
TWO, SIX = (PerBudget(quick=0, full=seeds) for seeds in (2, 6))  # described, not judged
POINTS = "percentage points"
MARGIN, TASK_MARGIN = 0.5, 2.0
"""Fifty of 10,000 digits; on the tasks accuracies differ by tens of points"""
with_one_head = partial(floor_of, one={"num_heads": 1})
ONE, ENOUGH, MANY = (Cell("heads", "accuracy", {"heads": heads}) for heads in (1, 8, 32))

HYPOTHESES = {
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
    **{
        f"4 heads are better than 1 ({task})": within(
            task, "4 heads, against 1", POINTS, "with_attention", "one", margin=TASK_MARGIN
        )
        for task in (COMMON, RECALL)
    },
}

STUDY = Study(
    **words(__name__),
    grid=(
        Grid("heads", accuracy_with_heads, DIGITS, vary={"heads": (1, 8, 32)}),
        Grid("heads", accuracy_with_heads, DIGITS, vary={"heads": (2, 4, 16)}, num_seeds=TWO),
        Grid("widths", slopes.accuracies_by_width, DIGITS | {"widths": WIDTHS}, num_seeds=SIX),
        Grid(COMMON, with_one_head, ON_COMMON | {"unseen": 1_000}),
        Grid(RECALL, with_one_head, ON_RECALL | {"unseen": 500}),
    ),
    parts=parts(HYPOTHESES, premises=FLOORS),
    panels=slopes.PANELS_BY_HEADS,
    summaries=slopes.SUMMARIES_BY_HEADS,
)
