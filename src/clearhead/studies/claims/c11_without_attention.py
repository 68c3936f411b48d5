"""C11: without attention a Transformer is no better than a plain MLP.

"Without attention" has two meanings here: blocks whose tokens are not mixed before the last mean,
and blocks in which every token gets the mean of all (uniform attention). Dong et al. 2021 study the
opposite, attention without the rest; Tolstikhin et al. 2021 and Yu et al. 2022 find that blocks
whose mixing of tokens does not depend on the tokens, or is a plain mean, do well on natural images.

The plain MLP gets all pixels at once and has as many parameters, the same blocks and the same
training. "No better" is a test of non-inferiority: the MLP must be less than `ALLOWANCE` points
behind. Whether the ViT itself is better than the MLP is not part of the claim.
"""

from clearhead.studies import Cell, Grid, PerBudget, Study, non_inferiority, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import trainings
from clearhead.studies.measures.trainings import STEPS

LABELS = {
    "vit": "ViT",
    "uniform": "uniform attention",
    "no-attention": "blocks without attention",
    "mlp": "MLP on the pixels",
}
MANY = 10_000  # judged; fewer digits are described
JUDGED = {"digits": MANY, "steps": STEPS[MANY]}
TWO = PerBudget(quick=0, full=2)
ALLOWANCE = 0.5  # percentage points: twenty of 4,000 digits

HYPOTHESES = {
    f"{LABELS[x]}: no better than an MLP": non_inferiority(
        f"MLP, against {LABELS[x]} ({MANY:,} digits)",
        "percentage points",
        Cell("mlp", "accuracy", JUDGED),
        Cell(x, "accuracy", JUDGED),
        margin=ALLOWANCE,
    )
    for x in ("no-attention", "uniform")
}

STUDY = Study(
    **words(__name__),
    grid=tuple(
        Grid(
            LABELS,
            trainings.accuracy_of_training,
            {"digits": digits, "steps": steps, "unseen": 4_000},
            num_seeds=None if digits == MANY else TWO,
        )
        for digits, steps in STEPS.items()
    ),
    parts=parts(HYPOTHESES),
    panels=trainings.PANELS_BY_DIGITS,
    summaries=trainings.SUMMARIES_BY_DIGITS,
    labels=LABELS,
)
