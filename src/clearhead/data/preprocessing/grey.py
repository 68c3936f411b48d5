"""Any loaded image as luminance, from 0 (black) to 1 (white)."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image

from clearhead.errors import ImageError

WORK_SIDE = 1024  # larger images are first averaged down by a whole factor
MAX_UNIFORM_STD = 0.1  # standard deviation below which the visible part counts as one colour

Grey = Float[ndarray, "height width"]
_BIT_DEPTH_16 = ("I;16", "I;16L", "I;16B", "I;16N")


def to_grey(image: Image.Image) -> Grey:
    """Luminance of an image (ITU-R BT.601, with Pillow's weights).

    A transparent image is composited on black or white, whichever its visible part differs from.

    Args:
        image: A loaded image in one of the modes that `load_image` returns.

    Returns:
        float32 in [0, 1], at most 2047 pixels on a side: larger images are averaged down.

    Raises:
        ImageError: If pixels are NaN or infinite.
    """
    if image.mode in _BIT_DEPTH_16:
        return np.asarray(_reduced(image) / 65535, dtype=np.float32)
    if image.mode == "I":
        return _stretched(_reduced(image) / 65535)
    if image.mode == "F":
        return _stretched(_reduced(image))
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        grey, alpha = _array(_shrunk(image).convert("LA")).transpose(2, 0, 1) / 255
        return _composited(grey, alpha)
    if image.mode in ("1", "P", "PA"):  # averaging indices would make no sense
        image = image.convert("RGB" if image.mode == "P" else "L")
    return np.asarray(_array(_shrunk(image).convert("L")) / np.float32(255))


def _composited(grey: Grey, alpha: Grey) -> Grey:
    """A transparent image on an opaque background.

    If the visible part has one colour, its outline is the digit: the background is black or white,
    whichever differs more. If not, the digit is drawn within it: the background continues its
    median colour.
    """
    visible = alpha > 0.5
    if not visible.any():
        return np.ones_like(grey)
    shown = grey[visible]
    if shown.std() < MAX_UNIFORM_STD or alpha.mean() < MAX_UNIFORM_STD:
        background = 1.0 if shown.mean() < 0.5 else 0.0
    else:
        background = float(np.median(shown))
    return np.asarray(grey * alpha + background * (1 - alpha), dtype=np.float32)


def _stretched(values: Grey) -> Grey:
    """Values of files without a fixed range, stretched to [0, 1] where they exceed it."""
    if not np.isfinite(values).all():
        raise ImageError("this image has pixels that are not numbers (NaN or infinite)")
    low = min(0.0, float(values.min()))
    high = max(1.0, float(np.quantile(values, 0.995)))
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), dtype=np.float32)


def _shrunk(image: Image.Image) -> Image.Image:
    """Averages over squares of pixels."""
    factor = max(image.size) // WORK_SIDE
    return image.reduce(factor) if factor > 1 else image


def _reduced(image: Image.Image) -> Grey:
    """Averages over squares of pixels, for the modes that Pillow cannot reduce."""
    values: ndarray = np.asarray(image)
    factor = max(1, min(max(values.shape) // WORK_SIDE, *values.shape))
    high, wide = (side // factor for side in values.shape)
    blocks = values[: high * factor, : wide * factor].reshape(high, factor, wide, factor)
    with np.errstate(invalid="ignore", over="ignore"):  # checked by `_stretched`
        return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64))


def _array(image: Image.Image) -> ndarray:
    return np.asarray(image).astype(np.float32)
