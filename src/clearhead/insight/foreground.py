"""Which patches of a digit its strokes cross, and where their centre of mass lies."""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from clearhead.errors import InputError
from clearhead.insight.tokens import Grid

# Mean intensity of a patch from 0 to 1. A digit's stroke that crosses a patch of 7 × 7 pixels
# covers about a third of it; between the two levels lies the faint edge of a stroke, which counts
# as neither.
FOREGROUND_LEVEL, BACKGROUND_LEVEL = 0.1, 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Foreground:
    """Mean intensity of each patch, from 0 to 1, and the patch of the centre of mass (from 0)."""

    amount: Float[Tensor, "batch rows columns"]
    centre: Int[Tensor, " batch"]

    def __repr__(self) -> str:
        images, rows, columns = self.amount.shape
        return f"Foreground({images} images, {rows} × {columns} patches)"

    @classmethod
    def of(
        cls,
        images: UInt8[Tensor, "batch channels height width"]
        | Float[Tensor, "batch channels height width"],
        grid: Grid,
    ) -> Self:
        """The foreground of images with light strokes on a dark background, as in MNIST.

        Args:
            images: Bytes, or floats from 0 to 1, before normalisation. For dark strokes on a light
                background give 255 - images.
            grid: The patches.

        Returns:
            An image without foreground has its centre of mass in the middle.

        Raises:
            InputError: If the patches do not divide the images evenly, or pixels lie outside 0 … 1.
        """
        grid.patch_shape(images)
        pixels = images.double().mean(dim=1, keepdim=True)
        if images.dtype == torch.uint8:
            pixels = pixels / 255
        if bool((pixels < 0).any()) or bool((pixels > 1).any()):
            raise InputError(
                "the foreground needs pixels from 0 to 1 (or bytes), before normalisation, got "
                f"{float(pixels.min()):.3g} to {float(pixels.max()):.3g}"
            )
        row = _centre(pixels.sum(dim=(1, 3)), grid.rows)
        column = _centre(pixels.sum(dim=(1, 2)), grid.columns)
        return cls(amount=grid.patch_means(pixels), centre=row * grid.columns + column)

    @property
    def mask(self) -> Bool[Tensor, "batch patches"]:
        """Patches that a stroke crosses."""
        return self.amount.flatten(1) >= FOREGROUND_LEVEL

    @property
    def background(self) -> Bool[Tensor, "batch patches"]:
        """Patches without foreground."""
        return self.amount.flatten(1) < BACKGROUND_LEVEL


def _centre(profile: Float[Tensor, "batch pixels"], patches: int) -> Int[Tensor, " batch"]:
    """The patch, along one axis, that holds the centre of mass."""
    length = profile.shape[1]
    places = torch.arange(length, dtype=profile.dtype, device=profile.device) + 0.5
    total = profile.sum(dim=1)
    mean = torch.where(total > 0, profile @ places / total.clamp_min(1e-12), length / 2)
    return (mean * patches / length).long().clamp_max(patches - 1)
