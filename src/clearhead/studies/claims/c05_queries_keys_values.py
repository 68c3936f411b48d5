"""C5: values take no part in the weights; keys are the same for all queries, each with own weights.

All three follow from softmax(Q Kᵀ / √d_k) and are checked by changing one thing and measuring what
else changes: in random tensors, and in trained models by changing the output of one layer's `qkv`.
Two things are easily read into the words and are no part of them; both are measured. Values of one
layer do change the weights of the layers above. And the rows of two queries may be alike.

Cost: quick 45, full about 280 seconds of one core, on two busy ones.
"""

from typing import cast

from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies import (
    Cell,
    Curves,
    Exact,
    Grid,
    Part,
    PerBudget,
    Study,
    Summary,
    Trial,
    Values,
)
from clearhead.studies._literature import literature
from clearhead.studies.measures.changes import (
    REDUCTIONS,
    changes_in_model,
    changes_in_random_tensors,
)
from clearhead.studies.measures.classifiers import classifier_of, inputs_of

CONFIG = ViTConfig(embed_dim=32, depth=4)
IMAGES = {"images": 100}
TRAINING = {"digits": PerBudget(quick=4_000, full=9_000), "epochs": 2}

# In float64; matrix products may round differently when another row of them is changed.
ROUNDING = 1e-12
# Far above rounding. Only for random tensors: in a trained head keys may be so alike, or a row so
# sharp, that another query leaves it unchanged.
CHANGED = 1e-9
DRAWN_AS_ZERO = 1e-18
LARGEST, SHARE = "largest change", "share"
KINDS = ("values", "query: other rows", "query: own row", "key: other columns", "key: own column")


def run(trial: Trial) -> Values:
    """What else changes when values, one query or one key are replaced."""
    if trial.condition == "random":
        return changes_in_random_tensors(trial.settings["draws"], trial.seed)
    model = cast("VisionTransformer", classifier_of(trial, CONFIG)).double()
    return changes_in_model(model, inputs_of(trial, model).double(), trial.seed)


def unchanged(name: str, measure: str, unit: str, high: float = ROUNDING) -> Exact:
    """A change that must not exceed rounding, in all conditions."""
    cells = tuple(Cell(condition, measure) for condition in ("random", "shipped", "trained"))
    return Exact(name=name, unit=unit, cells=cells, high=high)


def drawn_changes(values: Values) -> list[float]:
    """All five changes, on an axis that has no zero."""
    return [max(values[name], DRAWN_AS_ZERO) for name in REDUCTIONS]


def apart_by_layer(values: Values) -> list[float]:
    """Mean over heads of the distance between the rows of two queries."""
    return [sum(heads) / len(heads) for heads in values["rows_apart"]]


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
        Grid(conditions=("random",), settings={"draws": 50}),
        Grid(conditions=("shipped",), settings=IMAGES),
        Grid(conditions=("trained",), settings=IMAGES | TRAINING),
    ),
    run=run,
    parts=(
        Part(
            name="values take no part in the weights",
            hypotheses=(
                unchanged(
                    f"other values: {LARGEST} of a weight of that layer", "values", SHARE, 0.0
                ),
            ),
        ),
        Part(
            name="a key is the same for every query, and each query has its own weights",
            hypotheses=(
                unchanged(
                    f"another key: {LARGEST} of a score with any other key", "other_columns", "1"
                ),
                unchanged(
                    f"another query: {LARGEST} in the weights of any other query",
                    "other_rows",
                    SHARE,
                ),
                Exact(
                    name="random tensors, another query or key: smallest change of what is its own",
                    unit="1",
                    cells=(
                        Cell("random", lambda values: min(values["own_row"], values["own_column"])),
                    ),
                    low=CHANGED,
                ),
            ),
        ),
    ),
    panels=(
        Curves(
            measure=drawn_changes,
            x=KINDS,
            join=False,
            yscale="log",
            xlabel="replaced: what is compared",
            ylabel=f"change ({DRAWN_AS_ZERO:.0e} stands for none)",
            lines={ROUNDING: "rounding"},
        ),
        Curves(
            measure=apart_by_layer,
            ylim=(0, 1),
            xlabel="layer",
            ylabel="two queries of a head: total variation",
            title="0: the same row; 1: nothing in common",
        ),
    ),
    summaries=(
        Summary(name="Weights of the layers above when values change", measure="weights_above"),
        Summary(name="Distance between rows of two queries, by layer", measure=apart_by_layer),
    ),
    limits=("A row of its own need not be a different one: the rows of two queries may be alike.",),
    labels={"random": "random tensors", "shipped": "shipped model", "trained": "small classifiers"},
    **literature("C5"),
)
