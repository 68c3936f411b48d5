"""What changes from layer to layer: receptive fields, attention distances, decodable classes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.data import ImageDataset, normalize
from clearhead.errors import ConfigError
from clearhead.insight import measure_heads
from clearhead.models.baselines import ConvNet
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.pretrained import ImageModel
from clearhead.models.text import TextTransformer
from clearhead.models.vit import VisionTransformer
from clearhead.studies._panels import Curves, Image
from clearhead.studies.measures.classifiers import (
    accuracy_on,
    classifier_of,
    inputs_of,
    recorded,
    unseen_digits,
)
from clearhead.studies.measures.tasks import FIRST_QUERY, NUM_WORDS, RecallTexts, recall_texts
from clearhead.studies.measures.trainings import floor_of, images_of, model_of, unseen_of
from clearhead.studies.table import Cell, Measure, Trial, Values

# Pixels belong to the effective field from this share of the largest gradient on (Luo et al. 2016,
# section 4).
EFFECTIVE = 1 - 0.9545

BY_LAYER = {
    "seen": "effective field (share of the image)",
    "distance": "mean attention distance (patches)",
    "hubs": "queries that attend most to one key (share)",
}
NUM_DIRECTIONS = 4  # random ones, along which a unit of many channels is differentiated

RIDGE = 1e-3  # of the probes, relative to the number of examples
PROBED = 1_000  # images that a probe is fitted on

VIT, CNN = ViTConfig(embed_dim=32, depth=6), CNNConfig(widths=(8, 16, 32))
CUT_OFFS = {"1 %": 0.01, "20 %": 0.2}
"""Other shares of the largest gradient from which a pixel counts as seen"""

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
    for unit in list(_middle_units(model, pixels)):
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
    fields: Iterable[Field],
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
    """`floor_of` recall, and `recall_probes`."""
    texts = (recall_texts(x, trial.settings["unseen"], trial.seed) for x in ("train", "test"))
    return floor_of(trial) | recall_probes(model_of(trial), *texts)


def fields_of_classifier(trial: Trial) -> Values:
    """Theoretical field, effective field and attention distance by layer; the first field."""
    config = CNN if trial.condition.startswith("CNN") else VIT
    model = classifier_of(trial, config)
    images = inputs_of(trial, model)
    fields = layer_fields(model, images, trial.seed)
    relative = fields[0] / fields[0].max()
    return {
        "reached": [theoretical_share(field) for field in fields],
        "cut_offs": {name: effective_share(fields[0], share) for name, share in CUT_OFFS.items()},
        "first_field": [[round(x, 3) for x in row] for row in relative.tolist()],
        "accuracy": accuracy_on(model, unseen_digits(trial.settings["unseen"], trial.seed)) / 100,
        **spread_by_layer(model, images, fields),
    }


def panels_by_layer(size: str, **options: Any) -> tuple[Curves, ...]:
    """What was found in the model of a size, by layer."""
    kinds = {x: BY_LAYER[x] for x in ("hubs", "seen")}
    kinds["single"] = "accuracy of a probe on one patch's token (%)"
    return (
        distance_panel((size, "distance"), **options),
        *(
            Curves(
                measure=(size, measure),
                xlabel="layer",
                ylabel=ylabel,
                ylim=(0, None),
                lines={10: "chance"} if measure == "single" else {},
                **options,
            )
            for measure, ylabel in kinds.items()
        ),
    )


def distance_panel(measure: Measure = "distance", **options: Any) -> Curves:
    """Attention distance by layer, on 4 × 4 patches, beside that of uniform weights."""
    distances = grid_distances(4, 4)
    return Curves(
        measure=measure,
        ylim=(0, None),
        xlabel="layer",
        ylabel=BY_LAYER["distance"],
        lines={
            float(distances.mean()): "uniform weights",
            float(distances.amax(dim=1).mean()): "farthest patch",
        },
        **options,
    )


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


def grid_distances(rows: int, columns: int, p: float = 2.0) -> Float[Tensor, "patches patches"]:
    """Distances between the patches of a grid, Euclidean by default.

    Their mean is the attention distance of uniform weights; the mean of the largest in each row is
    the largest attention distance that there can be.
    """
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double()
    return torch.cdist(places, places, p=p)


def hub_share(weights: Float[Tensor, "batch heads queries keys"]) -> float:
    """The share of queries whose largest weight is on the most common such key.

    Mean over images and heads; 1 means that all queries attend most to one key, a hub or sink.
    """
    attended = F.one_hot(weights.argmax(dim=-1), weights.shape[-1]).double()
    return float(attended.mean(dim=-2).amax(dim=-1).mean())


def probe_accuracies(
    model: VisionTransformer, training: ImageDataset, unseen: ImageDataset
) -> dict[str, list[float]]:
    """`single`: accuracy (per cent) of linear probes for the class, on the patches' tokens.

    One probe for all patches is fitted on `training` after each layer.
    """
    states = []
    for dataset in (training, unseen):
        with torch.no_grad():
            tokens = layer_tokens(model, normalize(dataset.images, model.config))
            states.append([x[:, model.num_prefix_tokens :].double() for x in tokens])
    patches = states[0][0].shape[1]
    labels = [x.labels.repeat_interleave(patches) for x in (training, unseen)]
    return {"single": _probed(states, labels)}


def recall_probes(
    model: TextTransformer, training: RecallTexts, unseen: RecallTexts
) -> dict[str, list[float]]:
    """`single`: accuracy (per cent) of linear probes for the values, on the queries' tokens."""
    states = []
    for texts in (training, unseen):
        with torch.no_grad():
            states.append([x[:, FIRST_QUERY:].double() for x in layer_tokens(model, texts.ids)])
    labels = [x.answers.flatten() - NUM_WORDS for x in (training, unseen)]
    return {"single": _probed(states, labels)}


def _probed(states: Sequence[Sequence[Tensor]], labels: Sequence[Tensor]) -> list[float]:
    """The accuracy at each layer, fitted on the first tokens and labels, measured on the second."""
    known, expected = labels
    return [
        ridge_accuracy(train.flatten(0, 1), known, test.flatten(0, 1), expected)
        for train, test in zip(*states, strict=True)
    ]


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


def layer_tokens(model: VisionTransformer | TextTransformer, inputs: Tensor) -> Iterator[Tensor]:
    """The tokens after each block."""
    x = model.embedded(inputs)
    for block in model.blocks:
        x = block(x)
        yield x


def _middle_units(model: ImageModel, pixels: Tensor) -> Iterator[Tensor]:
    if isinstance(model, VisionTransformer):
        rows, columns = model.grid
        middle = model.num_prefix_tokens + rows // 2 * columns + columns // 2
        yield from (tokens[:, middle] for tokens in layer_tokens(model, pixels))
        return
    if not isinstance(model, ConvNet):
        raise ConfigError(f"expected a ViT or a CNN, got {type(model).__name__}")
    for x in _activations(model, pixels):
        yield x[:, :, x.shape[2] // 2, x.shape[3] // 2]


def _activations(model: ConvNet, x: Tensor) -> Iterator[Tensor]:
    """After the ReLU of each convolution."""
    for place, stage in enumerate(model.stages):
        x = model.pool(x) if place else x
        for module in stage:  # type: ignore[attr-defined]
            x = module(x)
            if isinstance(module, nn.ReLU):
                yield x


FIELD_PANELS: tuple[Curves | Image, ...] = (
    *(
        Curves(measure=x, scale=100, xlabel="layer", ylabel=f"{kind} field (% of image)")
        for x, kind in (("seen", "effective"), ("reached", "theoretical"))
    ),
    distance_panel(),
    *(
        Image(cell=Cell(f"{x} trained", "first_field"), title=f"{x}, first layer: gradients")
        for x in ("ViT", "CNN")
    ),
)
