"""C3: without scaling, training is unstable or less effective.

Vaswani et al. (2017, section 3.2.1) suspect that unscaled products of large d_k push the softmax
"into regions where it has extremely small gradients". That supposes queries and keys of variance 1
("unit"), while with a ViT's initial weights of deviation 0.02 ("small") scores are near 0 at first.
Optimisers that normalise their steps hardly depend on the size of gradients; at very large scale
the problem is scores that grow (Dehghani et al. 2023, whose loss diverges despite the factor).

Without the factor the first scores are also √d_k times larger, which smaller W_Q and W_K can make
up for ("matched"). A rate that suits one condition need not suit the other, so scaled and unscaled
are also taken at their best of three. To judge instability would take far more training runs.
"""

from clearhead.studies import Cell, Grid, Hypothesis, Study, Values, difference, estimate, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import saturation
from clearhead.studies.measures.saturation import train_with_scale

SMALL, LARGE = 16, 64  # d_k of the shipped model, and the largest that a width of 64 allows
SHORT = {"digits": 1_000, "unseen": 2_000, "epochs": 10}
VIT = {"optimizer": "muon", "rate": "usual", "first": "small"}
UNIT = {"optimizer": "muon", "head_dim": LARGE, "first": "unit"}
DECIDING: dict[str, Values] = {
    f"d_k {LARGE}, small initial weights": VIT | {"head_dim": LARGE},
    f"d_k {LARGE}, queries and keys of variance 1": UNIT | {"rate": "usual"},
    f"d_k {SMALL}, small initial weights": VIT | {"head_dim": SMALL},
}
BEST = "d_k 64, variance 1, each at its best rate"
POINTS, MARGIN = "percentage points", 1.0
OTHERS = {"none": "unscaled", "matched": "unscaled with first scores of the same size"}


def compared(name: str, other: str, settings: Values, best_of: str = "") -> Hypothesis:
    """The accuracy of the scaled model, against that of another one."""
    first, second = (Cell(x, "accuracy", settings, best_of) for x in ("sqrt", other))
    name = f"scaled, against {OTHERS[other]}: {name}"
    return difference(name, POINTS, first, second, margin=MARGIN, spread=3.5)  # second run


HYPOTHESES: dict[str, Hypothesis | list[Hypothesis]] = {
    **{
        f"training is less effective ({name})": compared(name, "none", settings)
        for name, settings in DECIDING.items()
    },
    f"training is less effective ({BEST})": compared(BEST, "none", UNIT, "rate"),
    **{
        f"… also from first scores of the same size ({x})": compared(x, "matched", DECIDING[x])
        for x in DECIDING
    },
    "smaller first scores make up for a part": [
        estimate(
            f"first scores of the same size, against larger ones: {name}",
            POINTS,
            *(Cell(x, "accuracy", settings) for x in ("matched", "none")),
        )
        for name, settings in DECIDING.items()
    ],
}

STUDY = Study(
    **words(__name__),
    grid=(
        Grid(("sqrt", *OTHERS), train_with_scale, SHORT | VIT, vary={"head_dim": (SMALL, LARGE)}),
        Grid(("sqrt", *OTHERS), train_with_scale, SHORT | UNIT | {"rate": "usual"}),
        Grid(("sqrt", "none"), train_with_scale, SHORT | UNIT, vary={"rate": ("low", "high")}),
    ),
    parts=parts(HYPOTHESES),
    panels=saturation.training_panels(UNIT, DECIDING),
    summaries=saturation.training_summaries(UNIT, DECIDING),
    labels={"sqrt": "1/√d_k", "none": "unscaled", "matched": "unscaled, smaller W_Q and W_K"},
)
