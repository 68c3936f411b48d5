"""Pixels and measures as small images in `data:` URIs."""

from collections.abc import Mapping
from io import BytesIO
from typing import Literal, TypeAlias

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from clearhead.explanation.html import data_uri
from clearhead.explanation.influence import Influence
from clearhead.insight import Grid
from clearhead.insight.plots import SIGNED_COLOURS, WEIGHT_COLOURS, signed_norm, weight_norm

Pixels: TypeAlias = UInt8[Tensor, "channels height width"]

# Measures that may be negative: unit and factor. Masking is shown as a change: a fall is negative.
SIGNED = {"masking": ("points", -100.0), "shapley": ("log-odds", 1.0)}


def thumbnails(
    pixels: Pixels, measures: Mapping[str, Influence], grid: Grid | None
) -> dict[str, str]:
    """The model input, and the measures that have values, as `data:` URIs of PNGs."""
    images = {"model input": image_uri(pixels)}
    for name, influence in measures.items():
        values = influence.values
        if values is None or grid is None:
            continue
        cells = values[-grid.num_patches :].reshape(grid.rows, grid.columns)
        scale = weight_norm()
        colours = WEIGHT_COLOURS
        if name in SIGNED:
            cells = SIGNED[name][1] * cells
            scale, colours = signed_norm(float(cells.abs().max())), SIGNED_COLOURS
        rgb = torch.from_numpy(colours(scale(cells.numpy()), bytes=True)[..., :3].copy())
        images[name] = image_uri(rgb.movedim(-1, 0))
    return images


def image_uri(pixels: Pixels, kind: Literal["png", "jpeg"] = "png") -> str:
    """Pixels as an image in a `data:` URI."""
    content = BytesIO()
    image = Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).contiguous().numpy())
    image.save(content, kind, optimize=True, quality=85)
    return data_uri(content.getvalue(), f"image/{kind}")
