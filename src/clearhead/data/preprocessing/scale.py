"""Resizing by area: a new pixel is the mean of the part of the picture that it covers.

Weights are exact for any ratio; filters that look at pixel centres alone lose thin strokes.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image


def resize_area(
    values: Float[ndarray, "height width"], height: int, width: int
) -> Float[ndarray, "new_height new_width"]:
    """Averages where it gets smaller; bicubic, kept within 0 … 1, where it gets larger."""
    if height > values.shape[0] or width > values.shape[1]:
        picture = Image.fromarray(values.astype(np.float32))
        larger = picture.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(np.clip(np.asarray(larger), 0, 1))
    down, right = area_weights(values.shape[0], height), area_weights(values.shape[1], width)
    return np.asarray(down @ values @ right.T, dtype=np.float32)


def area_weights(inputs: int, outputs: int) -> Float[ndarray, "outputs inputs"]:
    """Share of every old pixel in every new one, along one axis; rows sum to 1."""
    edges = np.linspace(0, inputs, outputs + 1)[:, None]
    pixels = np.arange(inputs)[None]
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return np.asarray(np.maximum(overlap, 0) * (outputs / inputs))
