"""Ink as MNIST has it: on 28 × 28 pixels, in one size, place and width of strokes.

MNIST's rule (LeCun et al. 1998): the ink's bounding box is scaled so that its longer side is 20
pixels, and shifted by whole pixels until its centre of mass is in the middle, at 14.0 in pixel
indices.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image

from clearhead.data.preprocessing.pixels import (
    Grey,
    box_of,
    cropped,
    padded,
    side_length,
    sliding,
    stroke_width,
)
from clearhead.data.preprocessing.strokes import to_middle

SIDE, INK_SIDE, CENTRE = 28, 20, 14.0
MIN_INK = 0.15  # fainter ink is ignored when the size is measured
MAX_EROSION = 1.0  # on each side of a thick stroke; of 28 pixels
# Of 28 pixels: thinner strokes are dilated to the normal width, thicker ones eroded to the last.
MIN_STROKE, NORMAL_STROKE, MAX_STROKE = 1.3, 2.0, 4.0


def as_in_mnist(ink: Grey) -> Float[ndarray, "28 28"]:
    """Scale and centre the ink of one digit, which is in [0, 1] and cut to its bounding box."""
    # Symmetric ink is often half a pixel from 14.0.
    return to_middle(_to_ink_side(ink), (SIDE, SIDE), MIN_INK, lambda x: round(round(x, 4)))


def _to_ink_side(ink: Grey) -> Grey:
    """Scaled so that the longer side is 20 pixels; very thin strokes are dilated first.

    Averaging alone would leave them too faint.
    """
    ink = _scaled_to(ink, 4 * INK_SIDE) if max(ink.shape) > 4 * INK_SIDE else ink
    unit = max(ink.shape) / INK_SIDE
    width = stroke_width(ink > 0.3 * ink.max()) / unit
    if unit > 2 and width < MIN_STROKE:
        radius = (NORMAL_STROKE - width) / 2 * unit
        ink = cropped(_dilated(ink / ink.max(), radius))
    elif width > MAX_STROKE and unit >= 0.8:
        if unit <= 2:
            ink = _scaled_to(ink, 4 * INK_SIDE)
            unit = max(ink.shape) / INK_SIDE
        ink = _eroded(ink, min((width - MAX_STROKE) / 2, MAX_EROSION) * unit)
    return _scaled_to(ink, INK_SIDE)


def _dilated(ink: Grey, radius: float) -> Grey:
    """The maximum within a disc (grey dilation), row by row of the disc."""
    reach = int(np.ceil(radius))
    larger = padded(ink, 2 * reach)
    high, wide = (length + 2 * reach for length in ink.shape)
    dilated = np.zeros((high, wide), dtype=ink.dtype)
    for half in range(reach + 1):
        rows = [y for y in range(-reach, reach + 1) if _half_width(radius, y) == half]
        if rows:
            widest = sliding(
                larger[:, reach - half : wide + reach + half], 2 * half + 1, np.maximum
            )
            for y in rows:
                np.maximum(dilated, widest[reach + y : reach + y + high], out=dilated)
    return dilated


def _half_width(radius: float, y: int) -> int:
    """Of a disc at this distance from its middle; −1 outside."""
    square = radius**2 + 0.5 - y**2
    return int(np.sqrt(square)) if square >= 0 else -1


def _eroded(ink: Grey, radius: float) -> Grey:
    """The minimum within a disc; unchanged if hardly anything would be left."""
    reach = int(np.ceil(radius))
    thinner = 1 - _dilated(1 - padded(ink, reach + 1), radius)[reach:-reach, reach:-reach]
    return cropped(thinner) if (thinner > 0.5).any() else ink


def _scaled_to(ink: Grey, side: int) -> Grey:
    """Scaled so that the longer side of the bounding box, without faint ink, is `side` pixels.

    Blurred edges and JPEG artefacts must not make the digit smaller. A digit at most a tenth
    smaller is left as it is, because resampling would blur it.
    """
    box = max(map(side_length, box_of(ink > MIN_INK)))
    if 0.9 * side <= box <= side and max(ink.shape) <= side * SIDE / INK_SIDE:
        return ink
    scale = min(side / box, side * SIDE / INK_SIDE / max(ink.shape))
    high, wide = (max(1, round(length * scale)) for length in ink.shape)
    return resize_area(ink, high, wide)


def resize_area(
    values: Float[ndarray, "height width"], height: int, width: int
) -> Float[ndarray, "new_height new_width"]:
    """Area averages where the image shrinks; bicubic, clipped to [0, 1], where it grows.

    Filters that sample pixel centres lose thin strokes; area weights are exact for any ratio.
    """
    if height > values.shape[0] or width > values.shape[1]:
        image = Image.fromarray(values.astype(np.float32))
        larger = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(np.clip(np.asarray(larger), 0, 1))
    down, right = (
        area_weights(*lengths).astype(np.float32)
        for lengths in zip(values.shape, (height, width), strict=True)
    )
    return np.asarray(down @ values.astype(np.float32) @ right.T)


@lru_cache(maxsize=64)
def area_weights(inputs: int, outputs: int) -> Float[ndarray, "outputs inputs"]:
    """The share of every input pixel in every output pixel along one axis; rows sum to 1."""
    edges = np.linspace(0, inputs, outputs + 1)[:, None]
    pixels = np.arange(inputs)[None]
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    weights = np.maximum(overlap, 0) * (outputs / inputs)
    weights.flags.writeable = False  # shared by all callers
    return np.asarray(weights)
