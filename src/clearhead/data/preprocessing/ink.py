"""Ink in an image: 0 on paper, 1 inside the darkest (or lightest) stroke.

Paper is unevenly lit, and a desk may be seen beside it. Both are estimated by a morphological
closing (Serra 1982) wider than any stroke: it removes strokes, and leaves a shadow's edge or the
edge of the sheet where it is. What lies beyond the border of the image counts as dark, so that a
strip of desk along the border remains part of the background, however narrow it is.

Dark ink absorbs a fraction of the light, so it is measured as a ratio; light ink on a dark
background as a difference.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import ndimage

from clearhead.data.preprocessing.lines import without_lines

Grey = Float[ndarray, "height width"]
Mask = Bool[ndarray, "height width"]
Parts = Int[ndarray, "height width"]

THUMB_SIDE = 64  # resolution at which dark on light is told from light on dark
SMALL_SIDE = 48  # smaller images are scans of one digit: no desk, no lines
MAX_STROKE, USUAL_STROKE = 0.35, 0.06  # widths, as fractions of the longer side
MIN_THIN = 0.15  # of the range of grey: height of thin structures that show which is the ink
MIN_ELONGATION = 6.0  # of strokes that show which is the ink
MIN_CONTRAST = 0.08
GREY_LEVEL = 1 / 255
MIN_SIGNAL = 6.0  # difference of ink from paper, in standard deviations of the noise
MIN_LENGTH = 0.05  # of a component that shows that the digit does not touch the border
MIN_WIDTH = 0.012  # of strokes; narrower ones at the border are remains of a desk's edge
EIGHT = np.ones((3, 3), dtype=bool)  # neighbours of a pixel


@dataclass(frozen=True)
class Ink:
    """The ink of an image.

    Attributes:
        values: In [0, 1], anti-aliased.
        parts: Connected components, numbered from 1, without lines, specks and what is beside the
            paper.
        dark: Whether the ink is darker than the paper.
    """

    values: Grey
    parts: Parts
    dark: bool


def find_ink(grey: Grey, dark: bool | None = None) -> Ink | None:
    """Separate ink from paper, lines, and what is beside the paper; None without ink.

    Args:
        grey: Luminance in [0, 1].
        dark: Whether the ink is darker than the paper, if that is known.
    """
    if dark is not None:
        return _find_ink(grey, dark)
    by_share, by_width = is_dark_on_light(grey)
    likely = _find_ink(grey, by_share)
    if by_share == by_width:
        return likely
    other = _find_ink(grey, by_width)
    return other if other is not None and _elongation(other) >= MIN_ELONGATION else likely


def _find_ink(grey: Grey, dark: bool) -> Ink | None:
    grey = grey if dark else 1 - grey
    if max(grey.shape) > SMALL_SIDE:
        background = _closing(grey, MAX_STROKE, beyond=0.0)
        ink = _strokes(grey, background, dark, is_free=True)
        if ink is not None:
            return ink
    return _strokes(grey, _paper_of_scan(grey), dark, is_free=False)


def _elongation(ink: Ink) -> float:
    """Length of the strokes of the largest component, relative to their width."""
    part = ink.parts == np.bincount(ink.parts.ravel())[1:].argmax() + 1
    # In a band of width w, the mean distance to the nearest pixel outside is (w + 2) / 4.
    width = max(1.0, 4 * float(ndimage.distance_transform_edt(part)[part].mean()) - 2)
    return float(part.sum()) / width**2


def _strokes(grey: Grey, background: Grey, dark: bool, is_free: bool) -> Ink | None:
    """The ink on a background; with `is_free`, only if the digit touches neither border nor desk."""
    signal = background - grey
    if dark:
        signal = signal / np.maximum(background, 0.05)
    outside = background < np.quantile(background[::2, ::2], 0.9) - 0.25
    for _ in range(3):
        values = _scaled(signal)
        if values is None:
            return None
        mask = values > 0.5
        thin = mask
        if max(mask.shape) > SMALL_SIDE:
            faint = values > 0.25
            thin = mask & (without_lines(faint, outside) | ~faint)
        parts = _parts(thin, grey, is_free)
        if parts.any():
            lines = mask & ~thin
            if lines.any():
                soft = ndimage.maximum_filter(lines, 5) & ~ndimage.maximum_filter(thin, 3)
                values[soft] = 0
            return Ink(values, parts, dark)
        if is_free and thin is mask:
            return None
        signal = np.where(ndimage.maximum_filter(mask, 5), 0, signal)
    return None


def _parts(mask: Mask, grey: Grey, is_free: bool) -> Parts:
    """Connected components without specks and, if others are as long, without those at the border.

    A neighbour or a desk touches the border, but so does a tightly cropped digit.
    """
    labels, count = ndimage.label(mask, structure=EIGHT)
    if not count:
        return labels
    boxes = ndimage.find_objects(labels)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    lengths = np.array([0, *(max(side.stop - side.start for side in box) for box in boxes)])
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    free = np.ones(count + 1, dtype=bool)
    free[rim] = False
    free[0] = False
    if is_free:
        for number in np.flatnonzero(free):
            free[number] = areas[number] >= 4 and not _is_cut(labels, number, boxes[number - 1], grey)
        longest = lengths[free].max(initial=0)
        solid = areas > MIN_WIDTH * max(mask.shape) * lengths
        solid[0] = False
        if longest < MIN_LENGTH * max(mask.shape) or longest < 0.4 * lengths[solid].max(initial=0):
            return np.zeros_like(labels)
        areas[~free] = 0
    elif lengths[free].max(initial=0) >= 0.4 * lengths.max():
        areas[~free] = 0
    kept = areas >= 0.01 * areas.max()
    kept[0] = False
    return np.asarray(np.where(kept[labels], labels, 0))


def _is_cut(labels: Parts, number: int, box: tuple[slice, slice], grey: Grey) -> bool:
    """Whether a component continues, as dark, beyond the edge that the background gives it."""
    near = tuple(slice(max(0, side.start - 3), side.stop + 3) for side in box)
    part = labels[near] == number
    ring = ndimage.maximum_filter(part, 7) & ~ndimage.maximum_filter(part, 5)
    around, inside = grey[near][ring], float(np.median(grey[near][part]))
    limit = inside + 0.3 * (float(np.median(around)) - inside)
    return bool(np.mean(around < limit) > 0.08)


def is_dark_on_light(grey: Grey) -> tuple[bool, bool]:
    """Whether the ink is darker than the paper, by two kinds of evidence.

    The paper has the larger share of the image and of its border, unless a desk has. And strokes
    are thin, unless the pen is thick.
    """
    small = downsample(grey, THUMB_SIDE)
    above = small > (float(small.max()) + float(small.min())) / 2
    border = np.concatenate([above[0], above[-1], above[:, 0], above[:, -1]])
    by_share = bool(border.mean() + above.mean() >= 1)
    if max(small.shape) <= SMALL_SIDE:
        return by_share, by_share
    small = ndimage.uniform_filter(small, 3, mode="nearest")
    dark = _closing(small, USUAL_STROKE, beyond=0.0) - small
    light = _closing(1 - small, USUAL_STROKE, beyond=0.0) - (1 - small)
    if max(dark.max(), light.max()) < MIN_THIN * np.ptp(small):
        return by_share, by_share
    return by_share, bool((dark**2).sum() >= (light**2).sum())


def _closing(grey: Grey, share: float, beyond: float) -> Grey:
    """The grey closing by a square; `beyond` is the grey beyond the border."""
    window = max(3, round(share * max(grey.shape)) | 1)
    closed = np.pad(grey, window // 2, constant_values=beyond)
    for axis in (0, 1):
        closed = ndimage.maximum_filter1d(closed, window, axis, mode="constant", cval=beyond)
    for axis in (0, 1):
        closed = ndimage.minimum_filter1d(closed, window, axis, mode="constant", cval=1.0)
    reach = window // 2
    return np.asarray(closed[reach : reach + grey.shape[0], reach : reach + grey.shape[1]])


def _paper_of_scan(grey: Grey) -> Grey:
    """The paper around a digit that may fill the image."""
    middle = (float(grey.max()) + float(grey.min())) / 2
    level = float(np.median(grey[grey >= middle]))
    return np.full_like(grey, level)


def _scaled(signal: Grey) -> Grey | None:
    """A difference scaled so that paper with its noise is 0, and the inside of a stroke 1."""
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


def downsample(values: Grey, side: int) -> Grey:
    """Averages over squares of pixels, so that the longer side is `side` to twice that."""
    factor = max(values.shape) // side
    if factor <= 1:
        return values
    pad = [(0, -length % factor) for length in values.shape]
    padded = np.pad(values, pad, mode="edge")
    high, wide = (length // factor for length in padded.shape)
    return np.asarray(padded.reshape(high, factor, wide, factor).mean(axis=(1, 3)))
