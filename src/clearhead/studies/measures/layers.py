"""What changes from layer to layer: receptive fields, attention distances, decodable classes."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead.errors import ConfigError
from clearhead.insight import measure_heads
from clearhead.models.baselines import ConvNet
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer

# Pixels belong to the effective field from this share of the largest gradient on (Luo et al. 2016,
# section 4).
EFFECTIVE = 1 - 0.9545

NUM_DIRECTIONS = 4  # random ones, along which a unit of many channels is differentiated

Field = Float[Tensor, "height width"]


def layer_fields(
    model: ImageModel, images: Float[Tensor, "images channels height width"], seed: int
) -> tuple[Field, ...]:
    """For each layer, gradients of its middle unit with respect to the pixels.

    The unit is the token of a patch, or all channels of a place. Root mean square over images and
    random directions in the unit's channels (Luo et al. 2016, "Understanding the Effective
    Receptive Field", arXiv 1701.04128).

    Raises:
        ConfigError: the model is neither a ViT nor a CNN
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


def theoretical_share(field: Field) -> float:
    """Share of the pixels with any gradient."""
    return float((field > 0).double().mean())


def effective_share(field: Field) -> float:
    """Share of the pixels with 4.55 % of the largest gradient or more."""
    return float((field >= EFFECTIVE * field.max()).double().mean())


def relative_gradients(field: Field) -> list[list[float]]:
    """A field divided by its maximum, to three digits."""
    return [[round(x, 3) for x in row] for row in (field / field.max()).tolist()]


def own_patch(gradients: Sequence[Sequence[float]], patch_size: int) -> tuple[float, float]:
    """Share of the effective field in the middle patch; largest relative gradient elsewhere."""
    relative = torch.tensor(gradients)
    row, column = (side // patch_size // 2 * patch_size for side in relative.shape)
    own = torch.zeros_like(relative, dtype=torch.bool)
    own[row : row + patch_size, column : column + patch_size] = True
    effective = relative >= EFFECTIVE
    return float((effective & own).sum() / effective.sum()), float(relative[~own].max())


def attention_distances(model: ImageModel, images: Tensor) -> list[float]:
    """Mean attention distance of each layer, in patches."""
    distances: list[float] = measure_heads(model, images)["distance"].mean.mean(dim=1).tolist()
    return distances


def uniform_distance(rows: int, columns: int) -> float:
    """Attention distance of uniform weights on a grid of patches, in patches."""
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double()
    return float(torch.cdist(places, places).mean())


def lens_accuracies(
    model: VisionTransformer,
    images: Float[Tensor, "images channels height width"],
    labels: Int[Tensor, " images"],
) -> tuple[list[float], list[float]]:
    """After each layer, accuracy of the model's head on single tokens, and on pooled tokens.

    As in the logit lens (nostalgebraist 2020); the first is a mean over patches.
    """
    single, pooled = [], []
    with torch.no_grad():
        for tokens in layer_tokens(model, images):
            normed = model.norm(tokens)
            patches = model.head(normed[:, model.num_prefix_tokens :]).argmax(dim=-1)
            single.append(float((patches == labels[:, None]).double().mean()))
            predicted = model.head(model.pooled(normed)).argmax(dim=-1)
            pooled.append(float((predicted == labels).double().mean()))
    return single, pooled


def layer_tokens(model: VisionTransformer, images: Tensor) -> Iterator[Tensor]:
    """The tokens after each block."""
    x = model.embedded(images)
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
