"""Where in the picture a unit of a layer looks: the gradients of the unit by the pixels."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.models.baselines import ConvNet
from clearhead.models.vit import VisionTransformer

# A pixel counts as seen from this share of the largest gradient on (Luo et al. 2016, section 4).
SEEN = 1 - 0.9545

DIRECTIONS = 4  # random ones, in which a unit of many channels is looked at

Field = Float[Tensor, "height width"]


def layer_fields(
    model: VisionTransformer | ConvNet,
    images: Float[Tensor, "batch channels height width"],
    generator: torch.Generator,
) -> tuple[Field, ...]:
    """For each layer the field of its unit in the middle: a patch's token, or one place's channels.

    The root mean square gradient, over images and random directions in the unit's channels (Luo et
    al. 2016, "Understanding the Effective Receptive Field", arXiv 1701.04128).
    """
    total = [torch.zeros(images.shape[-2:]) for _ in range(layer_count(model))]
    pixels = images.clone().requires_grad_()
    units = list(_middle_units(model, pixels))
    for place, unit in enumerate(units):
        for _ in range(DIRECTIONS):
            direction = torch.randn(unit.shape, generator=generator)
            gradient = torch.autograd.grad((unit * direction).sum(), pixels, retain_graph=True)[0]
            total[place] += gradient.square().sum(dim=1).mean(dim=0)
    return tuple((squares / DIRECTIONS).sqrt() for squares in total)


def layer_count(model: VisionTransformer | ConvNet) -> int:
    """Blocks of a Transformer; convolutions of a CNN."""
    if isinstance(model, VisionTransformer):
        return len(model.blocks)
    return sum(isinstance(module, nn.Conv2d) for module in model.modules())


def layer_tokens(model: VisionTransformer, images: Tensor) -> Iterator[Tensor]:
    """The tokens as each block leaves them."""
    x = model.embedded(images)
    for block in model.blocks:
        x = block(x)
        yield x


def reached_share(field: Field) -> float:
    """Of all pixels, those that move the unit at all: the theoretical receptive field."""
    return float((field > 0).double().mean())


def seen_share(field: Field) -> float:
    """Of all pixels, those whose gradient is 4.55 % of the largest or more: the effective one."""
    return float((field >= SEEN * field.max()).double().mean())


def own_patch_share(field: Field, rows: slice, columns: slice) -> float:
    """Of the squared gradients, those within a patch."""
    squares = field.double().square()
    return float(squares[rows, columns].sum() / squares.sum())


def _middle_units(model: VisionTransformer | ConvNet, pixels: Tensor) -> Iterator[Tensor]:
    if isinstance(model, VisionTransformer):
        rows, columns = model.grid
        middle = model.num_prefix_tokens + rows // 2 * columns + columns // 2
        yield from (tokens[:, middle] for tokens in layer_tokens(model, pixels))
        return
    for x in _activations(model, pixels):
        yield x[:, :, x.shape[2] // 2, x.shape[3] // 2]


def _activations(model: ConvNet, x: Tensor) -> Iterator[Tensor]:
    """After every convolution's ReLU."""
    for place, stage in enumerate(model.stages):
        x = model.pool(x) if place else x
        for module in stage:  # type: ignore[attr-defined]
            x = module(x)
            if isinstance(module, nn.ReLU):
                yield x
