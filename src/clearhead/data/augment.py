"""Batched augmentation: each image moved and bent a little, all of them in one resampling.

An affine map (rotation, scale, shear, shift) and an elastic field (Simard et al. 2003, "Best
Practices for Convolutional Neural Networks", section 2) give the place that every output pixel is
read from. The random numbers of a batch are drawn first, on the CPU, for the whole batch: so the
same seed gives the same images on any device and for any split of the batch over processes.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clearhead.data.config import AugmentConfig


@dataclass(frozen=True)
class Distortion:
    """The random numbers of one batch: what `distort` does to each of its images."""

    affine: Float[Tensor, "batch 2 3"]
    elastic: Float[Tensor, "batch 2 knots knots"] | None

    def part(self, start: int, stop: int) -> "Distortion":
        """The same for a slice of the batch."""
        elastic = None if self.elastic is None else self.elastic[start:stop]
        return Distortion(self.affine[start:stop], elastic)


def draw_distortion(
    config: AugmentConfig, batch: int, size: tuple[int, int], generator: torch.Generator
) -> Distortion:
    """Random numbers for `batch` images of `size` (height, width) pixels."""

    def uniform(limit: float) -> Tensor:
        return (torch.rand(batch, generator=generator) * 2 - 1) * limit

    angle, shear = uniform(math.radians(config.rotate)), uniform(math.radians(config.shear))
    stretch_x, stretch_y = 1 + uniform(config.scale), 1 + uniform(config.scale)
    shift_x, shift_y = (uniform(config.shift) * 2 / side for side in (size[1], size[0]))
    cos, sin = angle.cos(), angle.sin()
    tall = size[0] / size[1]  # both axes of the map run from -1 to 1, whatever their pixels
    rows = [
        torch.stack([cos / stretch_x, (shear.tan() * cos - sin) / stretch_y * tall, shift_x], 1),
        torch.stack([sin / stretch_x / tall, (shear.tan() * sin + cos) / stretch_y, shift_y], 1),
    ]
    elastic = None
    if config.elastic > 0:
        knots = config.elastic_knots
        elastic = torch.randn(batch, 2, knots, knots, generator=generator) * config.elastic
        elastic = elastic * 2 / torch.tensor([size[1], size[0]]).view(1, 2, 1, 1)
    return Distortion(torch.stack(rows, dim=1), elastic)


def distort(
    images: Float[Tensor, "batch channels height width"], distortion: Distortion
) -> Float[Tensor, "batch channels height width"]:
    """Resample the images; what comes from outside is 0, which is the paper of a digit."""
    if not len(images):  # a process may have no part in the last batch
        return images
    grid = F.affine_grid(
        distortion.affine.to(images.device, images.dtype), list(images.shape), align_corners=False
    )
    if distortion.elastic is not None:
        bend = F.interpolate(
            distortion.elastic.to(images.device, images.dtype),
            size=images.shape[-2:],
            mode="bicubic",
            align_corners=True,
        )
        grid = grid + bend.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, align_corners=False)
