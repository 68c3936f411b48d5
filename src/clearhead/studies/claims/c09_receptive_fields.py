"""C9: a ViT has a global receptive field from the first layer; that of a CNN grows slowly.

A ViT begins with patches of 7 × 7 pixels, 6 % of the image, and fields include the residual path,
by which a token keeps its own patch. On 28 × 28 pixels six small convolutions and two poolings end
up seeing everything; nothing follows for large images.
"""

from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.studies import Bound, Cell, Difference, Exact, Grid, Part, PerBudget, Study, Summary
from clearhead.studies.claims import notes
from clearhead.studies.measures import layers
from clearhead.studies.measures.classifiers import accuracy_on_unseen, classifier_of, inputs_of
from clearhead.studies.table import Measure, Trial, Values

VIT, CNN = ViTConfig(embed_dim=32, depth=6), CNNConfig(widths=(8, 16, 32))
IMAGES = {"images": 50, "unseen": 1_000}
TRAINING = {"digits": PerBudget(quick=4_000, full=6_000), "epochs": PerBudget(quick=2, full=3)}
TRAINED = ("ViT trained", "shipped trained")
CUT_OFFS = {"1 %": 0.01, "20 %": 0.2}
"""Other shares of the largest gradient from which a pixel counts as seen"""
SHARE, HALF = "share of the image", 0.5  # "globally" means at least half of it


def run(trial: Trial) -> Values:
    """Theoretical field, effective field and attention distance by layer; the first field."""
    config = CNN if trial.condition.startswith("CNN") else VIT
    model = classifier_of(trial, config)
    images = inputs_of(trial, model)
    fields = layers.layer_fields(model, images, trial.seed)
    accuracy = accuracy_on_unseen(model, unseen=trial.settings["unseen"], seed=trial.seed)
    return {
        "reached": [layers.theoretical_share(field) for field in fields],
        "cut_offs": {
            name: layers.effective_share(fields[0], share) for name, share in CUT_OFFS.items()
        },
        "first_field": layers.relative_gradients(fields[0]),
        "accuracy": accuracy["accuracy"] / 100,
        **layers.spread_by_layer(model, images, fields),
    }


def half_of_image(who: str, condition: str) -> Part:
    """The effective field after the first layer, also with other cut-offs."""

    def bound(what: str, measure: Measure) -> Bound:
        name = f"{who}, first layer: {what}"
        return Bound(name, SHARE, Cell(condition, measure), low=HALF, spread=0.1)

    return Part(
        f"the effective field of {who} after the first layer is at least half of the image",
        (bound("effective field", ("seen", 0)),),
        variants={
            f"cut-off {x}": (bound(f"field from {x} of the largest gradient", ("cut_offs", x)),)
            for x in CUT_OFFS
        },
    )


def larger_by_a_quarter(part: str, name: str, field: Cell) -> Part:
    """A field against that of the CNN after its first layer."""
    first = Cell("CNN trained", ("seen", 0))
    return Part.of(part, Difference(name, SHARE, field, first, margin=0.25))


STUDY = Study(
    name="receptive-fields",
    claim="C9",
    statement="A ViT has a global receptive field from the first layer; that of a CNN grows "
    "slowly, layer by layer.",
    question="How large is the effective receptive field after the first layer of a ViT and a CNN, "
    "and how does that of the CNN grow?",
    conditions="A ViT (width 32, six blocks, patches of 7 × 7) and a CNN (widths 8, 16, 32, six "
    "convolutions of 3 × 3), untrained and trained on the same MNIST digits; the shipped model "
    "(width 64, six blocks, one set of weights); gradients on 50 unseen digits for each seed.",
    measure="Share of pixels with any gradient, and with 4.55 % of the largest or more (root mean "
    "square over digits and random directions), for the middle unit of each layer.",
    grid=(
        Grid(("ViT untrained", "CNN untrained", "shipped trained"), settings=IMAGES),
        Grid(("ViT trained", "CNN trained"), settings=IMAGES | TRAINING),
    ),
    run=run,
    parts=(
        Part.of(
            "each pixel can change a unit of a ViT's first layer",
            Exact(
                "trained ViTs, first layer: theoretical field",
                SHARE,
                tuple(Cell(x, ("reached", 0)) for x in TRAINED),
                low=1.0,
            ),
        ),
        half_of_image("small ViTs", TRAINED[0]),
        half_of_image("samples of the shipped model", TRAINED[1]),
        larger_by_a_quarter(
            "after the first layer the effective field of a ViT is larger than that of a CNN",
            "first layer: effective field, ViT against CNN",
            Cell("ViT trained", ("seen", 0)),
        ),
        larger_by_a_quarter(
            "the field of a CNN widens layer by layer",
            "CNN: effective field, last layer against first",
            Cell("CNN trained", ("seen", -1)),
        ),
    ),
    panels=layers.FIELD_PANELS,
    summaries=(
        *(Summary(f"By layer: {name}", x) for x, name in layers.BY_LAYER.items()),
        Summary(
            "First layer: share of the effective field in the unit's own patch, and largest "
            "relative gradient elsewhere",
            lambda values: layers.own_patch(values["first_field"], patch_size=7),
            conditions=TRAINED,
        ),
    ),
    **notes("C9"),
)
