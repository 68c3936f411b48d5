"""C11: without attention a Transformer is no better than a plain MLP.

"Without attention" has two meanings here: blocks whose tokens are not mixed before the last mean,
and blocks in which every token gets the mean of all (uniform attention). Dong et al. 2021 study the
opposite, attention without the rest; Tolstikhin et al. 2021 and Yu et al. 2022 find that blocks
whose mixing of tokens does not depend on the tokens, or is a plain mean, do well on natural images.

The plain MLP gets all pixels at once and has as many parameters, the same blocks and the same
training. "No better" is a test of non-inferiority: the MLP must be less than `ALLOWANCE` points
behind. Nothing follows for Transformers in general. Whether the ViT itself is better than the MLP
is no part of the claim. Fewer digits are described, with two seeds.

Uniform attention has 4,224 unused parameters in W_Q and W_K, 15 % of those of the ViT.
"""

from clearhead.studies import (
    Cell,
    Grid,
    NonInferiority,
    Part,
    PerBudget,
    Points,
    Study,
    Summary,
    Trial,
    Values,
)
from clearhead.studies.claims import notes
from clearhead.studies.measures.classifiers import accuracy_on_unseen
from clearhead.studies.measures.trainings import on_digits, trained

MODELS = ("vit", "uniform", "no-attention", "mlp")
LABELS = {
    "vit": "ViT",
    "uniform": "uniform attention",
    "no-attention": "blocks without attention",
    "mlp": "MLP on the pixels",
}
STEPS = {100: 200, 1_000: 300, 10_000: 500}
"""Steps of 100 digits, by number of training digits; the last is judged"""
MANY = 10_000
ALLOWANCE = 0.5  # percentage points: twenty digits more or less in 4,000


def run(trial: Trial) -> Values:
    """The accuracy of the model that the condition names."""
    settings = trial.settings
    training = on_digits(trial.condition, examples=settings["digits"], steps=settings["steps"])
    model = trained(training, trial.seed)
    return accuracy_on_unseen(model, unseen=settings["unseen"], seed=trial.seed)


def trainings(digits: int, num_seeds: PerBudget | None) -> Grid:
    """All models on so many digits."""
    settings = {"digits": digits, "steps": STEPS[digits], "unseen": 4_000}
    return Grid(MODELS, settings=settings, num_seeds=num_seeds)


def no_better(condition: str) -> Part:
    """The MLP is not worse than a Transformer without attention."""
    settings = {"digits": MANY, "steps": STEPS[MANY]}
    hypothesis = NonInferiority(
        f"MLP, against {LABELS[condition]} ({MANY:,} digits)",
        "percentage points",
        Cell("mlp", "accuracy", settings),
        Cell(condition, "accuracy", settings),
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
    "uniform attention 4,224 parameters (15 %) have no effect. Beside them the ViT, and 100 "
    "and 1,000 digits.",
    measure="Accuracy on 4,000 test digits drawn with the seed, in per cent.",
    grid=tuple(trainings(x, None if x == MANY else PerBudget(quick=0, full=2)) for x in STEPS),
    run=run,
    parts=(no_better("no-attention"), no_better("uniform")),
    panels=(
        Points(
            measure=lambda values: 100 - values["accuracy"],
            x="digits",
            xscale="log",
            yscale="log",
            xlabel="training digits",
            ylabel="error rate on unseen digits (%)",
            ticks={digits: f"{digits:,}" for digits in STEPS},
        ),
    ),
    title="A Transformer's blocks with and without attention, and a plain MLP",
    summaries=tuple(
        Summary(
            f"Accuracy on unseen digits (%), {steps} steps on {digits:,} training digits",
            "accuracy",
            settings={"digits": digits},
        )
        for digits, steps in STEPS.items()
    ),
    labels=LABELS,
    **notes("C11"),
)
