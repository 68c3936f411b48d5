"""C9: a ViT has a global receptive field from the first layer; that of a CNN grows slowly.

A ViT begins with patches of 7 × 7 pixels, 6 % of the image, and fields include the residual path,
by which a token keeps its own patch. On 28 × 28 pixels six small convolutions and two poolings
cover the whole image; nothing follows for large images.
"""

from clearhead.studies import Cell, Grid, PerBudget, Study, bound, difference, exact, parts
from clearhead.studies.claims import words
from clearhead.studies.hypotheses import Hypothesis
from clearhead.studies.measures import layers
from clearhead.studies.table import Measure

IMAGES = {"images": 50, "unseen": 1_000}
TRAINING = {"digits": PerBudget(quick=4_000, full=6_000), "epochs": PerBudget(quick=2, full=3)}
AS_THEY_ARE = ("ViT untrained", "CNN untrained", "shipped trained")
TRAINED = {"ViT trained": "small ViTs", "shipped trained": "samples of the shipped model"}
SHARE, HALF, QUARTER = "share of the image", 0.5, 0.25  # "globally" means at least half of it
FIRST, LAST = ("seen", 0), ("seen", -1)
EFFECTIVE = {
    f"the effective field of {TRAINED[x]} after the first layer is at least half of the image": x
    for x in TRAINED
}
LARGER = "after the first layer the effective field of a ViT is larger than that of a CNN"


def half(condition: str, what: str, measure: Measure) -> Hypothesis:
    """A field after the first layer is at least half of the image."""
    name = f"{TRAINED[condition]}, first layer: {what}"
    return bound(name, SHARE, Cell(condition, measure), low=HALF, spread=0.1)


def larger(name: str, condition: str, measure: Measure) -> Hypothesis:
    """A field is larger than that of the CNN after its first layer, by a quarter of the image."""
    cells = Cell(condition, measure), Cell("CNN trained", FIRST)
    return difference(name, SHARE, *cells, margin=QUARTER)


HYPOTHESES = {
    "each pixel can change a unit of a ViT's first layer": exact(
        "trained ViTs, first layer: theoretical field",
        SHARE,
        *(Cell(x, ("reached", 0)) for x in TRAINED),
        low=1.0,
    ),
    **{part: half(x, "effective field", FIRST) for part, x in EFFECTIVE.items()},
    LARGER: larger("first layer: effective field, ViT against CNN", "ViT trained", FIRST),
    "the field of a CNN widens layer by layer": larger(
        "CNN: effective field, last layer against first", "CNN trained", LAST
    ),
}

STUDY = Study(
    **words(__name__),
    grid=(
        Grid(AS_THEY_ARE, layers.fields_of_classifier, IMAGES),
        Grid(("ViT trained", "CNN trained"), layers.fields_of_classifier, IMAGES | TRAINING),
    ),
    parts=parts(
        HYPOTHESES,
        variants={
            part: {
                f"cut-off {y}": half(x, f"field from {y} of the largest gradient", ("cut_offs", y))
                for y in layers.CUT_OFFS
            }
            for part, x in EFFECTIVE.items()
        },
    ),
    panels=layers.FIELD_PANELS,
    summaries=layers.FIELD_SUMMARIES,
)
