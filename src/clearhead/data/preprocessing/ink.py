"""Ink in an image: 0 on paper, 1 inside the darkest (or lightest) stroke.

Paper is unevenly lit, and a desk may be seen beside it. Both are estimated by a morphological
closing (Serra 1982) wider than any stroke: it removes strokes, and leaves a shadow's edge or the
edge of the sheet where it is. What lies beyond the border of the image counts as dark, so that a
strip of desk along the border remains part of the background, however narrow it is.

Dark ink absorbs a fraction of the light, so it is measured as a ratio; light ink on a dark
background as a difference.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage

from clearhead.data.preprocessing.components import MIN_SCAN, Parts, free_components
from clearhead.data.preprocessing.lines import without_lines
from clearhead.data.preprocessing.pixels import (
    EIGHT,
    Grey,
    Mask,
    closing,
    downsample,
    in_square,
    median,
    near,
    quantile,
    side_length,
    stroke_width,
)

THUMB_SIDE = 64  # resolution at which dark ink on light paper is distinguished from light on dark
SMALL_SIDE = 48  # smaller images are scans of one digit: no desk
MIN_SLOPE, MAX_ROUGHNESS = 0.2, 0.05  # of the light of a scan, relative to the range of grey
MIN_LINED = 32  # smaller images have no lines
MAX_STROKE, USUAL_STROKE = 0.35, 0.06  # widths, as fractions of the longer side
MIN_CONTRAST = 0.08
GREY_LEVEL = 1 / 255
MIN_SIGNAL = 6.0  # difference of ink from paper, in standard deviations of the noise
MIN_STROKES = 7.0  # length of strokes in widths; what is shorter may be a sheet
MIN_ELONGATION = 2.7  # the same; what is shorter is a solid patch
MIN_FILLED = 0.65  # share of its bounding box that a sheet fills
MIN_PAPER = 0.75  # level of paper, relative to the lightest; a desk is darker
# Ratio of the darkest to the lightest of 5 pixels where no edge is; share of a border that is one.
MAX_GRADUAL, MIN_STEEP = 0.9, 0.2
MAX_OUTSIDE = 0.9  # share of the image that may be beside the paper


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

    @cached_property
    def boxes(self) -> dict[int, tuple[slice, ...]]:
        """Number and bounding box of each component."""
        boxes = enumerate(ndimage.find_objects(self.parts), 1)
        return {number: box for number, box in boxes if box is not None}

    @cached_property
    def may_be_solid(self) -> bool:
        """Whether the largest component fills half of its bounding box."""
        number, box = self.largest
        area = prod(map(side_length, box))
        return bool(2 * np.count_nonzero(self.parts[box] == number) >= area)

    @cached_property
    def largest(self) -> tuple[int, tuple[slice, ...]]:
        """Number and bounding box of the largest component."""
        number = int(np.bincount(self.parts.ravel())[1:].argmax()) + 1
        return number, self.boxes[number]

    @property
    def num_corners(self) -> int:
        """The corners of the image that are ink; those of a tightly cropped digit are paper."""
        return int(np.count_nonzero(self.parts[[0, 0, -1, -1], [0, -1, 0, -1]]))

    @cached_property
    def elongation(self) -> float:
        """Length of the strokes of the largest component, relative to their width."""
        number, box = self.largest
        part = np.pad(self.parts[box] == number, 1)
        if max(part.shape) < MIN_SCAN:  # too coarse to measure
            return MIN_STROKES
        return float(part.sum()) / max(1.0, stroke_width(part)) ** 2


def find_ink(grey: Grey, dark: bool | None = None) -> Ink | None:
    """Separate ink from paper, lines, and what is beside the paper; None without ink.

    Args:
        grey: Luminance in [0, 1].
        dark: Whether the ink is darker than the paper, if that is known.
    """
    if max(grey.shape) <= SMALL_SIDE:
        grey = _evenly_lit(grey)
    by_share, by_width = is_dark_on_light(grey) if dark is None else (dark, dark)
    kinds = (by_share,) if by_share == by_width else (True, False)
    either = [ink for ink in (_find_ink(grey, kind) for kind in kinds) if ink is not None]
    if not either:
        return None
    ink = (
        max(either, key=lambda ink: (-ink.num_corners, ink.elongation)) if either[1:] else either[0]
    )
    if not ink.may_be_solid:
        return ink
    if dark is None and ink.elongation < MIN_STROKES and max(grey.shape) > SMALL_SIDE:
        within = _inside(grey, ink)
        ink = ink if within is None else within
    return ink if ink.elongation >= MIN_ELONGATION else None


def _find_ink(grey: Grey, dark: bool) -> Ink | None:
    grey = grey if dark else 1 - grey
    if max(grey.shape) > SMALL_SIDE:
        background = closing(grey, MAX_STROKE)
        ink = _strokes(grey, background, dark, is_free=True)
        if ink is not None:
            return ink
    # Of a scan, whose digit may fill it, the paper is the median of the lighter half.
    middle = (float(grey.max()) + float(grey.min())) / 2
    paper = np.full_like(grey, median(grey[grey >= middle]))
    return _strokes(grey, paper, dark, is_free=False)


def _evenly_lit(grey: Grey) -> Grey:
    """A scan without the slope of its light, if its border is a plane but for noise."""
    inside = np.zeros(grey.shape, dtype=bool)
    inside[2:-2, 2:-2] = True
    span = float(np.ptp(grey))
    if float(np.ptp(grey[~inside])) < MIN_SLOPE * span:
        return grey
    rows, columns = np.mgrid[-1 : 1 : grey.shape[0] * 1j, -1 : 1 : grey.shape[1] * 1j]
    places = np.stack([np.ones_like(rows), rows, columns], axis=-1)
    known, values = places[~inside], grey[~inside]
    plane = np.linalg.lstsq(known, values, rcond=None)[0]
    if median(np.abs(values - known @ plane)) >= MAX_ROUGHNESS * span:
        return grey
    return np.asarray(np.clip(grey - places[..., 1:] @ plane[1:], 0, 1), dtype=np.float32)


def _inside(grey: Grey, ink: Ink) -> Ink | None:
    """The strokes on a solid patch: it is the sheet, on a desk that is darker or lighter."""
    parts = ink.parts
    number, box = ink.largest
    patch = ndimage.binary_fill_holes(parts[box] == number)
    patch = ndimage.minimum_filter(patch, 5, mode="constant")
    if max(patch.shape) < SMALL_SIDE or patch.mean() < MIN_FILLED:
        return None
    sheet = np.where(patch, grey[box], np.float32(np.median(grey[box][patch])))
    found = _find_ink(sheet, dark=not ink.dark) or _find_ink(sheet, dark=ink.dark)
    if found is None:
        return None
    values, labels = np.zeros_like(ink.values), np.zeros_like(parts)
    values[box], labels[box] = found.values, found.parts
    return Ink(values, labels, found.dark)


def _strokes(grey: Grey, background: Grey, dark: bool, is_free: bool) -> Ink | None:
    """The ink on a background; with `is_free`, only if it touches neither border nor desk."""
    signal = background - grey
    level = quantile(np.sort(background[::4, ::4], axis=None), 0.9)
    if dark:
        signal = signal / np.maximum(background, max(0.4 * level, 0.05))
    outside = _beside_paper(background, level)
    values = _scaled(signal, outside, is_free)
    if values is None:
        return None
    mask = values > 0.5
    thin = mask
    if max(mask.shape) > MIN_LINED:
        faint = values > 0.25
        thin = mask & (without_lines(faint, outside) | ~faint)
    lines = mask & ~thin
    if lines.any():
        soft = near(lines, 2) & ~near(thin, 1)
        values[soft] = 0
        if not outside.any():  # the grain of a desk has lines, too
            grey = np.where(soft, background, grey)
    parts = free_components(thin, grey, outside, is_free)
    if not parts.any():
        return None
    return Ink(values, parts, dark)


def _beside_paper(background: Grey, level: float) -> Mask:
    """What is much darker than the paper, and ends at an edge; a shade ends gradually."""
    dark = background < MIN_PAPER * level
    if not dark.any():
        return dark
    around = np.pad(background, 2, mode="edge")
    low, high = (in_square(around, 5, ufunc) for ufunc in (np.minimum, np.maximum))
    rim = dark & near(~dark, 1)
    labels, count = ndimage.label(dark, structure=EIGHT)
    length, steep = (
        np.bincount(labels[part], minlength=count + 1)
        for part in (rim, rim & (low < MAX_GRADUAL * high))
    )
    return np.asarray((steep > MIN_STEEP * length)[labels])


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
    both = np.stack([small, 1 - small])
    dark, light = closing(both, USUAL_STROKE) - both
    return by_share, bool((dark**2).sum() >= (light**2).sum())


def _scaled(signal: Grey, outside: Mask, is_noisy: bool) -> Grey | None:
    """A difference scaled so that paper with its noise is 0, and the inside of a stroke 1.

    If nothing stands out, the levels are measured again without what is beside the paper, since a
    desk has a grain; None if still nothing does.
    """
    step = max(1, max(signal.shape) // 128)
    sample, beside = signal[::step, ::step], outside[::step, ::step]
    samples = [sample, sample[~beside]] if 0 < beside.mean() < MAX_OUTSIDE else [sample]
    for values in samples:
        paper, floor, contrast = _levels(np.sort(values, axis=None), is_noisy)
        if contrast > 0:
            scaled = (signal - paper - floor) / (contrast - floor)
            return np.asarray(np.clip(scaled, 0, 1), dtype=np.float32)
    return None


def _levels(ordered: Float[ndarray, " pixels"], is_noisy: bool) -> tuple[float, float, float]:
    """The level of paper, and above it that of its noise and that of strokes (0 without any)."""
    middle = (quantile(ordered, 0.02) + quantile(ordered, 0.998)) / 2
    around = ordered[: np.searchsorted(ordered, middle, "right")]
    paper = quantile(around, 0.5)
    noise = 1.4826 * quantile(np.sort(np.abs(around - paper)), 0.5)
    stroke = ordered[np.searchsorted(ordered, paper + max(4 * noise, MIN_CONTRAST / 2), "right") :]
    if not stroke.size:
        return paper, noise, 0.0
    half = (paper + quantile(stroke, 0.9)) / 2
    contrast = quantile(stroke[np.searchsorted(stroke, half) :], 0.8) - paper
    if contrast < MIN_CONTRAST or (contrast < MIN_SIGNAL * noise and (is_noisy or contrast < 0.5)):
        return paper, noise, 0.0
    # The soft edges of an enlarged scan are not noise.
    return paper, max(min(3 * noise, 0.2 * contrast), GREY_LEVEL), contrast
