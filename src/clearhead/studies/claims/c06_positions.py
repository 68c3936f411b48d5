"""C6: attention does not depend on position; encodings restore order, and digits need them.

That outputs permute with their tokens is a property of the formula, checked to rounding. The rest
is measured on whole digits and with the patches of every test digit shuffled, as Naseer et al. 2021
and Xu et al. 2023 do with larger models. The claim names no learning rate, so it must hold at two:
in pilots at the usual one tokens outgrew sine-cosine positions, and shuffling hardly mattered.
"""

from clearhead.studies import Cell, Grid, Hypothesis, PerBudget, Study, difference, exact, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import changes
from clearhead.studies.measures.changes import ONE_SHUFFLE, POSITIONS, RATES

TRAINING = {"digits": 5_000, "epochs": PerBudget(quick=2, full=3), "unseen": 2_000}
SHUFFLED, FEW = TRAINING | {"rate": "low rate"}, PerBudget(quick=1, full=3)  # not judged
ROUNDING = 1e-12  # of the largest output, in float64
NEEDED = 0.02  # of accuracy: two digits in a hundred


def predicted(rate: str, positions: str) -> dict[str, Hypothesis]:
    """With positions against none; whole digits against shuffled ones."""
    whole, shuffled = (Cell(positions, x, {"rate": rate}) for x in ("accuracy", "shuffled"))
    none = Cell("none", "accuracy", {"rate": rate})
    need = f"{rate}: accuracy with {positions} positions against none"
    order = f"{rate}, {positions} positions: whole digits against shuffled patches"
    return {
        f"digits need {positions} positions ({rate})": difference(
            need, "share", whole, none, margin=NEEDED
        ),
        f"{positions} positions restore order ({rate})": difference(
            order, "share", whole, shuffled, margin=NEEDED
        ),
    }


HYPOTHESES = {
    "outputs permute with their tokens": exact(
        "outputs of attention against permuted outputs, without positions",
        "of the largest output",
        Cell("layers", "error"),
        high=ROUNDING,
    ),
    **predicted("usual rate", "learned"),
    **predicted("usual rate", "sine-cosine"),
    **predicted("low rate", "learned"),
    **predicted("low rate", "sine-cosine"),
}

STUDY = Study(
    **words(__name__),
    grid=(
        Grid("layers", changes.errors_of_random_layers, {"layers": 30}),
        Grid(POSITIONS, changes.accuracies_with_positions, TRAINING, vary={"rate": RATES}),
        Grid(ONE_SHUFFLE, changes.accuracies_with_positions, SHUFFLED, num_seeds=FEW),
    ),
    parts=parts(HYPOTHESES),
    panels=changes.POSITION_PANELS,
    summaries=changes.POSITION_SUMMARIES,
)
