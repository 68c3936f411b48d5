"""C17: attention weights show what mattered: stronger attention, stronger influence on the output.

Jain & Wallace 2019 find weights of recurrent text models weakly correlated with gradients and with
leave-one-out; Wiegreffe & Pinter 2019 answer that this asks too much of them. Leaving one patch out
misses what two patches share, so influence is the exact Shapley value here, its size, for the
log-odds of the predicted class. Masking in all layers, which favours rollout, is a variant. Ink is
both attended to and needed, so that on digits only the partial correlation given the ink speaks for
a map; in the other tasks it is not enough to attend to ink or to any pair.
"""

from itertools import product

from clearhead.insight.attribution import RANDOM, RAW, ROLLOUT
from clearhead.studies import Grid, Hypothesis, PerBudget, Study, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import influence
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.studies.measures.trainings import FLOORS, ON_COMMON, ON_DIGITS, ON_RECALL, within

IMAGES = {"images": PerBudget(quick=10, full=20)}
MORE_IMAGES = {"images": PerBudget(quick=100, full=200), "unseen": 1_000}
THREE = PerBudget(quick=0, full=3)  # described, not judged
CORRELATION = "rank correlation"
MARGIN, INK_MARGIN = 0.3, 0.1  # medium, and beyond the ink small (Cohen 1988)
MAPS = tuple(product(("digits", COMMON), (RAW, ROLLOUT)))


def correlated(task: str, name: str, measure: str = "correlation", suffix: str = "") -> Hypothesis:
    """Weights correlate with a measure of influence, more than random numbers do."""
    what, sides = f"{name}, against random numbers{suffix}", ((measure, x) for x in (name, RANDOM))
    return within(task, what, CORRELATION, *sides, margin=MARGIN)


HYPOTHESES = {
    **{f"{name} shows influence ({task})": correlated(task, name) for task, name in MAPS},
    **{
        f"{name} shows more than ink ({task})": within(
            task,
            f"{name}, given the ink, against 0",
            CORRELATION,
            ("beyond_ink", name),
            0.0,
            margin=INK_MARGIN,
        )
        for task, name in MAPS
    },
    **{
        f"weights of the {name} layer show influence ({RECALL})": within(
            RECALL,
            f"weights of the {name} layer, against random numbers",
            CORRELATION,
            measure,
            "random",
            margin=MARGIN,
        )
        for name, measure in (("last", "weights"), ("first", "first"))
    },
}

STUDY = Study(
    **words(__name__),
    grid=(
        Grid("digits", influence.influence_of_patches, IMAGES | ON_DIGITS),
        Grid(COMMON, influence.influence_of_patches, ON_COMMON | MORE_IMAGES),
        Grid(RECALL, influence.influence_of_pairs, ON_RECALL | {"unseen": 200}),
        Grid("shipped", influence.influence_of_patches, {"images": 5}, num_seeds=THREE),
    ),
    parts=parts(
        HYPOTHESES,
        premises=FLOORS,
        variants={
            f"{name} shows influence ({task})": {
                variant: correlated(task, name, measure, f": {measure}")
                for variant, measure in influence.OTHERS.items()
            }
            for task, name in MAPS
        },
    ),
    panels=influence.PANELS,
    summaries=influence.SUMMARIES,
    labels={"shipped": "shipped model"},
)
