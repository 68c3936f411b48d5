"""Bytes to what a model sees."""

from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.errors import InputError


class Normalization(Protocol):
    """Mean and standard deviation of pixels between 0 and 1: one of each, or one a channel."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Subtracted first."""

    @property
    def std(self) -> tuple[float, ...]:
        """Divided by then."""


def normalize(
    images: UInt8[Tensor, "batch channels height width"], config: Normalization
) -> Float[Tensor, "batch channels height width"]:
    """(x / 255 - mean) / std as float32, on the device of `images`; a model's config says both."""
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise InputError(
            "images to normalise are bytes (uint8) of shape (batch, channels, height, width), "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
    mean, std = (_per_channel(numbers, images) for numbers in (config.mean, config.std))
    return images.to(torch.float32).div_(255).sub_(mean).div_(std)


def _per_channel(numbers: tuple[float, ...], images: Tensor) -> Tensor:
    channels = images.shape[1]
    if len(numbers) not in (1, channels):
        raise InputError(
            f"images have {channels} channels, but mean or std has {len(numbers)} numbers; "
            f"give 1 or {channels}"
        )
    return torch.tensor(numbers, dtype=torch.float32, device=images.device).view(1, -1, 1, 1)
