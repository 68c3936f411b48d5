"""C2: without scaling, softmax saturates as d_k grows, and its gradient vanishes.

In theory the scores of a query with independent components are nearly independent normal numbers of
variance d_k, as in the random energy model (Derrida 1981). The mean norm of the softmax's Jacobian
then falls like f/√d_k, f the density at 0 of the gap between the two largest scores: slowly,
because a few rows keep all of it. The gradient for the query, scale · J · K, also grows with the
length √d_k of the keys. So "its gradient vanishes" has two meanings, and both are judged.
"""

from clearhead.studies import Cell, Grid, PerBudget, Study, bound, difference, equivalence, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import saturation
from clearhead.studies.measures.saturation import KEYS, NORMS, log2_norm
from clearhead.studies.measures.scores import HEAD_DIMS

ROWS, SMALLEST, LARGEST = 2_000, HEAD_DIMS[0], HEAD_DIMS[-1]
SCORES = {"rows": ROWS, "keys": KEYS, "head_dims": HEAD_DIMS}
TRAINING = {"digits": PerBudget(quick=2_000, full=3_000), "epochs": 2, "images": 200}
SCALES = ("none", "sqrt", "learned")
VARY = {"head_dim": PerBudget(quick=(64,), full=(4, 16, 64)), "scale": SCALES}
FEW = PerBudget(quick=2, full=3)  # described, not judged
NEARLY_ONE_HOT, STEADY = 0.9, 0.05  # of the mean largest weight
HALVED = 1.0  # in halvings of a mean norm
UNSCALED, AT_SMALLEST, AT_LARGEST = (
    Cell("drawn", ("measured", scale, "largest", place))
    for scale, place in (("unscaled", -1), ("1/√d_k", 0), ("1/√d_k", -1))
)

HYPOTHESES = {
    "unscaled softmax is nearly one-hot": bound(
        f"unscaled at d_k {LARGEST}: mean largest of {KEYS} weights",
        "share",
        UNSCALED,
        low=NEARLY_ONE_HOT,
    ),
    **{
        f"the gradient vanishes ({name})": difference(
            f"{name} at d_k {LARGEST}, mean norm, scaled against unscaled",
            "halvings",
            Cell("drawn", log2_norm("1/√d_k", norm)),
            Cell("drawn", log2_norm("unscaled", norm)),
            margin=HALVED,
        )
        for norm, name in NORMS.items()
    },
    "scaled weights do not depend on d_k": equivalence(
        f"scaled: largest weight at d_k {LARGEST} against d_k {SMALLEST}",
        "share",
        AT_LARGEST,
        AT_SMALLEST,
        margin=STEADY,
    ),
}

STUDY = Study(
    **words(__name__),
    seeds={"quick": 6, "full": 12},
    grid=(
        Grid("drawn", saturation.saturation_of_random_scores, SCORES),
        Grid("trained", saturation.saturation_in_model, TRAINING, vary=VARY, num_seeds=FEW),
    ),
    parts=parts(HYPOTHESES),
    panels=saturation.PANELS,
    summaries=saturation.SUMMARIES,
    labels={"drawn": "random scores"},
)
