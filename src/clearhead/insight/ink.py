"""Where the ink of an image lies among its patches, and where its centre of mass is."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from clearhead.errors import InputError
from clearhead.insight.tokens import Grid

# Mean ink of a patch from 0 to 1. A digit's stroke crossing a patch of 7 × 7 pixels covers a third
# of it or so; what lies between the two is the faint edge of a stroke, and counts for neither.
INKED, BLANK = 0.1, 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Ink:
    """Mean ink of each patch, from 0 to 1, and the patch (counted from 0) of the centre of mass."""

    amount: Float[Tensor, "batch rows columns"]
    centre: Int[Tensor, " batch"]

    @property
    def inked(self) -> Bool[Tensor, "batch patches"]:
        """The patches that a stroke crosses."""
        return self.amount.flatten(1) >= INKED

    @property
    def blank(self) -> Bool[Tensor, "batch patches"]:
        """The patches without ink."""
        return self.amount.flatten(1) < BLANK


def ink_of(
    images: UInt8[Tensor, "batch channels height width"]
    | Float[Tensor, "batch channels height width"],
    grid: Grid,
) -> Ink:
    """The ink of images whose strokes are light on dark, as in MNIST: bytes, or 0 to 1.

    For dark strokes on light paper give 255 - images. An image without any ink has its centre of
    mass in its middle.
    """
    if images.dim() != 4 or images.shape[2] % grid.rows or images.shape[3] % grid.columns:
        raise InputError(
            f"images must be (batch, channels, height, width) with a whole number of pixels for "
            f"each of {grid.rows} × {grid.columns} patches, got {tuple(images.shape)}"
        )
    pixels = images.double().mean(dim=1)
    if images.dtype == torch.uint8:
        pixels = pixels / 255
    if bool((pixels < 0).any()) or bool((pixels > 1).any()):
        raise InputError(
            "ink is measured on pixels from 0 to 1 (or bytes), before normalisation, got "
            f"{float(pixels.min()):.3g} to {float(pixels.max()):.3g}"
        )
    patches = pixels.unflatten(2, (grid.columns, -1)).unflatten(1, (grid.rows, -1))
    rows = _middle(pixels.sum(dim=2), grid.rows)
    columns = _middle(pixels.sum(dim=1), grid.columns)
    return Ink(amount=patches.mean(dim=(2, 4)), centre=rows * grid.columns + columns)


def _middle(profile: Float[Tensor, "batch pixels"], patches: int) -> Int[Tensor, " batch"]:
    """In which of so many patches along this axis the mean place of the ink lies."""
    length = profile.shape[1]
    places = torch.arange(length, dtype=profile.dtype, device=profile.device) + 0.5
    total = profile.sum(dim=1)
    mean = torch.where(total > 0, profile @ places / total.clamp_min(1e-12), length / 2)
    return (mean * patches / length).long().clamp_max(patches - 1)
