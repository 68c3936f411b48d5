"""What changes from layer to layer: receptive fields, attention distances, decodable classes."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.data import ImageDataset, normalize
from clearhead.insight import Grid, measure_heads
from clearhead.insight.tokens import coordinates
from clearhead.models import TextTransformer
from clearhead.models.baselines import ConvNet
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.studies import Cell, Curves, Image, Measure, Summary, Trial, Values
from clearhead.studies.measures import classifiers, tasks
from clearhead.studies.measures.classifiers import classifier_of, inputs_of, recorded
from clearhead.studies.measures.tasks import COMMON, FIRST_QUERY, NUM_WORDS, RECALL, RecallTexts
from clearhead.studies.measures.trainings import floor_of, images_of, model_of, unseen_of

# Pixels belong to the effective field from this share of the largest gradient on (Luo et al. 2016,
# section 4).
EFFECTIVE = 1 - 0.9545
CUT_OFFS = {"1 %": 0.01, "20 %": 0.2}
"""Other shares of the largest gradient from which a pixel counts as seen"""
NUM_DIRECTIONS = 4  # random ones, along which a unit of many channels is differentiated

RIDGE = 1e-3  # of the probes, relative to the number of examples
PROBED = 1_000  # images that a probe is fitted on

VIT, CNN = ViTConfig(embed_dim=32, depth=6), CNNConfig(widths=(8, 16, 32))

Field = Float[Tensor, "height width"]


def layer_fields(
    model: ImageModel, images: Float[Tensor, "images channels height width"], seed: int
) -> tuple[Field, ...]:
    """For each layer of a ViT or CNN, gradients of its middle unit with respect to the pixels.

    The unit is the token of a patch, or all channels of a place. Root mean square over images and
    random directions in the unit's channels (Luo et al. 2016, "Understanding the Effective
    Receptive Field", arXiv 1701.04128).
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = images.clone().requires_grad_()
    fields = []
    for unit in [_middle_unit(model, x) for x in layer_outputs(model, pixels)]:
        squares = torch.zeros(images.shape[-2:])
        for _ in range(NUM_DIRECTIONS):
            direction = torch.randn(unit.shape, generator=generator)
            gradient = torch.autograd.grad((unit * direction).sum(), pixels, retain_graph=True)[0]
            squares += gradient.square().sum(dim=1).mean(dim=0)
        fields.append((squares / NUM_DIRECTIONS).sqrt())
    return tuple(fields)


def spread_by_layer(
    model: ImageModel,
    images: Float[Tensor, "images channels height width"],
    fields: Sequence[Field],
) -> dict[str, list[float]]:
    """By layer, `seen`: the effective share of each field; of a ViT also distances and hubs."""
    found = {"seen": [effective_share(field) for field in fields]}
    if isinstance(model, VisionTransformer):
        distances = measure_heads(model, images)["distance"].mean.mean(dim=1)
        hubs = [hub_share(record.weights) for record in recorded(model, images).records]
        found |= {"distance": distances.tolist(), "hubs": hubs}
    return found


def layers_of_model(trial: Trial, **changes: Any) -> Values:
    """`floor_of` a task, and `spread_by_layer` and `probe_accuracies` of its model, changed."""
    model = model_of(trial, **changes)
    images = normalize(images_of(trial, trial.settings["images"]).images, model.config)
    fields = layer_fields(model, images, trial.seed)
    probes = probe_accuracies(model, images_of(trial, PROBED, "train"), unseen_of(trial))
    return floor_of(trial) | spread_by_layer(model, images, fields) | probes


def layers_by_depth(trial: Trial) -> Values:
    """`layers_of_model` by depth."""
    return {str(x): layers_of_model(trial, depth=x) for x in trial.settings["depths"]}


def probes_of_recall(trial: Trial) -> Values:
    """The values of `floor_of` and of `probe_accuracies`, on recall."""
    texts = (tasks.recall_texts(x, trial.settings["unseen"], trial.seed) for x in ("train", "test"))
    return floor_of(trial) | probe_accuracies(model_of(trial), *texts)


def fields_of_classifier(trial: Trial) -> Values:
    """Theoretical field, effective field and attention distance by layer; the first field."""
    config = CNN if trial.condition.startswith("CNN") else VIT
    model = classifier_of(trial, config)
    images = inputs_of(trial, model)
    unseen = classifiers.unseen_digits(trial.settings["unseen"], trial.seed)
    fields = layer_fields(model, images, trial.seed)
    relative = fields[0] / fields[0].max()
    return {
        "reached": [theoretical_share(field) for field in fields],
        "cut_offs": {name: effective_share(fields[0], share) for name, share in CUT_OFFS.items()},
        "first_field": [[round(x, 3) for x in row] for row in relative.tolist()],
        "accuracy": classifiers.accuracy_on(model, unseen) / 100,
        **spread_by_layer(model, images, fields),
    }


def theoretical_share(field: Field) -> float:
    """Share of the pixels with any gradient."""
    return float((field > 0).double().mean())


def effective_share(field: Field, cut_off: float = EFFECTIVE) -> float:
    """Share of the pixels with this share of the largest gradient or more."""
    return float((field >= cut_off * field.max()).double().mean())


def own_patch(values: Values, patch_size: int = 7) -> tuple[float, float]:
    """Share of the first field in the middle patch; largest relative gradient elsewhere."""
    relative = torch.tensor(values["first_field"])
    row, column = (side // patch_size // 2 * patch_size for side in relative.shape)
    own = torch.zeros_like(relative, dtype=torch.bool)
    own[row : row + patch_size, column : column + patch_size] = True
    effective = relative >= EFFECTIVE
    return float((effective & own).sum() / effective.sum()), float(relative[~own].max())


def hub_share(weights: Float[Tensor, "batch heads queries keys"]) -> float:
    """The share of queries whose largest weight is on the most common such key.

    Mean over images and heads; 1 means that all queries attend most to one key, a hub or sink.
    """
    attended = F.one_hot(weights.argmax(dim=-1), weights.shape[-1]).double()
    return float(attended.mean(dim=-2).amax(dim=-1).mean())


def probe_accuracies(
    model: VisionTransformer | TextTransformer,
    training: ImageDataset | RecallTexts,
    unseen: ImageDataset | RecallTexts,
) -> dict[str, list[float]]:
    """`single`: accuracy (per cent) of linear probes on single tokens, after each layer.

    They predict the class of an image from each patch token, or in recall the answer from each
    query token. In each layer, one probe for all tokens is fitted on `training`.
    """
    (states, known), (others, expected) = (_labelled_tokens(model, x) for x in (training, unseen))
    pairs = zip(states, others, strict=True)
    return {"single": [ridge_accuracy(x, known, y, expected) for x, y in pairs]}


@torch.no_grad()
def _labelled_tokens(
    model: VisionTransformer | TextTransformer, examples: ImageDataset | RecallTexts
) -> tuple[list[Float[Tensor, "n dims"]], Int[Tensor, " n"]]:
    """The tokens after each layer that have a label, and the labels."""
    if isinstance(examples, RecallTexts):
        labels = examples.answers.flatten() - NUM_WORDS
        layers = [x[:, FIRST_QUERY:] for x in layer_outputs(model, examples.ids)]
    else:
        vit = cast("VisionTransformer", model)
        labels, images = examples.labels, normalize(examples.images, vit.config)
        layers = [x[:, vit.num_prefix_tokens :] for x in layer_outputs(vit, images)]
    states = [x.double().flatten(0, 1) for x in layers]
    return states, labels.repeat_interleave(len(states[0]) // len(labels))


def ridge_accuracy(
    x: Float[Tensor, "n dims"],
    labels: Int[Tensor, " n"],
    unseen: Float[Tensor, "m dims"],
    expected: Int[Tensor, " m"],
) -> float:
    """Accuracy, in per cent, of a ridge regression on the classes, with standardised inputs."""
    mean, deviation = x.mean(dim=0), x.std(dim=0).clamp_min(1e-9)
    x, unseen = ((part - mean) / deviation for part in (x, unseen))
    targets = F.one_hot(labels).double()
    centre = targets.mean(dim=0)
    penalty = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(x.T @ x + penalty, x.T @ (targets - centre))
    predicted = (unseen @ weights + centre).argmax(dim=1)
    return 100 * float((predicted == expected).double().mean())


def layer_outputs(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """The tokens after each block; of a CNN the channels after the ReLU of each convolution."""
    outputs: list[Tensor] = []
    layers = [x for x in model.modules() if isinstance(x, nn.ReLU)]
    if not isinstance(model, ConvNet):
        layers = list(cast("Any", model).blocks)
    handles = [x.register_forward_hook(lambda *call: outputs.append(call[2])) for x in layers]
    try:
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _middle_unit(model: ImageModel, output: Tensor) -> Tensor:
    """Of a layer: the token of a patch, or all channels of a place."""
    if isinstance(model, VisionTransformer):
        rows, columns = model.grid
        return output[:, model.num_prefix_tokens + rows // 2 * columns + columns // 2]
    return output[:, :, output.shape[2] // 2, output.shape[3] // 2]


_PATCHES = coordinates(Grid(4, 4))
_DISTANCES = torch.cdist(_PATCHES, _PATCHES)
DISTANCE_LINES = {
    float(_DISTANCES.mean()): "uniform weights",
    float(_DISTANCES.amax(dim=1).mean()): "farthest patch",
}
"""Of the attention distance on 4 × 4 patches"""


def by_layer(measure: Measure, ylabel: str, lines: dict[float, str] | None = None) -> Curves:
    """Curves of a measure over the layers; the y-axis begins at 0."""
    return Curves(measure, ylabel, "layer", ylim=(0, None), lines=lines or {})


DISTANCE, HUBS, SEEN = (
    "mean attention distance (patches)",
    "queries that attend most to one key (share)",
    "effective field (share of the image)",
)
FIELD_PANELS = (
    Curves("seen", "effective field (% of image)", "layer", scale=100),
    Curves("reached", "theoretical field (% of image)", "layer", scale=100),
    by_layer("distance", DISTANCE, DISTANCE_LINES),
    Image(Cell("ViT trained", "first_field"), "ViT, first layer: gradients"),
    Image(Cell("CNN trained", "first_field"), "CNN, first layer: gradients"),
)
FIELD_SUMMARIES = (
    Summary(f"By layer: {SEEN}", "seen"),
    Summary(f"By layer: {DISTANCE}", "distance"),
    Summary(f"By layer: {HUBS}", "hubs"),
    Summary(
        "First layer: share of the effective field in the unit's own patch, and largest "
        "relative gradient elsewhere",
        own_patch,
        conditions=("ViT trained", "shipped trained"),
    ),
)
DEPTH_PANELS = (  # of the models of six layers
    by_layer(("6", "distance"), DISTANCE, DISTANCE_LINES),
    by_layer(("6", "hubs"), HUBS),
    by_layer(("6", "seen"), SEEN),
    by_layer(("6", "single"), "accuracy of a probe on one patch's token (%)", {10: "chance"}),
)
DEPTH_SUMMARIES = tuple(
    Summary(f"By layer, {condition}: {name}", measure, conditions=(condition,))
    for condition in (COMMON, RECALL, "shipped")
    for measure, name in (
        ("distance", "mean attention distance (patches)"),
        ("hubs", "share of queries that attend most to the same key"),
        ("single", "accuracy of a probe on one token (%)"),
    )
)
