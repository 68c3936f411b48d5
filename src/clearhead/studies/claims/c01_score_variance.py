"""C1: with unit-variance inputs q·k has variance d_k, and 1/√d_k keeps it near 1 whatever d_k is.

Vaswani et al. 2017 (footnote 4) say so of independent components. Quoted later, the condition
shrinks to "unit variance", and the conclusion is applied to trained models: with each component
standardised, only independence is missing there. The departure of a head is the variance of q·k
over d_k, or 1 over that if it is larger; each d_k is judged by itself, as a layer with small d_k
has more heads.
"""

from clearhead.studies import Cell, Grid, PerBudget, Study, bound, exact, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import scores
from clearhead.studies.measures.scores import LEARNED, SQRT

# 20,000 pairs give a variance to about 1 %; the largest of 24 such errors is below a tenth.
DRAWN, NEAR = {"pairs": 20_000, "head_dims": scores.HEAD_DIMS}, 0.1
NEAR_WHEN_TRAINED = 1.5  # generous: within half as much again
IMAGES = {"images": 200}
TRAINING = IMAGES | {"digits": PerBudget(quick=2_000, full=3_000), "epochs": 2}
SCALED = {scale: TRAINING | {"scale": scale} for scale in ("sqrt", "learned")}
VARY = {"head_dim": PerBudget(quick=(4, 64), full=(4, 16, 64))}
FEW = PerBudget(quick=1, full=3)  # described, not judged

HYPOTHESES = {
    "independent components have variance d_k": [
        exact(
            "variance of q·k / √d_k, independent components: largest distance from 1",
            "1",
            Cell("drawn", scores.largest_distance),
            high=NEAR,
        )
    ],
    "trained, standardised components do so too": [
        bound(
            f"departure from variance d_k, median head, d_k {head_dim}",
            "times",
            Cell(SQRT, scores.median_departure, {"head_dim": head_dim}),
            high=NEAR_WHEN_TRAINED,
        )
        for head_dim in VARY["head_dim"].full
    ],
}

STUDY = Study(
    **words(__name__),
    seeds={"quick": 2, "full": 6},
    grid=(
        Grid("drawn", scores.variances_of_random_scores, DRAWN),
        Grid("shipped", scores.variances_in_model, IMAGES),
        Grid(SQRT, scores.variances_in_model, SCALED["sqrt"], vary=VARY),
        Grid(LEARNED, scores.variances_in_model, SCALED["learned"], vary=VARY, num_seeds=FEW),
    ),
    parts=parts(HYPOTHESES),
    panels=scores.PANELS,
    summaries=scores.SUMMARIES,
    labels={SQRT: "trained, 1/√d_k", LEARNED: "trained, learned factor"},
)
