"""C17: attention weights show what mattered: stronger attention, stronger influence on the output.

Jain & Wallace 2019 find weights of recurrent text models weakly correlated with gradients and with
leave-one-out; Wiegreffe & Pinter 2019 answer that this asks too much of them. Leaving one patch out
misses what two patches share, so influence is the exact Shapley value here: the mean change over
all orders in which patches can be added, its size, for the log-odds of the predicted class. Masking
in all layers, which favours rollout, is a variant. Ink is both attended to and needed, so that on
digits only the partial correlation given the ink speaks for a map; in the other tasks it is not
enough to attend to ink or to any pair.
"""

from itertools import product, starmap

from clearhead.insight.attribution import RANDOM, RAW, ROLLOUT
from clearhead.studies import Cell, Difference, Grid, Part, PerBudget, Study, Summary
from clearhead.studies.claims import notes
from clearhead.studies.measures import influence, trainings
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.studies.table import Measure, Trial, Values

IMAGES = {"images": PerBudget(quick=10, full=20)}
MORE_IMAGES = {"images": PerBudget(quick=100, full=200), "unseen": 1_000}
THREE = PerBudget(quick=0, full=3)  # described, not judged
CORRELATION = "rank correlation"
MARGIN, INK_MARGIN = 0.3, 0.1  # medium, and beyond the ink small (Cohen 1988)


def run(trial: Trial) -> Values:
    """How weights correlate with influence, in one model."""
    model = trainings.model_of(trial)
    if trial.condition == RECALL:
        found = influence.recall_influence(model, trainings.texts_of(trial))
    else:
        images = trainings.images_of(trial, trial.settings["images"])
        found = influence.influence(model, images, trial.seed)
    return trainings.floor_of(trial) | found


def correlates(condition: str, name: str, against: str, measure: str = "correlation") -> Difference:
    """A map of weights against random numbers, or its partial correlation given the ink."""
    given_ink = measure == "beyond_ink"
    return Difference(
        f"{condition}: {name}, {against}",
        CORRELATION,
        Cell(condition, (measure, name)),
        0.0 if given_ink else Cell(condition, (measure, RANDOM)),
        margin=INK_MARGIN if given_ink else MARGIN,
    )


def shows_more_than_ink(condition: str, name: str) -> Part:
    """Weights correlate with Shapley values beyond where the ink is."""
    hypothesis = correlates(condition, name, "given the ink, against 0", "beyond_ink")
    return trainings.part_on(condition, f"{name} shows more than ink", hypothesis)


def shows_influence(condition: str, name: str) -> Part:
    """Weights correlate with Shapley values; the variants take masking and signed values."""
    variants = {
        what: (correlates(condition, name, f"against random numbers: {measure}", measure),)
        for what, measure in influence.OTHERS.items()
    }
    hypothesis = correlates(condition, name, "against random numbers")
    return trainings.part_on(condition, f"{name} shows influence", hypothesis, variants)


def in_recall(name: str, measure: Measure) -> Part:
    """The weights of a query on the pairs, in one layer of the text model."""
    what = f"weights of the {name} layer, against random numbers"
    hypothesis = trainings.difference_in(
        RECALL, what, measure, "random", unit=CORRELATION, margin=MARGIN
    )
    return trainings.part_on(RECALL, f"weights of the {name} layer show influence", hypothesis)


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
        Grid(("digits",), settings=IMAGES | trainings.ON_DIGITS),
        Grid((COMMON,), settings=trainings.ON_COMMON | MORE_IMAGES),
        Grid((RECALL,), settings=trainings.ON_RECALL | {"unseen": 200}),
        Grid(("shipped",), settings={"images": 5}, num_seeds=THREE),
    ),
    run=run,
    parts=(
        *starmap(shows_influence, product(("digits", COMMON), (RAW, ROLLOUT))),
        *starmap(shows_more_than_ink, product(("digits", COMMON), (RAW, ROLLOUT))),
        *starmap(in_recall, (("last", "weights"), ("first", "first"))),
    ),
    panels=influence.PANELS,
    title="Maps from attention weights and the influence of patches",
    summaries=(
        *(Summary(x, influence.by_map(name)) for name, x in influence.BY_MAP.items()),
        Summary("Recall: weight on the pair in question (%)", "on_answer"),
    ),
    labels={"shipped": "shipped model"},
    **notes("C17"),
)
