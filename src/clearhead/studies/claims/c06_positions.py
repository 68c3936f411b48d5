"""C6: attention does not depend on position; encodings restore order, and digits need them.

The first part is a property of the formula: if tokens are permuted, outputs are permuted alike. It
is checked to rounding. The rest is measured: small classifiers with learned, sine-cosine (Vaswani
et al. 2017) and no positions, all else equal, on whole digits and with the patches of every test
digit shuffled (as Naseer et al. 2021 and Xu et al. 2023 do with larger models). One trained and
tested on a single fixed shuffle is described.

There are two learning rates: the usual one of small classifiers, and 0.3 times it. Learned
positions grow with the tokens, but in pilots at the usual rate tokens outgrew sine-cosine ones, so
that shuffling hardly mattered. The claim names no rate, so it must hold at both.

Patches of 7 × 7 pixels hint at their place. Nothing follows for larger models or longer training.
"""

from clearhead.studies._panels import Points
from clearhead.studies.hypotheses import Hypothesis, difference, exact
from clearhead.studies.measures import changes
from clearhead.studies.study import Grid, PerBudget, Study, Summary, parts_of
from clearhead.studies.table import Cell

RATES = tuple(changes.RATES)
TRAINING = {"digits": 5_000, "epochs": PerBudget(quick=2, full=3), "unseen": 2_000}
ROUNDING = 1e-12  # of the largest output, in float64
NEEDED = 0.02  # of accuracy: two digits in a hundred
MEASURES = {
    "accuracy": "accuracy on unseen digits",
    "shuffled": "accuracy with their patches shuffled",
}


def compared(rate: str, condition: str) -> dict[str, Hypothesis]:
    """With positions against none; whole digits against shuffled ones."""
    whole, shuffled = (Cell(condition, x, {"rate": rate}) for x in MEASURES)
    none = Cell("none", "accuracy", {"rate": rate})
    need = f"{rate}: accuracy with {condition} positions against none"
    order = f"{rate}, {condition} positions: whole digits against shuffled patches"
    return {
        f"digits need {condition} positions ({rate})": difference(
            need, "share", whole, none, margin=NEEDED
        ),
        f"{condition} positions restore order ({rate})": difference(
            order, "share", whole, shuffled, margin=NEEDED
        ),
    }


STUDY = Study(
    name="positions",
    claim="C6",
    statement="Self-attention does not depend on position: permute the tokens and the outputs "
    "permute; positional encodings restore order, and the digit model needs them.",
    question="Do outputs of attention permute with its tokens, and how much accuracy do positional "
    "encodings add to digit classifiers?",
    conditions="Random attention layers in float64; classifiers (width 32, two layers) trained on "
    "the same MNIST digits with learned, sine-cosine and no positions at rates of 0.02 and 0.006, "
    "and one on a single fixed shuffle, described only.",
    measure="Largest difference over the largest output; accuracy on 2,000 unseen digits, the same "
    "for all seeds.",
    grid=(
        Grid(("layers",), changes.errors_of_random_layers, {"layers": 30}),
        Grid(
            tuple(changes.POSITIONS),
            changes.accuracies_with_positions,
            TRAINING,
            vary={"rate": RATES},
        ),
        Grid(
            (changes.ONE_SHUFFLE,),
            changes.accuracies_with_positions,
            TRAINING | {"rate": "low rate"},
            num_seeds=PerBudget(quick=1, full=3),
        ),
    ),
    parts=parts_of(
        {
            "outputs permute with their tokens": exact(
                "outputs of attention against permuted outputs, without positions",
                "of the largest output",
                Cell("layers", "error"),
                high=ROUNDING,
            ),
        }
        | compared(RATES[0], "learned")
        | compared(RATES[0], "sine-cosine")
        | compared(RATES[1], "learned")
        | compared(RATES[1], "sine-cosine")
    ),
    panels=tuple(
        Points(
            measure=measure,
            group="rate",
            scale=100,
            ylim=(0, 100),
            xlabel="positions",
            ylabel=f"{name} (%)",
            lines={10: "chance"},
        )
        for measure, name in MEASURES.items()
    ),
    summaries=(
        *(
            Summary(f"{name}, {rate}", measure, settings={"rate": rate})
            for rate in RATES
            for measure, name in MEASURES.items()
        ),
        Summary("Smallest difference with positions", "error_with_positions"),
    ),
)
