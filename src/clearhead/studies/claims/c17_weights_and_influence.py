"""C17: attention weights show what mattered: stronger attention, stronger influence on the output.

Jain & Wallace 2019 find weights of recurrent text models weakly correlated with gradients and with
leave-one-out; Wiegreffe & Pinter 2019 answer that this asks too much of them. Leaving one patch out
misses what two patches share, so influence is the exact Shapley value here: the mean change over
all orders in which patches can be added, its size, for the log-odds of the predicted class. Masking
in all layers, which favours rollout, is a variant. Ink is both attended to and needed, so that on
digits only the partial correlation given the ink speaks for a map; in the other tasks it is not
enough to attend to ink or to any pair.
"""

from dataclasses import replace
from itertools import product, starmap

from clearhead.insight.attribution import RANDOM, RAW, ROLLOUT
from clearhead.studies.hypotheses import difference
from clearhead.studies.measures import influence, trainings
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.studies.study import Grid, Part, PerBudget, Study, Summary
from clearhead.studies.table import Cell

IMAGES = {"images": PerBudget(quick=10, full=20)}
MORE_IMAGES = {"images": PerBudget(quick=100, full=200), "unseen": 1_000}
THREE = PerBudget(quick=0, full=3)  # described, not judged
CORRELATION = "rank correlation"
MARGIN, INK_MARGIN = 0.3, 0.1  # medium, and beyond the ink small (Cohen 1988)
MAPS = tuple(product(("digits", COMMON), (RAW, ROLLOUT)))


def shows_influence(condition: str, name: str) -> Part:
    """Weights correlate with Shapley values; the variants take masking and signed values."""
    what = f"{name}, against random numbers"
    first, second = (("correlation", x) for x in (name, RANDOM))
    part = trainings.part_on(
        condition, f"{name} shows influence", what, first, second, CORRELATION, margin=MARGIN
    )
    variants = {
        other: (
            difference(
                f"{condition}: {what}: {measure}",
                CORRELATION,
                Cell(condition, (measure, name)),
                Cell(condition, (measure, RANDOM)),
                margin=MARGIN,
            ),
        )
        for other, measure in influence.OTHERS.items()
    }
    return replace(part, variants=variants)


STUDY = Study(
    name="weights-and-influence",
    claim="C17",
    statement="Attention weights show what mattered: stronger attention, stronger influence on the "
    "output.",
    question="Do attention weights rank patches and words by their influence on the prediction?",
    conditions="ViTs of two layers and four heads, trained on 3,000 digits of MNIST for 300 steps, "
    "or on the common digit; text models on recall; one for each seed, shared with other claims. "
    "The shipped model is described.",
    measure="Spearman's correlation over the 16 patches of an image with the size of their exact "
    "Shapley values, mean over 20 unseen images (quick: 10), and partial, given the ink; in recall "
    "over the 4 pairs, mean over 200 texts.",
    grid=(
        Grid(("digits",), influence.influence_of_patches, IMAGES | trainings.ON_DIGITS),
        Grid((COMMON,), influence.influence_of_patches, trainings.ON_COMMON | MORE_IMAGES),
        Grid((RECALL,), influence.influence_of_pairs, trainings.ON_RECALL | {"unseen": 200}),
        Grid(("shipped",), influence.influence_of_patches, {"images": 5}, num_seeds=THREE),
    ),
    parts=(
        *starmap(shows_influence, MAPS),
        *(
            trainings.part_on(
                condition,
                f"{name} shows more than ink",
                f"{name}, given the ink, against 0",
                ("beyond_ink", name),
                0.0,
                CORRELATION,
                margin=INK_MARGIN,
            )
            for condition, name in MAPS
        ),
        *(
            trainings.part_on(
                RECALL,
                f"weights of the {name} layer show influence",
                f"weights of the {name} layer, against random numbers",
                measure,
                "random",
                CORRELATION,
                margin=MARGIN,
            )
            for name, measure in (("last", "weights"), ("first", "first"))
        ),
    ),
    panels=influence.PANELS,
    title="Maps from attention weights and the influence of patches",
    summaries=(
        *(Summary(x, influence.by_map(name)) for name, x in influence.BY_MAP.items()),
        Summary("Recall: weight on the pair in question (%)", "on_answer"),
    ),
    labels={"shipped": "shipped model"},
)
