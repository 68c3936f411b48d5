"""C11: without attention a Transformer is no better than a plain MLP.

"Without attention" has two meanings here: blocks whose tokens are not mixed before the last mean,
and blocks in which every token gets the mean of all (uniform attention). Dong et al. 2021 study the
opposite, attention without the rest; Tolstikhin et al. 2021 and Yu et al. 2022 find that blocks
whose mixing of tokens does not depend on the tokens, or is a plain mean, do well on natural images.

The plain MLP gets all pixels at once and has as many parameters, the same blocks and the same
training. "No better" is a test of non-inferiority: the MLP must be less than `ALLOWANCE` points
behind. Nothing follows for Transformers in general. Whether the ViT itself is better than the MLP
is no part of the claim; it was removed from the evidence after a first full run. Two trainings of
four times the steps, added then, show whether gaps close.

Uniform attention has 4,224 unused parameters in W_Q and W_K, 15 % of those of the ViT.

Cost, one thread of a shared EPYC (Zen 4): a hundred steps take 2.9 s (ViT, uniform), 2.4 s (no
attention) or 0.9 s (MLP); quick about 85 s, full about 17 minutes.
"""

from clearhead.studies import Cell, NonInferiority, Part, PerBudget, Study
from clearhead.studies.measures.learning_curves import (
    LONG,
    MANY,
    PANELS,
    STEPS,
    SUMMARIES,
    measure_accuracy,
    training_grid,
)

MODELS = ("vit", "uniform", "no-attention", "mlp")
LABELS = {
    "vit": "ViT",
    "uniform": "uniform attention",
    "no-attention": "blocks without attention",
    "mlp": "MLP on the pixels",
}
ALLOWANCE = 0.5  # percentage points: fifty digits more or less in 10,000
TWO = PerBudget(quick=0, full=2)


def no_better(condition: str) -> Part:
    """The MLP is not worse than a Transformer without attention."""
    settings = {"digits": MANY, "steps": STEPS[MANY]}
    hypothesis = NonInferiority(
        name=f"MLP, against {LABELS[condition]} ({MANY:,} digits)",
        unit="percentage points",
        first=Cell("mlp", "accuracy", settings),
        second=Cell(condition, "accuracy", settings),
        margin=ALLOWANCE,
    )
    return Part(f"{LABELS[condition]}: no better than an MLP", (hypothesis,))


STUDY = Study(
    name="without-attention",
    claim="C11",
    statement="Without attention a Transformer is no better than a plain MLP.",
    question="How far is an MLP on the pixels behind a Transformer's blocks without attention?",
    conditions=f"Models of about 28,000 parameters, {STEPS[MANY]} steps of 100 digits drawn from "
    f"{MANY:,} training digits of MNIST, no augmentation, rates tuned with the same effort. With "
    "uniform attention 4,224 parameters (15 %) have no effect. Beside them the ViT, 100, 1,000 and "
    f"60,000 digits, and {LONG:,} steps on {MANY:,}.",
    measure="Accuracy on 4,000 test digits drawn with the seed, in per cent.",
    seeds={"quick": 2, "full": 12},
    grid=(
        training_grid(MODELS, 100, num_seeds=TWO),
        training_grid(MODELS, 1_000, num_seeds=TWO),
        training_grid(MODELS, MANY),
        training_grid(MODELS, 60_000, num_seeds=TWO),
        training_grid(MODELS, MANY, steps=LONG, num_seeds=TWO),
    ),
    run=measure_accuracy,
    parts=(no_better("no-attention"), no_better("uniform")),
    panels=PANELS,
    title="A Transformer's blocks with and without attention, and a plain MLP",
    summaries=SUMMARIES,
    limits=("The ViT is shown and not judged.", "Larger models were not measured."),
    labels=LABELS,
    references=(
        "Dong et al. 2021, Attention is Not All You Need, arXiv 2103.03404",
        "Tolstikhin et al. 2021, MLP-Mixer, arXiv 2105.01601",
        "Yu et al. 2022, MetaFormer Is Actually What You Need for Vision, arXiv 2111.11418",
    ),
)
