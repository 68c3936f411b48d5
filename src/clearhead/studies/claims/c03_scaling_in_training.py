"""C3: without scaling, training is unstable or less effective.

Vaswani et al. (2017, section 3.2.1) suspect that unscaled products of large d_k push the softmax
"into regions where it has extremely small gradients". That supposes queries and keys of variance 1
("unit"), while with a ViT's initial weights of deviation 0.02 ("small") scores are near 0 at first.
Optimisers that normalise their steps hardly depend on the size of gradients; at very large scale
the problem is scores that grow (Dehghani et al. 2023, whose loss diverges despite the factor).

A rate that suits one condition need not suit the other, so each is also taken at its best of four;
choosing by the digits that are reported favours both alike. (Pilot, seeds 0 and 1: 0.3 times the
usual rate was best for both, and 3 times worse than 1.) To judge instability would take far more
trainings. (First run, 3 seeds, AdamW: lost meant below 50 %; at the ten-fold rate all were lost.)

Cost, one thread of a shared EPYC (Zen 4): quick about 130 s, full about 15 minutes.
"""

from clearhead.studies import Cell, Difference, Grid, Part, PerBudget, Points, Study
from clearhead.studies.measures import scaling
from clearhead.studies.study import Summary
from clearhead.studies.table import Values

SCALES = ("sqrt", "none")
SMALL, LARGE = 16, 64  # d_k of the shipped model, and the largest that a width of 64 allows
SHORT = {"digits": 1_000, "unseen": 2_000, "epochs": 10}
VIT = {"optimizer": "muon", "rate": "usual", "first": "small"}
UNIT = {"optimizer": "muon", "head_dim": LARGE, "first": "unit"}
DECIDING: dict[str, Values] = {
    f"d_k {LARGE}, small initial weights": VIT | {"head_dim": LARGE},
    f"d_k {LARGE}, queries and keys of variance 1": UNIT | {"rate": "usual"},
    f"d_k {SMALL}, small initial weights": VIT | {"head_dim": SMALL},
}
MARGIN, POINTS, ACCURACY = 1.0, "percentage points", "accuracy on unseen digits (%)"


def one_seed(optimizer: str, *head_dims: int) -> Grid:
    """One training for each d_k and rate, at full budget."""
    return Grid(
        conditions=SCALES,
        settings=SHORT | {"first": "unit", "optimizer": optimizer},
        vary={"head_dim": head_dims, "rate": ("usual", "high")},
        num_seeds=PerBudget(quick=0, full=1),
    )


STUDY = Study(
    name="scaling-in-training",
    claim="C3",
    statement="Without scaling, training is unstable or less effective.",
    question="By how much does 1/√d_k raise the accuracy after 200 steps?",
    conditions="ViTs of two layers and width 64, Muon, the same rates with and without the factor, "
    "or the best of 0.1, 0.3, 1 and 10 times the usual for each; warm-up and clipped gradients; "
    "1,000 digits of MNIST, 200 steps of 50. One seed: d_k 8 to 64, AdamW and Muon.",
    measure="Accuracy on 2,000 test digits drawn with the seed, in per cent; lost trainings (below "
    "30 %, or a loss of NaN); norms of gradients of W_Q and W_K, and entropy, over time.",
    seeds={"quick": 2, "full": 12},
    grid=(
        Grid(conditions=SCALES, settings=SHORT | VIT, vary={"head_dim": (SMALL, LARGE)}),
        Grid(conditions=SCALES, settings=SHORT | UNIT, vary={"rate": tuple(scaling.RATES)}),
        one_seed("adamw", 8, 16, 32, 64),
        one_seed("muon", 8, 16, 32),
    ),
    run=scaling.train_with_scale,
    parts=(
        *(
            Part(
                name=f"training is less effective ({name})",
                hypotheses=(
                    Difference(
                        name=f"scaled, against unscaled: {name}",
                        unit=POINTS,
                        first=Cell("sqrt", "accuracy", settings),
                        second=Cell("none", "accuracy", settings),
                        margin=MARGIN,
                    ),
                ),
            )
            for name, settings in DECIDING.items()
        ),
        Part(
            name=f"training is less effective (d_k {LARGE}, variance 1, each at its best rate)",
            hypotheses=(
                Difference(
                    name=f"scaled, against unscaled: d_k {LARGE}, variance 1, each at its best "
                    "rate",
                    unit=POINTS,
                    first=Cell("sqrt", "accuracy", UNIT, best_of="rate"),
                    second=Cell("none", "accuracy", UNIT, best_of="rate"),
                    margin=MARGIN,
                ),
            ),
        ),
    ),
    panels=(
        Points(measure="accuracy", x="rate", settings=UNIT, xlabel="rate", ylabel=ACCURACY),
        Points(
            measure="accuracy",
            x="head_dim",
            settings={"first": "unit", "optimizer": "adamw"},
            xscale="log2",
            xlabel="d_k (variance 1, AdamW, usual and ten-fold rate)",
            ylabel=ACCURACY,
        ),
        *(
            scaling.probe_curves(measure, ylabel, name, settings)
            for measure, ylabel in scaling.PROBED_MEASURES.items()
            for name, settings in DECIDING.items()
        ),
    ),
    summaries=(
        *(
            Summary(name=f"Accuracy (%), {x}", measure="accuracy", settings=DECIDING[x])
            for x in DECIDING
        ),
        Summary(
            name="Lost trainings at ten times the usual rate, variance 1",
            measure=scaling.is_lost,
            settings=UNIT | {"rate": "high"},
        ),
        Summary(name="Trainings with a loss of NaN", measure=scaling.has_diverged),
    ),
    labels={"sqrt": "1/√d_k", "none": "unscaled"},
    references=(
        "Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, section 3.2.1",
        "Dehghani et al. 2023, Scaling Vision Transformers to 22 Billion Parameters, "
        "arXiv 2302.05442",
    ),
)
