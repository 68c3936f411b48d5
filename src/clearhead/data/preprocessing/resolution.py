"""Enlarged scans, by repeated pixels or by interpolation, reduced to their original size.

The strokes of a coarse scan have soft edges as wide as themselves, and often touch the border. If
it is enlarged, preprocessing takes it for a photo, and estimates the paper around the strokes.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from PIL import Image

from clearhead.data.preprocessing.pixels import Grey, downsample
from clearhead.data.preprocessing.scaling import resize_area

MIN_SCAN, MAX_SCAN = 7, 32  # pixels on the longer side of a scan that may have been enlarged
TESTED_SIDE = 64  # of the longer side (up to twice that) at which interpolation is tested
MIN_RANGE = 0.35  # of grey; less may be paper and its light
MAX_STEP = 0.6  # between neighbours, relative to the range; enlarged by 2, an edge has two steps
MIN_CHANGES = 0.5  # share of the block edges along an axis with a change; fewer may be of a bar
MAX_DEVIATION = 0.15  # from the interpolation of a scan, relative to the range
GREY_LEVEL = 1 / 255
CACHED = 2048  # matrices of up to 32 × 127 numbers

Weights: TypeAlias = Callable[[int, int], Float[ndarray, "outputs inputs"]]


def at_original_size(grey: Grey) -> Grey:
    """The original of a scan of 7 to 32 pixels that was enlarged by a factor of at least 2.

    Args:
        grey: Luminance in [0, 1].

    Returns:
        If the image consists of uniform blocks, one pixel of each; else the scan whose bilinear or
        bicubic interpolation differs from the image by at most 15 % of its range, which includes
        images made by Lanczos filters. Of several such scans, the one whose deviation is smallest
        relative to that of the next smaller size. Any other image is returned unchanged.
    """
    scan = _repeated(grey)
    return scan if scan is not None else _interpolated(grey)


def _sizes(shape: tuple[int, ...], first: int = MIN_SCAN) -> Iterator[tuple[int, int]]:
    """Heights and widths of scans that may have been enlarged to this shape, ascending."""
    longer = max(shape)
    for side in range(first, min(MAX_SCAN, longer // 2) + 1):
        high, wide = (max(1, round(length * side / longer)) for length in shape)
        yield high, wide


def _repeated(grey: Grey) -> Grey | None:
    """The scan if the image repeats its pixels, by an integer factor or not; else None."""
    changes = [np.flatnonzero((x[1:] != x[:-1]).any(axis=1)) + 1 for x in (grey, grey.T)]
    limit = min(MAX_SCAN, max(grey.shape) // 2)
    if not all(0 < len(places) < limit for places in changes):
        return None
    for size in _sizes(grey.shape):
        blocks = [length / count for length, count in zip(grey.shape, size, strict=True)]
        share = max(len(x) / max(1, n - 1) for x, n in zip(changes, size, strict=True))
        if share >= MIN_CHANGES and all(map(_are_edges, changes, blocks)):
            middles = ((np.arange(n) + 0.5) * b for n, b in zip(size, blocks, strict=True))
            return grey[np.ix_(*(x.astype(int) for x in middles))]
    return None


def _are_edges(places: Int[ndarray, " places"], block: float) -> bool:
    """Whether these are ends of blocks of this length, rounded in one of the usual ways."""
    numbers = np.rint(places / block)
    ends = numbers * block
    return bool(((np.ceil(ends - 0.5) <= places) & (places <= np.ceil(ends))).all())


def _interpolated(grey: Grey) -> Grey:
    """The scan if the image interpolates it by a smooth filter; else the image itself."""
    image = downsample(grey, TESTED_SIDE)
    span = float(np.ptp(image))
    sizes = list(_sizes(image.shape, MIN_SCAN - 1))
    if span < MIN_RANGE or not sizes or _steepest(image) > MAX_STEP * span:
        return grey
    finest = (max(1, 3 * side // 2) for side in sizes[-1])
    if _deviation(resize_area(image, *finest), image) > MAX_DEVIATION * span:
        return grey  # true of most images, which need no search
    scans = [_resized(image, size, _linear) for size in sizes]
    deviations = [_deviation(scan, image) for scan in scans]
    # At the scan's own size the deviation is far less than at the size before.
    drops = [
        (after / max(before, GREY_LEVEL), scan)
        for before, after, scan in zip(deviations, deviations[1:], scans[1:], strict=False)
        if after <= MAX_DEVIATION * span
    ]
    return min(drops, key=lambda drop: drop[0])[1] if drops else grey


def _deviation(scan: Grey, image: Grey) -> float:
    """The largest difference of a scan from the image, enlarged by the filter that fits better."""
    enlarged = (_resized(scan, image.shape, weights) for weights in (_bicubic, _linear))
    return min(float(np.abs(x.clip(0, 1) - image).max()) for x in enlarged)


def _steepest(image: Grey) -> float:
    """The largest difference between neighbours in a column or a row."""
    steps = (np.abs(x[1:] - x[:-1]) for x in (image, image.T) if len(x) > 1)
    return max((float(x.max()) for x in steps), default=0.0)


def _resized(values: Grey, size: tuple[int, ...], weights: Weights) -> Grey:
    down, right = (weights(*lengths) for lengths in zip(values.shape, size, strict=True))
    return np.asarray(down @ values @ right.T)


@lru_cache(maxsize=CACHED)
def _linear(inputs: int, outputs: int) -> Float[ndarray, "outputs inputs"]:
    """Linear interpolation at the centres of equal bands, along one axis."""
    places = (np.arange(outputs) + 0.5) * inputs / outputs - 0.5
    distances = places.clip(0, inputs - 1)[:, None] - np.arange(inputs)
    return np.asarray(np.maximum(1 - np.abs(distances), 0), dtype=np.float32)


@lru_cache(maxsize=CACHED)
def _bicubic(inputs: int, outputs: int) -> Float[ndarray, "outputs inputs"]:
    """Pillow's bicubic interpolation along one axis."""
    unit = Image.fromarray(np.eye(inputs, dtype=np.float32))
    return np.asarray(unit.resize((inputs, outputs), Image.Resampling.BICUBIC))
