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
from clearhead.studies import Cell, Difference, Grid, Part, Study, Summary
from clearhead.studies.claims import notes
from clearhead.studies.measures import robustness, trainings
from clearhead.studies.measures.robustness import BLANK, LABELS, fall_under
from clearhead.studies.measures.tasks import COMMON, common_digits
from clearhead.studies.table import Trial, Values

NOISES, OTHERS = ("shot noise", "impulse noise"), ("uniform", "cnn")
POINTS, WEIGHT = "percentage points", "% of the attention"
UNSEEN = {"unseen": 1_000}
MARGIN = 2.0  # percentage points, of falls of ten and more
MIN_SHIFT = 5.0  # percentage points of all attention
MIN_WEIGHT = 2.0  # per cent; uniform weights are 6.25


def run(trial: Trial) -> Values:
    """Falls of all models from the same digits, and what the ViT attends to."""
    seed, unseen = trial.seed, trainings.unseen_of(trial)
    if trial.condition == COMMON:
        model, places = trainings.model_of(trial), common_digits("test", len(unseen), seed)
        found = robustness.robustness({"vit": model}, unseen, seed, (BLANK,))
        return trainings.floor_of(trial) | found | robustness.relevance_of_twins(model, places)
    models = {name: trainings.model_of(trial, name) for name in LABELS}
    found = robustness.robustness(models, unseen, seed)
    return found | robustness.relevance_of_neighbours(models["vit"], unseen)


def falls_less(other: str, *corruptions: str) -> Part:
    """Another model falls further than the ViT."""
    what = " and ".join(corruptions)
    hypothesis = Difference(
        f"fall of {LABELS[other]}, against the ViT: {what}",
        POINTS,
        Cell("digits", fall_under(other, *corruptions)),
        Cell("digits", fall_under("vit", *corruptions)),
        margin=MARGIN,
        spread=4.0 if other == "uniform" else 9.0,  # of losses, second run
    )
    return Part.of(f"the ViT falls less than {LABELS[other]} under {what}", hypothesis)


def attends(name: str, condition: str, first: str, second: str) -> Part:
    """More weight on what is relevant than on the rest."""
    what = f"weight on {first}, against {second}"
    hypothesis = trainings.difference_in(
        condition, what, first, second, unit=WEIGHT, margin=MIN_WEIGHT
    )
    return trainings.part_on(condition, name, hypothesis)


def avoids_noise(condition: str) -> Part:
    """Attention moves off blank patches when they are noisy."""
    hypothesis = trainings.difference_in(
        condition,
        "attention on blank patches, without noise on them against with it",
        ("on_blank", "vit", "clean"),
        ("on_blank", "vit", "noisy"),
        unit=WEIGHT,
        margin=MIN_SHIFT,
        spread=2.0,
    )
    return trainings.part_on(condition, "attention avoids noisy patches", hypothesis)


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
        Grid(("digits",), settings=trainings.ON_DIGITS | UNSEEN),
        Grid((COMMON,), settings=trainings.ON_COMMON | UNSEEN),
    ),
    run=run,
    parts=(
        *(falls_less(other, *noise) for noise in (NOISES, (BLANK,)) for other in OTHERS),
        attends("patches attend to neighbours with ink", "digits", "inked", "blank"),
        attends("patches attend to the digit that decides", COMMON, "twin", "others"),
        *map(avoids_noise, ("digits", COMMON)),
    ),
    panels=robustness.PANELS,
    title="Noise: falls from equal starts, and what patches attend to",
    summaries=(
        *(
            Summary(f"Accuracy on clean images (%), {label}", ("clean", name))
            for name, label in LABELS.items()
        ),
        Summary("Share of the images that all models classify correctly", "common"),
        Summary(
            "Fall under fifteen corruptions (points): ViT, uniform attention, CNN",
            [fall_under(name, *CORRUPTIONS) for name in LABELS],
            conditions=("digits",),
        ),
    ),
    labels=LABELS,
    **notes("C12"),
)
