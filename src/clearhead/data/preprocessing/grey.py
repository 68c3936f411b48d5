"""Any decoded picture as one number a pixel: luminance from 0 (black) to 1 (white)."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image

from clearhead.errors import ImageError

WORK_SIDE = 1024  # larger pictures are averaged down by a whole factor first
FLAT = 0.1  # standard deviation below which the visible part counts as one colour

Grey = Float[ndarray, "height width"]
_BIT_DEPTH_16 = ("I;16", "I;16L", "I;16B", "I;16N")


def to_grey(image: Image.Image) -> Grey:
    """Luminance (ITU-R BT.601, as Pillow weighs colours), float32, at most 2047 pixels a side.

    Transparent pictures are laid on paper that their ink can be seen on.
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
        return _on_paper(grey, alpha)
    if image.mode in ("1", "P", "PA"):  # averaging indices would make no sense
        image = image.convert("RGB" if image.mode == "P" else "L")
    return np.asarray(_array(_shrunk(image).convert("L")) / np.float32(255))


def _on_paper(grey: Grey, alpha: Grey) -> Grey:
    """A transparent picture on opaque paper.

    If what is visible has one colour, its outline is the digit: the paper takes the other colour.
    If not, the digit is drawn within it, and the paper goes on with the colour most seen there.
    """
    visible = alpha > 0.5
    if not visible.any():
        return np.ones_like(grey)
    shown = grey[visible]
    if shown.std() < FLAT or alpha.mean() < FLAT:
        paper = 1.0 if shown.mean() < 0.5 else 0.0
    else:
        paper = float(np.median(shown))
    return np.asarray(grey * alpha + paper * (1 - alpha), dtype=np.float32)


def _stretched(values: Grey) -> Grey:
    """Values that should be 0 … 1, but have no fixed range in these files, brought into it."""
    if not np.isfinite(values).all():
        raise ImageError("this picture has pixels that are not numbers (NaN or infinite)")
    low = min(0.0, float(values.min()))
    high = max(1.0, float(np.quantile(values, 0.995)))
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), dtype=np.float32)


def _shrunk(image: Image.Image) -> Image.Image:
    factor = max(image.size) // WORK_SIDE
    return image.reduce(factor) if factor > 1 else image


def _reduced(image: Image.Image) -> Grey:
    """The same for the modes that Pillow cannot shrink: averages of squares of pixels."""
    values: ndarray = np.asarray(image)
    factor = max(1, min(max(values.shape) // WORK_SIDE, *values.shape))
    high, wide = (side // factor for side in values.shape)
    blocks = values[: high * factor, : wide * factor].reshape(high, factor, wide, factor)
    with np.errstate(invalid="ignore", over="ignore"):  # told by `_stretched`
        return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64))


def _array(image: Image.Image) -> ndarray:
    return np.asarray(image).astype(np.float32)
