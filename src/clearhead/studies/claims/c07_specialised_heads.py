"""C7: heads specialise: different heads attend to different things, beyond what untrained heads do.

Untrained heads differ too, so trained ones are compared with those: as initialised, with almost
uniform attention; and, a harder control, with attention as sharp as the trained one's. A role is a
measure beyond every untrained head, with a family level of 5 %. On plain digits, blocks without
attention are as accurate (C11), so two tasks that need attention are measured too. In recall it is
known what a head should attend to: the value of the queried key.
"""

from clearhead.studies import Grid, Measure, PerBudget, Study, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import heads
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.studies.measures.trainings import FLOORS, ON_COMMON, ON_DIGITS, ON_RECALL, within

IMAGES = {"images": PerBudget(quick=50, full=100), "unseen": 500}
LABELS = {"small": "digits", COMMON: COMMON, RECALL: RECALL, "shipped": "shipped model"}
APART, ROLES = "hundredths of the JS distance", "percentage points of heads"
POINTS, WEIGHT = "percentage points", "share of the attention"
# 5 of 100; one head in four; one point of accuracy; a fifth of all attention
MARGINS = {APART: 5.0, ROLES: 25.0, POINTS: 1.0, WEIGHT: 0.2}
SPREADS = {APART: 1.3, ROLES: 7.0, POINTS: 4.5}  # on digits, in the second run

DIFFER = "heads apart, against untrained", APART, "apart", "apart_fresh"
SHARP = "heads apart, against untrained as sharp", APART, "apart", "apart_sharp"
WITH_ROLE = "heads with a role, against untrained as sharp", ROLES, heads.ROLE, heads.NO_ROLE
EXCHANGED = "accuracy, against that with another head's weights", POINTS, "accuracy", "exchanged"
WHAT = "weight on the value, the chosen head against the others of its layer"
CHOSEN = WHAT, WEIGHT, "chosen", "others"
PARTS: dict[str, tuple[tuple[str, str, Measure, Measure], tuple[str, ...]]] = {
    "heads differ more than untrained ones": (DIFFER, ("small",)),
    "… with attention as sharp": (SHARP, ("small", COMMON)),
    "more heads have a role": (WITH_ROLE, ("small", COMMON)),
    "it matters which head has which weights": (EXCHANGED, ("small", COMMON, RECALL)),
    "one head attends to the value of the queried key": (CHOSEN, (RECALL,)),
}
"""By name: what is compared, with its unit, and the conditions"""

HYPOTHESES = {
    f"{name} ({LABELS[condition]})": within(
        condition,
        *compared,
        margin=MARGINS[compared[1]],
        spread=SPREADS.get(compared[1]) if condition == "small" else None,
    )
    for name, (compared, conditions) in PARTS.items()
    for condition in conditions
}

STUDY = Study(
    **words(__name__),
    grid=(
        Grid("small", heads.compare_heads, IMAGES | ON_DIGITS),
        Grid(COMMON, heads.compare_heads, IMAGES | ON_COMMON),
        Grid(RECALL, heads.compare_heads_on_recall, {"unseen": 500} | ON_RECALL),
        Grid("shipped", heads.compare_heads, IMAGES, num_seeds=PerBudget(quick=1, full=2)),
    ),
    parts=parts(HYPOTHESES, premises=FLOORS),
    panels=heads.PANELS,
    summaries=heads.SUMMARIES,
    labels=LABELS,
)
