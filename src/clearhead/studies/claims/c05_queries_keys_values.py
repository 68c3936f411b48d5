"""C5: values take no part in the weights; keys are the same for all queries, each with own weights.

All three follow from softmax(Q Kᵀ / √d_k) and are checked by changing one thing and measuring what
else changes: in random tensors, and in trained models by changing the output of one layer's `qkv`.
Two things are easily read into the words and are no part of them; both are measured. Values of one
layer do change the weights of the layers above. And the rows of two queries may be alike.
"""

from typing import cast

from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies import Cell, Exact, Grid, Part, PerBudget, Study, Summary, Trial, Values
from clearhead.studies.claims import notes
from clearhead.studies.measures import changes
from clearhead.studies.measures.classifiers import classifier_of, inputs_of

CONFIG = ViTConfig(embed_dim=32, depth=4)
IMAGES = {"images": 100}
TRAINING = {"digits": PerBudget(quick=4_000, full=9_000), "epochs": 2}

# Far above rounding. Only for random tensors: in a trained head keys may be so alike, or a row so
# sharp, that another query leaves it unchanged.
CHANGED = 1e-9
LARGEST, SHARE = "largest change", "share"


def run(trial: Trial) -> Values:
    """What else changes when values, one query or one key are replaced."""
    if trial.condition == "random":
        return changes.changes_in_random_tensors(trial.settings["draws"], trial.seed)
    model = cast("VisionTransformer", classifier_of(trial, CONFIG)).double()
    return changes.changes_in_model(model, inputs_of(trial, model).double(), trial.seed)


def unchanged(name: str, measure: str, unit: str, high: float = changes.ROUNDING) -> Exact:
    """A change that must not exceed rounding, in all conditions."""
    cells = tuple(Cell(condition, measure) for condition in ("random", "shipped", "trained"))
    return Exact(name, unit, cells, high=high)


STUDY = Study(
    name="queries-keys-values",
    claim="C5",
    statement="Values take no part in the weights; a key is the same for every query; each query "
    "has its own weights.",
    question="What changes in the weights when values, one key or one query are replaced?",
    conditions="Random tensors of random sizes; every layer of the shipped model and of small "
    "classifiers (width 32, four layers) trained on MNIST, changed in a forward pass.",
    measure="Largest change of weights or scores where none may be, smallest where one must be.",
    seeds={"quick": 2, "full": 8},
    grid=(
        Grid(("random",), settings={"draws": 50}),
        Grid(("shipped",), settings=IMAGES),
        Grid(("trained",), settings=IMAGES | TRAINING),
    ),
    run=run,
    parts=(
        Part.of(
            "values take no part in the weights",
            unchanged(f"other values: {LARGEST} of a weight of that layer", "values", SHARE, 0.0),
        ),
        Part.of(
            "a key is the same for every query, and each query has its own weights",
            unchanged(
                f"another key: {LARGEST} of a score with any other key", "other_columns", "1"
            ),
            unchanged(
                f"another query: {LARGEST} in the weights of any other query", "other_rows", SHARE
            ),
            Exact(
                "random tensors, another query or key: smallest change of what is its own",
                "1",
                (Cell("random", lambda values: min(values["own_row"], values["own_column"])),),
                low=CHANGED,
            ),
        ),
    ),
    panels=changes.PANELS,
    summaries=(
        Summary("Weights of the layers above when values change", "weights_above"),
        Summary("Distance between rows of two queries, by layer", changes.apart_by_layer),
    ),
    labels={"random": "random tensors", "shipped": "shipped model", "trained": "small classifiers"},
    **notes("C5"),
)
