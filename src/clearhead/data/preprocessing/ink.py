"""Where a picture has ink, and how much: 0 is paper, 1 is the darkest (or lightest) of the stroke.

Paper is never even: light falls off, a hand throws a shadow. So the paper is estimated first, as a
morphological opening (Serra 1982) wider than any stroke but narrower than the light, and ink is
what differs from it. Dark ink takes away a share of the light that falls on it, so it is measured
as a share; light ink on a dark ground is measured as a difference.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

Grey = Float[ndarray, "height width"]
Mask = Bool[ndarray, "height width"]

LIGHT_SIDE, PAPER_SIDE = 64, 192  # pixels at which light and paper are estimated
STROKE, THIN = 0.35, 0.06  # of the longer side: wider than any stroke, wider than most
SMOOTH = 1 / 400  # of the longer side: far finer than a stroke, much coarser than a camera's noise
ONE_SIDED = 0.8  # of the squared differences from the light, lighter minus darker
LEAST_CONTRAST = 0.08
SETTLED, RIDGE = 1e-4, 1e-11  # of white; of the sum of all squares
EVEN = 0.04  # how far paper may be from the light on it
ONE_STEP = 1 / 255
KEPT = 8  # shapes, of at most twice `LIGHT_SIDE`, whose terms are kept for the next picture
LEAST_SIGNAL = 6.0  # ink differs from paper by so many standard deviations of the noise


def find_ink(grey: Grey) -> Grey | None:
    """Ink of every pixel from 0 to 1, anti-aliased; None where there is nothing but paper."""
    light = falling_light(grey)
    dark = is_dark_on_light(grey, light)
    signal = 1 - grey / np.maximum(light, 0.05) if dark else grey - light
    return _scaled(signal - _shadow(signal))


def falling_light(grey: Grey) -> Grey:
    """The light on the paper: a quadratic surface through the border and all that agrees with it.

    Least absolute deviations over the border first (by reweighted least squares), so that a digit
    that touches it does not count; then least squares, again and again, over the pixels of the
    whole picture that were near the last surface.
    """
    small = fit(grey, LIGHT_SIDE)
    terms, border = _quadratic_terms(small.shape), _border(small.shape)
    level = float(np.median(small[border]))
    weights = np.array([level, 0.0, 0.0, 0.0, 0.0, 0.0])
    rim, rim_terms = small[border], terms[border]
    for _ in range(8):
        trust = 1 / np.maximum(np.abs(rim - rim_terms @ weights), 0.002)
        before, weights = weights, _least_squares(rim_terms, rim, trust)
        if np.abs(weights - before).max() < SETTLED:
            break
    agrees = border
    for _ in range(5):
        distance = np.abs(small - terms @ weights)
        before, agrees = agrees, _near(distance, np.median(distance[agrees]))
        if agrees.sum() < 4 * len(weights) or np.array_equal(agrees, before):
            break
        weights = _least_squares(terms[agrees], small[agrees])
    even = np.abs(small - level) < EVEN
    uneven = np.abs(small - terms @ weights) < EVEN
    if uneven.sum() < 1.1 * even.sum():  # a digit in a tight crop bends the surface, light does not
        return np.full_like(grey, level)
    return np.asarray(np.clip(_surface(grey.shape, weights), grey.min(), grey.max()))


def _least_squares(
    terms: Float[ndarray, "pixels terms"],
    values: Float[ndarray, " pixels"],
    trust: Float[ndarray, " pixels"] | float = 1.0,
) -> Float[ndarray, " terms"]:
    """The weights with the least Σ trust · (values - terms · weights)², by the normal equations.

    Six terms that are far from alike on -1 … 1 lose nothing by them, and they are twenty times
    faster. The ridge is far below rounding to a step of grey; where many weights are equally good
    (a picture one pixel wide), it takes the smallest.
    """
    trusted = terms.T * trust
    gram = trusted @ terms
    ridge = RIDGE * (np.trace(gram) + 1) * np.eye(len(gram))
    return np.asarray(np.linalg.solve(gram + ridge, trusted @ values))


def _near(distance: Grey, typical: float) -> Mask:
    """What is no further off than noise is."""
    return np.asarray(distance < max(3 * 1.4826 * float(typical), 0.02))


def is_dark_on_light(grey: Grey, light: Grey) -> bool:
    """Whether the ink is darker than the paper.

    It is if nearly all that differs from the light is darker. If there is much of both (a shadow's
    edge, a strip of table), what is thin decides: strokes are, shadows and the paper inside a 0
    are not.
    """
    residual = fit(grey - light, LIGHT_SIDE)
    lighter = float((residual * np.abs(residual)).sum())
    if abs(lighter) < ONE_SIDED * float((residual**2).sum()):
        window = max(3, round(THIN * max(residual.shape)) | 1)
        thin_light = residual - ndimage.grey_opening(residual, size=window)
        thin_dark = ndimage.grey_closing(residual, size=window) - residual
        lighter = float((thin_light**2).sum() - (thin_dark**2).sum())
    return lighter < 0


def _shadow(signal: Grey) -> Grey:
    """What is left of the signal when everything narrower than a stroke is cut off."""
    small = fit(signal, PAPER_SIDE)
    window = max(3, round(STROKE * max(small.shape)) | 1)
    opened = ndimage.grey_opening(small, size=window, mode="reflect")
    if opened.shape == signal.shape:
        return np.asarray(opened)
    ratio = [new / old for new, old in zip(signal.shape, opened.shape, strict=True)]
    return np.asarray(ndimage.zoom(opened, ratio, order=1, mode="nearest", grid_mode=True))


def _scaled(signal: Grey) -> Grey | None:
    """From a difference to ink: paper and its noise to 0, the inside of the stroke to 1."""
    sigma = SMOOTH * max(signal.shape)
    if sigma > 0.3:
        signal = ndimage.gaussian_filter(signal, sigma)
    middle = float(np.quantile(signal, (0.02, 0.998)).mean())
    around = signal[signal <= middle]
    paper = float(np.median(around))
    noise = 1.4826 * float(np.median(np.abs(around - paper)))
    stroke = signal[signal > paper + max(4 * noise, LEAST_CONTRAST / 2)]
    if not stroke.size:
        return None
    half = (paper + float(np.quantile(stroke, 0.9))) / 2
    inside = float(np.quantile(stroke[stroke >= half], 0.8))
    if inside - paper < max(LEAST_CONTRAST, LEAST_SIGNAL * noise):
        return None
    paper += max(3 * noise, ONE_STEP)
    return np.asarray(np.clip((signal - paper) / (inside - paper), 0, 1), dtype=np.float32)


@lru_cache(maxsize=KEPT)
def _border(shape: tuple[int, ...]) -> Mask:
    """A frame of a sixteenth of the longer side."""
    band = max(1, round(max(shape) / 16))
    mask = np.ones(shape, dtype=bool)
    mask[band:-band, band:-band] = False
    return mask


@lru_cache(maxsize=KEPT)
def _quadratic_terms(shape: tuple[int, ...]) -> Float[ndarray, "height width 6"]:
    """1, x, y, x², xy, y² of every pixel."""
    x, y = np.broadcast_arrays(*_coordinates(shape))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _surface(shape: tuple[int, ...], weights: Float[ndarray, " 6"]) -> Grey:
    """The sum of these terms, each times its weight."""
    x, y = _coordinates(shape)
    level, right, down, bent_right, twisted, bent_down = weights
    bent = x * (right + bent_right * x + twisted * y) + y * (down + bent_down * y)
    return np.asarray(level + bent)


def _coordinates(
    shape: tuple[int, ...],
) -> tuple[Float[ndarray, "1 width"], Float[ndarray, "height 1"]]:
    """Where columns (x) and rows (y) are, from -1 to 1 over the pixels' outer edges."""
    y, x = (((2 * np.arange(length) + 1) / length - 1) for length in shape)
    return x[None, :], y[:, None]


def fit(values: Grey, side: int) -> Grey:
    """Averages over squares of pixels, so that the longer side is `side` to twice that."""
    factor = max(values.shape) // side
    if factor <= 1:
        return values
    pad = [(0, -length % factor) for length in values.shape]
    padded = np.pad(values, pad, mode="edge")
    high, wide = (length // factor for length in padded.shape)
    return np.asarray(padded.reshape(high, factor, wide, factor).mean(axis=(1, 3)))
