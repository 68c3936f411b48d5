"""From image bytes to model input: scaled to [0, 1], distorted at random, normalised.

A distortion is an affine map (rotation, scale, shear, shift) and an elastic field (Simard et al.
2003, "Best Practices for Convolutional Neural Networks", section 2), applied in one resampling;
random pixel styles (`styles`) follow. The random numbers of a batch are drawn first, on the CPU,
for the whole batch: the same seed gives the same images on any device, however a batch is split
over processes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from clearhead.data.config import AugmentConfig
from clearhead.data.styles import Style, apply_style, draw_style
from clearhead.errors import InputError


class Normalization(Protocol):
    """Mean and standard deviation of pixels in [0, 1]: one number, or one for each channel."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Subtracted from the pixels."""

    @property
    def std(self) -> tuple[float, ...]:
        """Divides the result."""


def normalize(
    images: UInt8[Tensor, "batch channels height width"]
    | Float[Tensor, "batch channels height width"],
    config: Normalization,
) -> Float[Tensor, "batch channels height width"]:
    """Model input from images: (x - mean) / std, with x in [0, 1].

    Args:
        images: Bytes, or floats in [0, 1] as `to_float` returns them.
        config: The model's configuration, with `mean` and `std`.

    Returns:
        A new tensor on the device of `images`, float32 where these are bytes.

    Raises:
        InputError: If images have another type or shape, or mean and std do not fit the channels.
    """
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise InputError(
            "expected images (batch, channels, height, width) as bytes (uint8) or floats in "
            f"[0, 1], got {images.dtype} of shape {tuple(images.shape)}"
        )
    mean, std = (_per_channel(numbers, images) for numbers in (config.mean, config.std))
    pixels = to_float(images) if images.dtype == torch.uint8 else images.clone()
    return pixels.sub_(mean).div_(std)


def to_float(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Bytes 0 … 255 as float32 in [0, 1].

    Args:
        images: Pixels from 0 to 255.

    Returns:
        A new tensor of the same shape.
    """
    return images.to(torch.float32).div_(255)


def _per_channel(numbers: tuple[float, ...], images: Tensor) -> Tensor:
    channels = images.shape[1]
    if len(numbers) not in (1, channels):
        raise InputError(
            f"images have {channels} channels, but mean or std has {len(numbers)} numbers; "
            f"give 1 or {channels}"
        )
    return torch.tensor(numbers, dtype=torch.float32, device=images.device).view(1, -1, 1, 1)


@dataclass(frozen=True)
class Distortion:
    """The random numbers of one batch: an affine map for each image, displacements, styles.

    Without elastic distortion, `elastic` has 0 knots.
    """

    affine: Float[Tensor, "batch 2 3"]
    elastic: Float[Tensor, "batch 2 knots knots"]
    style: Style | None = None

    def part(self, start: int, stop: int) -> "Distortion":
        """The distortion of a slice of the batch."""
        style = None if self.style is None else self.style.part(start, stop)
        return Distortion(self.affine[start:stop], self.elastic[start:stop], style)


def draw_distortion(
    config: AugmentConfig, batch: int, size: tuple[int, int], generator: torch.Generator
) -> Distortion:
    """Draw the random numbers of a batch.

    Args:
        config: Limits of each kind of distortion.
        batch: Number of images.
        size: Their height and width, in pixels.
        generator: A generator on the CPU.

    Returns:
        The distortion, on the CPU.
    """

    def uniform(limit: float) -> Tensor:
        return (torch.rand(batch, generator=generator) * 2 - 1) * limit

    angle, shear = uniform(math.radians(config.rotate)), uniform(math.radians(config.shear))
    stretch_x, stretch_y = 1 + uniform(config.scale), 1 + uniform(config.scale)
    shift_x, shift_y = (uniform(config.shift) * 2 / side for side in (size[1], size[0]))
    cos, sin = angle.cos(), angle.sin()
    aspect = size[0] / size[1]  # both axes of the grid run from -1 to 1
    rows = [
        torch.stack([cos / stretch_x, (shear.tan() * cos - sin) / stretch_y * aspect, shift_x], 1),
        torch.stack([sin / stretch_x / aspect, (shear.tan() * sin + cos) / stretch_y, shift_y], 1),
    ]
    knots = config.elastic_knots if config.elastic > 0 else 0
    elastic = torch.randn(batch, 2, knots, knots, generator=generator) * config.elastic
    elastic = elastic * 2 / torch.tensor([size[1], size[0]]).view(1, 2, 1, 1)
    style = draw_style(config.style, batch, size, generator) if config.style > 0 else None
    if config.flip > 0:
        mirrored = torch.rand(batch, generator=generator) < config.flip
        rows[0] = torch.where(mirrored[:, None], -rows[0], rows[0])
    return Distortion(torch.stack(rows, dim=1), elastic, style)


def distort(
    images: Float[Tensor, "batch channels height width"], distortion: Distortion
) -> Float[Tensor, "batch channels height width"]:
    """Resample images bilinearly under a distortion, then change their pixel styles.

    Pixels from outside are 0 (black).

    Args:
        images: Pixels in [0, 1], before normalisation.
        distortion: Random numbers for as many images.

    Returns:
        New images of the same shape, type and device.
    """
    if not len(images):  # a process may have no share of the last batch
        return images
    size, elastic = (images.shape[-2], images.shape[-1]), distortion.elastic
    coefficients = torch.cat([distortion.affine, elastic.flatten(2)], dim=2).to(images)
    grid = coefficients @ _grid_basis(size, elastic.shape[-1]).to(images)
    grid = grid.unflatten(2, size).permute(0, 2, 3, 1)
    images = F.grid_sample(images, grid, align_corners=False)
    return images if distortion.style is None else apply_style(images, distortion.style)


@lru_cache
def _grid_basis(size: tuple[int, int], knots: int) -> Float[Tensor, "coefficients pixels"]:
    """The sampling grid as a linear map: x, y and 1 at each pixel, then the spline of each knot.

    One matrix product for both is ten times as fast as `affine_grid` and `interpolate`.
    """
    x, y = F.affine_grid(torch.eye(2, 3)[None], [1, 1, *size], align_corners=False)[0].unbind(-1)
    splines = (
        F.interpolate(
            torch.eye(knots**2).view(-1, 1, knots, knots), size, mode="bicubic", align_corners=True
        )[:, 0]
        if knots
        else torch.empty(0, *size)
    )
    return torch.cat([torch.stack([x, y, torch.ones(size)]), splines]).flatten(1)
