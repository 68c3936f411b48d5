"""C13: higher layers combine global clues: attention or information spreads with depth.

Three meanings of "spreads": attention, by its mean distance (Raghu et al. 2021 find it grow in
large ViTs); pixels, by the effective receptive field of a patch's token (Luo et al. 2016); clues,
by the accuracy of the model's own norm and head on a single patch's token after each layer, as in
the logit lens (nostalgebraist 2020). The lens says least of the three: the head was trained for the
last layer, so that accuracy is nearly certain to rise with depth. Fields include the residual path.
Nothing follows for deeper and larger models.

Cost: quick 60, full about 620 seconds of one core, on two busy ones.
"""

import statistics
from typing import cast

from clearhead.data import normalize
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies import Cell, Curves, Difference, Grid, Part, PerBudget, Study, Summary
from clearhead.studies.measures.classifiers import classifier_of, inputs_of, unseen_digits
from clearhead.studies.measures.layers import (
    attention_distances,
    effective_share,
    layer_fields,
    lens_accuracies,
)
from clearhead.studies.table import Trial, Values

CONFIG = ViTConfig(embed_dim=32, depth=6)
HALF = CONFIG.depth // 2
IMAGES = {"images": 50, "unseen": 1_000}
TRAINING = {"digits": PerBudget(quick=5_000, full=9_000), "epochs": PerBudget(quick=2, full=3)}
DISTANCE = "mean attention distance (patches)"
FARTHER = 0.1  # patches
WIDER = 0.05  # of the image
MORE_ACCURATE = 0.05


def run(trial: Trial) -> Values:
    """All measures, layer by layer."""
    model = cast("VisionTransformer", classifier_of(trial, CONFIG))
    images = inputs_of(trial, model)
    unseen = unseen_digits(trial.settings["unseen"], trial.seed)
    single, pooled = lens_accuracies(model, normalize(unseen.images, model.config), unseen.labels)
    fields = layer_fields(model, images, trial.seed)
    return {
        "distance": attention_distances(model, images),
        "seen": [effective_share(field) for field in fields],
        "single": single,
        "pooled": pooled,
    }


def compared(measure: str, name: str, unit: str, margin: float) -> Part:
    """Mean over the upper half of the layers against the lower half, in trained classifiers."""
    hypothesis = Difference(
        name=f"{name}, upper three layers against lower three",
        unit=unit,
        first=Cell("trained", lambda values: statistics.fmean(values[measure][HALF:])),
        second=Cell("trained", lambda values: statistics.fmean(values[measure][:HALF])),
        margin=margin,
    )
    return Part(f"{name} grows with depth", (hypothesis,))


STUDY = Study(
    name="depth",
    claim="C13",
    statement="Higher layers combine global clues: attention or information spreads with depth.",
    question="Do attention distance, receptive field and decodable digits grow from the lower "
    "to the upper layers?",
    conditions="Classifiers (width 32, six layers) trained on MNIST, one for each seed; beside "
    "them untrained ones and the shipped model; unseen digits.",
    measure="By layer: mean attention distance in patches; share of pixels with 4.55 % of the "
    "largest gradient or more, the residual path included; accuracy of the head on single tokens.",
    seeds={"quick": 3, "full": 12},
    grid=(
        Grid(conditions=("trained",), settings=IMAGES | TRAINING),
        Grid(conditions=("untrained", "shipped"), settings=IMAGES),
    ),
    run=run,
    parts=(
        compared("distance", "mean attention distance", "patches", FARTHER),
        compared("seen", "effective receptive field of a patch's token", "share", WIDER),
        compared("single", "accuracy from one patch's token", "share", MORE_ACCURATE),
    ),
    panels=(
        Curves(measure="distance", ylim=(0, None), xlabel="layer", ylabel=DISTANCE),
        Curves(measure="seen", scale=100, xlabel="layer", ylabel="effective field (% of image)"),
        Curves(
            measure="single",
            scale=100,
            xlabel="layer",
            ylabel="accuracy of the head on one patch's token (%)",
            lines={10: "chance"},
        ),
    ),
    summaries=(
        Summary(name=f"By layer: {DISTANCE}", measure="distance"),
        Summary(name="By layer: effective field (share of the image)", measure="seen"),
        Summary(name="By layer: accuracy from one patch's token", measure="single"),
        Summary(name="By layer: accuracy from all tokens", measure="pooled"),
    ),
    limits=("A layer may hold more information than the last layer's head can decode.",),
    labels={"trained": "small classifiers", "shipped": "shipped model"},
    references=(
        "Raghu et al. 2021, Do Vision Transformers See Like Convolutional Neural Networks?, "
        "arXiv 2108.08810",
        "Luo et al. 2016, Understanding the Effective Receptive Field, arXiv 1701.04128",
    ),
)
