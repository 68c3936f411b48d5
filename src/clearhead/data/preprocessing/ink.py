"""Ink in an image: 0 on paper, 1 inside the darkest (or lightest) stroke.

Paper is unevenly lit. It is estimated by a morphological opening (Serra 1982) wider than any stroke
but narrower than the variation of the light, and ink is the difference from it. Dark ink absorbs a
fraction of the light, so it is measured as a ratio; light ink on a dark background as a difference.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

Grey = Float[ndarray, "height width"]
Mask = Bool[ndarray, "height width"]

LIGHT_SIDE, PAPER_SIDE = 64, 192  # resolution at which illumination and paper are estimated
MAX_STROKE, USUAL_STROKE = 0.35, 0.06  # widths, as fractions of the longer side
SMOOTHING = 1 / 400  # of the longer side: finer than a stroke, coarser than camera noise
ONE_SIDED = 0.8  # share of squared differences from the illumination, lighter minus darker
MIN_CONTRAST = 0.08
CONVERGED, RIDGE = 1e-4, 1e-11  # of white; of the trace of the Gram matrix
MAX_DEVIATION = 0.04  # of paper from the illumination
GREY_LEVEL = 1 / 255
CACHED_SHAPES = 8
MIN_SIGNAL = 6.0  # difference of ink from paper, in standard deviations of the noise


def find_ink(grey: Grey) -> Grey | None:
    """Ink of every pixel in [0, 1], anti-aliased; None for a blank image."""
    light = illumination(grey)
    dark = is_dark_on_light(grey, light)
    signal = 1 - grey / np.maximum(light, 0.05) if dark else grey - light
    return _scaled(signal - _shadow(signal))


def illumination(grey: Grey) -> Grey:
    """The illumination of the paper: a quadratic surface, robust against ink.

    First least absolute deviations over the border (by iteratively reweighted least squares), where
    a digit that touches it has little influence; then repeated least squares over all pixels near
    the last surface.
    """
    small = downsample(grey, LIGHT_SIDE)
    terms, border = _quadratic_terms(small.shape), _border(small.shape)
    level = float(np.median(small[border]))
    weights = np.array([level, 0.0, 0.0, 0.0, 0.0, 0.0])
    rim, rim_terms = small[border], terms[border]
    for _ in range(8):
        trust = 1 / np.maximum(np.abs(rim - rim_terms @ weights), 0.002)
        before, weights = weights, _least_squares(rim_terms, rim, trust)
        if np.abs(weights - before).max() < CONVERGED:
            break
    agrees = border
    for _ in range(5):
        distance = np.abs(small - terms @ weights)
        before, agrees = agrees, _near(distance, np.median(distance[agrees]))
        if agrees.sum() < 4 * len(weights) or np.array_equal(agrees, before):
            break
        weights = _least_squares(terms[agrees], small[agrees])
    even = np.abs(small - level) < MAX_DEVIATION
    uneven = np.abs(small - terms @ weights) < MAX_DEVIATION
    if uneven.sum() < 1.1 * even.sum():  # a tightly cropped digit bends it
        return np.full_like(grey, level)
    return np.asarray(np.clip(_surface(grey.shape, weights), grey.min(), grey.max()))


def _least_squares(
    terms: Float[ndarray, "pixels terms"],
    values: Float[ndarray, " pixels"],
    trust: Float[ndarray, " pixels"] | float = 1.0,
) -> Float[ndarray, " terms"]:
    """Weighted least squares by the normal equations, twenty times as fast as by QR.

    Six well-conditioned terms lose no accuracy that matters. The ridge is far below one grey level;
    where the solution is not unique (an image one pixel wide), it selects the smallest one.
    """
    trusted = terms.T * trust
    gram = trusted @ terms
    ridge = RIDGE * (np.trace(gram) + 1) * np.eye(len(gram))
    return np.asarray(np.linalg.solve(gram + ridge, trusted @ values))


def _near(distance: Grey, typical: float) -> Mask:
    """Pixels within the noise."""
    return np.asarray(distance < max(3 * 1.4826 * float(typical), 0.02))


def is_dark_on_light(grey: Grey, light: Grey) -> bool:
    """Whether the ink is darker than the paper.

    The sign of the differences from the illumination decides if nearly all have one sign. If not (a
    shadow's edge, a strip of table), thin structures decide: strokes are thin, shadows and the
    paper inside a 0 are not.
    """
    residual = downsample(grey - light, LIGHT_SIDE)
    lighter = float((residual * np.abs(residual)).sum())
    if abs(lighter) < ONE_SIDED * float((residual**2).sum()):
        window = max(3, round(USUAL_STROKE * max(residual.shape)) | 1)
        thin_light = residual - ndimage.grey_opening(residual, size=window)
        thin_dark = ndimage.grey_closing(residual, size=window) - residual
        lighter = float((thin_light**2).sum() - (thin_dark**2).sum())
    return lighter < 0


def _shadow(signal: Grey) -> Grey:
    """The signal without everything narrower than a stroke."""
    small = downsample(signal, PAPER_SIDE)
    window = max(3, round(MAX_STROKE * max(small.shape)) | 1)
    opened = ndimage.grey_opening(small, size=window, mode="reflect")
    if opened.shape == signal.shape:
        return np.asarray(opened)
    ratio = [new / old for new, old in zip(signal.shape, opened.shape, strict=True)]
    return np.asarray(ndimage.zoom(opened, ratio, order=1, mode="nearest", grid_mode=True))


def _scaled(signal: Grey) -> Grey | None:
    """A difference scaled so that paper with its noise is 0, and the inside of a stroke 1."""
    sigma = SMOOTHING * max(signal.shape)
    if sigma > 0.3:
        signal = ndimage.gaussian_filter(signal, sigma)
    middle = float(np.quantile(signal, (0.02, 0.998)).mean())
    around = signal[signal <= middle]
    paper = float(np.median(around))
    noise = 1.4826 * float(np.median(np.abs(around - paper)))
    stroke = signal[signal > paper + max(4 * noise, MIN_CONTRAST / 2)]
    if not stroke.size:
        return None
    half = (paper + float(np.quantile(stroke, 0.9))) / 2
    inside = float(np.quantile(stroke[stroke >= half], 0.8))
    if inside - paper < max(MIN_CONTRAST, MIN_SIGNAL * noise):
        return None
    paper += max(3 * noise, GREY_LEVEL)
    return np.asarray(np.clip((signal - paper) / (inside - paper), 0, 1), dtype=np.float32)


@lru_cache(maxsize=CACHED_SHAPES)
def _border(shape: tuple[int, ...]) -> Mask:
    """The border, a sixteenth of the longer side wide."""
    band = max(1, round(max(shape) / 16))
    mask = np.ones(shape, dtype=bool)
    mask[band:-band, band:-band] = False
    return mask


@lru_cache(maxsize=CACHED_SHAPES)
def _quadratic_terms(shape: tuple[int, ...]) -> Float[ndarray, "height width 6"]:
    """1, x, y, x², xy, y² of every pixel."""
    x, y = np.broadcast_arrays(*_coordinates(shape))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _surface(shape: tuple[int, ...], weights: Float[ndarray, " 6"]) -> Grey:
    """The quadratic surface with these weights."""
    x, y = _coordinates(shape)
    level, right, down, bent_right, twisted, bent_down = weights
    bent = x * (right + bent_right * x + twisted * y) + y * (down + bent_down * y)
    return np.asarray(level + bent)


def _coordinates(
    shape: tuple[int, ...],
) -> tuple[Float[ndarray, "1 width"], Float[ndarray, "height 1"]]:
    """Coordinates of columns (x) and rows (y), from -1 to 1 over the pixels' outer edges."""
    y, x = (((2 * np.arange(length) + 1) / length - 1) for length in shape)
    return x[None, :], y[:, None]


def downsample(values: Grey, side: int) -> Grey:
    """Averages over squares of pixels, so that the longer side is `side` to twice that."""
    factor = max(values.shape) // side
    if factor <= 1:
        return values
    pad = [(0, -length % factor) for length in values.shape]
    padded = np.pad(values, pad, mode="edge")
    high, wide = (length // factor for length in padded.shape)
    return np.asarray(padded.reshape(high, factor, wide, factor).mean(axis=(1, 3)))
