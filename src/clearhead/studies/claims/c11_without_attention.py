"""C11: without attention a Transformer is no better than a plain MLP.

"Without attention" is taken in two ways: blocks whose tokens never meet before the last mean, and
blocks in which every token gets the mean of all (uniform attention). Dong et al. (2021,
"Attention is Not All You Need", arXiv 2103.03404) ask the opposite question, what attention is
without the rest; Tolstikhin et al. (2021, "MLP-Mixer", arXiv 2105.01601) and Yu et al. (2022,
"MetaFormer", arXiv 2111.11418) find that blocks whose mixing of tokens does not depend on what
these are, or is a plain mean, do well on natural images, so that much of a Transformer's success
need not be due to attention.

The plain MLP sees all pixels at once and has as many parameters, the same blocks and the same
training. "No better" is a test of non-inferiority: the MLP is to be less than `ALLOWANCE` points
behind. A claim about "a Transformer" in general is beyond this: these are models of 28,000
parameters, on digits, after a few hundred steps, in which a ViT gains more from each further
hundred than an MLP does. Whether the ViT itself is better than the MLP is no part of the claim:
after a first full run it was taken out of what decides, and is told beside it. So are, since then,
two trainings of four times the steps, to see whether gaps close.

Uniform attention has 4,224 parameters of W_Q and W_K that do nothing: of those that do something
it has 15 % less than the ViT.

Cost, one thread of a shared EPYC (Zen 4): a hundred steps take 2.9 s (ViT, uniform), 2.4 s (no
attention) or 0.9 s (MLP); quick about 85 s, full about 17 minutes.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from clearhead.insight.plots import new_figure
from clearhead.studies._unconverted import (
    Comparison,
    Study,
    draw_differences,
    outcomes_of,
    values_of,
)
from clearhead.studies.measures.classifiers import COMPARED_MODELS
from clearhead.studies.measures.learning_curves import (
    LONG,
    STEPS,
    draw_learning_curves,
    learning_trials,
    long_trainings,
    mean_accuracies,
    run_learning,
)
from clearhead.studies.table import Budget, Outcome, Trial

FEWEST, FEW, MANY = 100, 1_000, 10_000
ARMS = ("vit", "uniform", "no-attention", "mlp")
SHOWN = ("mlp", "no-attention", "uniform", "vit")

# Percentage points: fifty digits more or less in 10,000.
ALLOWANCE = 0.5
# The allowance is the whole of what is tested; a margin must be above 0.
LEAST = 0.01


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Many digits for the decision; fewer, all, and long trainings with two seeds, to be seen."""
    if budget == "quick":
        return learning_trials(STUDY.name, ARMS, seeds, digits=MANY)
    return (
        *learning_trials(STUDY.name, ARMS, seeds[:2], digits=FEWEST),
        *learning_trials(STUDY.name, ARMS, seeds[:2], digits=FEW),
        *learning_trials(STUDY.name, ARMS, seeds, digits=MANY),
        *learning_trials(STUDY.name, ARMS, seeds[:2], digits=60_000),
        *learning_trials(STUDY.name, ARMS, seeds[:2], digits=MANY, steps=LONG),
    )


def evidence(outcomes: Sequence[Outcome]) -> tuple[Comparison, ...]:
    """Without attention, in both ways, no better than the MLP."""
    return (_no_better(outcomes, "no-attention"), _no_better(outcomes, "uniform"))


def _no_better(outcomes: Sequence[Outcome], arm: str) -> Comparison:
    without, mlp = (
        values_of(outcomes, one, "accuracy", digits=MANY, steps=STEPS[MANY]) for one in (arm, "mlp")
    )
    return Comparison(
        name=f"MLP minus {COMPARED_MODELS[arm].label}, plus {ALLOWANCE} points "
        f"({MANY:,} digits; 0: exactly {ALLOWANCE} behind)",
        unit="percentage points",
        first=mlp,
        second=tuple(accuracy - ALLOWANCE for accuracy in without),
        margin=LEAST,
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Who read how many digits, with the number of trainings."""
    means = {arm: mean_accuracies(outcomes, arm) for arm in ARMS}
    many = {arm: means[arm][MANY] for arm in ARMS}
    deciding = outcomes_of(outcomes, "mlp", digits=MANY, steps=STEPS[MANY])
    told = [
        f"Of 28,000 parameters each, in {STEPS[MANY]} steps on {MANY:,} training digits the MLP on "
        f"the pixels read {many['mlp']:.1f} % of unseen digits, the blocks without attention "
        f"{many['no-attention']:.1f} %, those with uniform attention {many['uniform']:.1f} % and "
        f"the ViT, which is not judged, {many['vit']:.1f} % (means of {len(deciding)} trainings)."
    ]
    others = [digits for digits in means["mlp"] if digits != MANY]
    if others:
        seen = "; ".join(
            f"{STEPS[x]} steps on {x:,} digits: "
            f"{', '.join(f'{means[arm][x]:.1f}' for arm in SHOWN)} %"
            for x in others
        )
        told.append(f"In the same order, two trainings each, after {seen}.")
    longer = long_trainings(outcomes, {arm: COMPARED_MODELS[arm].label for arm in SHOWN}, MANY)
    told.append(
        (f"{longer[0].upper()}{longer[1:]}" if longer else "Longer trainings were not tried here")
        + "; with uniform attention 15 % of the parameters do nothing, and what larger models "
        "would do was not measured."
    )
    return tuple(told)


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Left: errors against training digits. Right: the differences that decide."""
    drawing = new_figure(12, 4.8)
    left, right = drawing.subplots(1, 2)
    draw_learning_curves(left, outcomes)
    draw_differences(right, evidence(outcomes), "percentage points")
    drawing.suptitle("The Transformer's blocks with and without attention, and a plain MLP")
    return drawing


STUDY = Study(
    name="without-attention",
    claim="C11",
    statement="Without attention a Transformer is no better than a plain MLP.",
    hypothesis=(
        f"In {STEPS[MANY]} steps, a Transformer's blocks without attention, or with uniform "
        f"attention, do not read {ALLOWANCE} points more digits than an MLP on the pixels with as "
        "many parameters, 28,000."
    ),
    conditions=(
        f"Models of about 28,000 parameters, {STEPS[MANY]} steps of 100 digits drawn "
        f"from {MANY:,} training digits of MNIST, no augmentation, rates tuned alike. With uniform "
        "attention 4,224 parameters (15 %) do nothing. Beside them the ViT, "
        f"{FEWEST}, {FEW:,} and 60,000 digits, and {LONG:,} steps on {MANY:,}."
    ),
    measure="Accuracy on 4,000 test digits drawn with the seed, in per cent.",
    seeds={"quick": 2, "full": 12},
    trials=trials,
    run=run_learning,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=(
        "Dong et al. 2021, Attention is Not All You Need, arXiv 2103.03404",
        "Tolstikhin et al. 2021, MLP-Mixer, arXiv 2105.01601",
        "Yu et al. 2022, MetaFormer Is Actually What You Need for Vision, arXiv 2111.11418",
    ),
)
