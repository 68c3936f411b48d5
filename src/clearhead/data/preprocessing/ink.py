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

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import ndimage

from clearhead.data.preprocessing.lines import median, without_lines

Grey = Float[ndarray, "height width"]
Mask = Bool[ndarray, "height width"]
Parts = Int[ndarray, "height width"]

THUMB_SIDE = 64  # resolution at which dark ink on light paper is distinguished from light on dark
SMALL_SIDE = 48  # smaller images are scans of one digit: no desk
MIN_SLOPE, MAX_ROUGHNESS = 0.2, 0.05  # of the light of a scan, relative to the range of grey
MIN_LINED = 32  # smaller images have no lines
MAX_STROKE, USUAL_STROKE = 0.35, 0.06  # widths, as fractions of the longer side
MIN_THIN = 0.15  # of the range of grey: height of thin structures that show which is the ink
MIN_CONTRAST = 0.08
GREY_LEVEL = 1 / 255
MIN_SIGNAL = 6.0  # difference of ink from paper, in standard deviations of the noise
MIN_LENGTH = 0.025  # of a component that shows that the digit does not touch the border
MIN_WIDTH = 0.012  # of strokes; narrower ones at the border are remains of a desk's edge
MIN_STROKES = 7.0  # length of strokes in widths; what is shorter may be a sheet
MIN_ELONGATION = 2.7  # the same; what is shorter is a solid patch
MIN_FILLED = 0.65  # share of its bounding box that a sheet fills
MAX_ALONG_EDGE = 0.8  # share of a stroke that may be where desk and paper meet
MIN_BESIDE_EDGE = 0.2  # length of strokes, relative to such an edge
MAX_OUTSIDE = 0.9  # share of the image that may be beside the paper
MIN_FADING = 0.3  # contrast of strokes, relative to that of lines that hid them
MIN_SCAN = 16  # smaller images have no frame
MIN_CROPPED, MAX_CROPPED = 0.6, 2.2  # height relative to others, and aspect, of cropped digits
MAX_CROP_MARGIN = 0.04  # from the ink of a tight crop to each side, relative to it
BORDER = 0.12  # of each side, where the remains of a frame may be
MAX_PARTS = 40
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

    @cached_property
    def boxes(self) -> dict[int, tuple[slice, ...]]:
        """Number and bounding box of each component."""
        boxes = enumerate(ndimage.find_objects(self.parts), 1)
        return {number: box for number, box in boxes if box is not None}

    @cached_property
    def may_be_solid(self) -> bool:
        """Whether the largest component fills half of its bounding box."""
        number, box = self.largest
        rows, columns = (side.stop - side.start for side in box)
        return bool(2 * np.count_nonzero(self.parts[box] == number) >= rows * columns)

    @cached_property
    def largest(self) -> tuple[int, tuple[slice, ...]]:
        """Number and bounding box of the largest component."""
        areas = np.bincount(self.parts.ravel()) if len(self.boxes) > 1 else None
        number = next(iter(self.boxes)) if areas is None else int(areas[1:].argmax()) + 1
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
        # In a band of width w, the mean distance to the nearest pixel outside is (w + 2) / 4.
        width = max(1.0, 4 * float(ndimage.distance_transform_edt(part)[part].mean()) - 2)
        return float(part.sum()) / width**2


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
        background = _closing(grey, MAX_STROKE)
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
    for _ in range(3):  # each without what differs, which is the ink of neighbours
        plane = np.linalg.lstsq(known, values, rcond=None)[0]
        error = np.abs(values - known @ plane)
        kept = error <= 3 * median(error) + GREY_LEVEL
        known, values = known[kept], values[kept]
    is_plane = median(np.abs(grey[~inside] - places[~inside] @ plane)) < MAX_ROUGHNESS * span
    if not is_plane:
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
    if found is None or found.elongation < ink.elongation:
        return None
    values, labels = np.zeros_like(ink.values), np.zeros_like(parts)
    values[box], labels[box] = found.values, found.parts
    return Ink(values, labels, found.dark)


def _strokes(grey: Grey, background: Grey, dark: bool, is_free: bool) -> Ink | None:
    """The ink on a background; with `is_free`, only if it touches neither border nor desk."""
    signal = background - grey
    level = _quantile(np.sort(background[::4, ::4], axis=None), 0.9)
    if dark:
        signal = signal / np.maximum(background, max(0.4 * level, 0.05))
    outside = background < 0.75 * level
    first = 0.0
    for _ in range(3):
        values, contrast = _scaled(signal, outside, is_free)
        first = max(first, contrast)
        if contrast == 0 or contrast < MIN_FADING * first:
            return None
        mask = values > 0.5
        thin = mask
        if max(mask.shape) > MIN_LINED:
            faint = values > 0.25
            thin = mask & (without_lines(faint, outside) | ~faint)
        parts = _parts(thin, grey, outside, is_free)
        if parts.any():
            lines = mask & ~thin
            if lines.any():
                soft = near(lines, 2) & ~near(thin, 1)
                values[soft] = 0
            return Ink(values, parts, dark)
        if is_free and thin is mask:
            return None
        signal = np.where(near(mask, 2), 0, signal)
    return None


def _parts(mask: Mask, grey: Grey, outside: Mask, is_free: bool) -> Parts:
    """Connected components without specks and, if others are as long, without those at the border.

    A neighbour or a desk touches the border, but so does a tightly cropped digit.
    """
    labels, count = ndimage.label(mask, structure=EIGHT)
    if not is_free and max(mask.shape) >= MIN_SCAN and _hugs_border(mask):
        return np.zeros_like(labels)
    if count <= 1 - is_free:  # a scan of one component
        return labels
    boxes = ndimage.find_objects(labels)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    lengths = np.array([0, *(max(side.stop - side.start for side in box) for box in boxes)])
    free = np.ones(count + 1, dtype=bool)
    for rim in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        free[rim] = False
    free[0] = False
    within = free.copy()
    free |= _tightly_cropped(boxes, free, mask.shape)
    if is_free:
        longest = lengths[free].max(initial=0)
        for number, (rows, columns) in enumerate(boxes, 1):
            if within[number] and (areas[number] < 4 or lengths[number] > 0.3 * longest):
                free[number] = areas[number] >= 4 and not _is_cut(
                    labels, number, (rows, columns), grey
                )
        beside = np.bincount(labels[outside], minlength=count + 1)
        on_desk = beside > 0.5 * areas
        both_sides = near(outside, 1) & near(~outside, 1)  # where desk and paper meet
        along_edge = np.bincount(labels[both_sides], minlength=count + 1)
        is_edge = along_edge > MAX_ALONG_EDGE * areas
        if lengths[free & ~on_desk].max(initial=0) >= MIN_LENGTH * max(mask.shape):
            free &= ~on_desk
        longest = lengths[free].max(initial=0)
        free &= ~is_edge
        if lengths[free].max(initial=0) < MIN_BESIDE_EDGE * longest:
            return np.zeros_like(labels)
        solid = (areas > MIN_WIDTH * max(mask.shape) * lengths) & ~on_desk
        solid[0] = False
        if longest < MIN_LENGTH * max(mask.shape) or longest < 0.4 * lengths[solid].max(initial=0):
            return np.zeros_like(labels)
        areas[~free] = 0
    elif lengths[free].max(initial=0) >= 0.4 * lengths.max():
        areas[~free] = 0
    kept = areas >= 0.01 * areas.max()
    kept[0] = False
    num_kept = int(kept.sum())
    if num_kept > (MAX_PARTS if is_free else MAX_PARTS // 4):
        return np.zeros_like(labels)
    return labels if num_kept == count else np.asarray(np.where(kept[labels], labels, 0))


def _tightly_cropped(
    boxes: list[tuple[slice, ...]], free: Bool[ndarray, " parts"], shape: tuple[int, ...]
) -> Bool[ndarray, " parts"]:
    """Which components are digits of a text that is cropped tightly, as far as others are free.

    Those at the border are as high as the others, and the ink reaches two opposite sides of a
    single line of text, or all four sides.
    """
    nothing = np.zeros_like(free)
    sides = np.array([[*(s.start for s in box), *(s.stop for s in box)] for box in boxes]).T
    top, left, bottom, right = sides
    heights, widths = bottom - top, right - left
    tallest = heights[free[1:]].max(initial=0)
    is_digit = (heights >= MIN_CROPPED * tallest) & (MIN_CROPPED * heights <= tallest)
    is_digit &= widths <= MAX_CROPPED * heights
    if not tallest:
        return nothing
    is_line = shape[1] > shape[0] and tallest >= MIN_CROPPED * shape[0]
    if not is_line:  # several lines, each lower than the remains of a frame
        is_digit &= heights <= MIN_CROPPED * shape[0]
    low = sides[:2, is_digit].min(axis=1, initial=max(shape))
    high = sides[2:, is_digit].max(axis=1, initial=0)
    margin = MAX_CROP_MARGIN * np.array(shape)
    if is_line or ((low <= margin).all() and (high >= shape - margin).all()):
        nothing[1:] = is_digit
    return nothing


def _hugs_border(mask: Mask) -> bool:
    """Whether nearly all ink is at the border, as the remains of a frame."""
    rows, columns = (slice(round(n * BORDER), n - round(n * BORDER)) for n in mask.shape)
    return bool(np.count_nonzero(mask[rows, columns]) < 0.15 * np.count_nonzero(mask))


def _is_cut(labels: Parts, number: int, box: tuple[slice, slice], grey: Grey) -> bool:
    """Whether a component continues, as dark, beyond the edge that the background gives it."""
    window = tuple(slice(max(0, side.start - 3), side.stop + 3) for side in box)
    part = labels[window] == number
    ring = near(part, 3) & ~near(part, 2) & (labels[window] == 0)
    if not ring.any():
        return False
    around, inside = grey[window][ring], median(grey[window][part])
    limit = inside + 0.3 * (median(around) - inside)
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
    both = np.stack([small, 1 - small])
    dark, light = _closing(both, USUAL_STROKE) - both
    if max(float(dark.max()), float(light.max())) < MIN_THIN * float(np.ptp(small)):
        return by_share, by_share
    return by_share, bool((dark**2).sum() >= (light**2).sum())


def _closing(
    grey: Float[ndarray, "*images height width"], share: float
) -> Float[ndarray, "*images height width"]:
    """The grey closing by a square. Beyond the border it is dark."""
    window = max(3, round(share * max(grey.shape[-2:])) | 1)
    closed = padded(grey, window - 1)
    for ufunc in (np.maximum, np.minimum):
        closed = _in_square(closed, window, ufunc)
    return closed


def near(mask: Mask, reach: int) -> Mask:
    """What is at most `reach` pixels away along each axis (dilation by a square)."""
    return _in_square(padded(mask, reach), 2 * reach + 1, np.logical_or)


def padded(values: ndarray, width: int) -> ndarray:
    """With zeros around the last two axes; `np.pad` takes several times as long."""
    *images, high, wide = values.shape
    larger = np.zeros((*images, high + 2 * width, wide + 2 * width), dtype=values.dtype)
    larger[..., width:-width, width:-width] = values
    return larger


def _in_square(values: ndarray, window: int, ufunc: np.ufunc) -> ndarray:
    """The extremum in each square of `window` × `window` pixels."""
    across = sliding(values, window, ufunc).swapaxes(-1, -2)
    return sliding(across, window, ufunc).swapaxes(-1, -2)


def sliding(values: ndarray, window: int, ufunc: np.ufunc) -> ndarray:
    """The extremum of each `window` successive columns, from windows of 1, 2, 4, … columns."""
    size = 1
    while size < window:
        step = min(size, window - size)
        values = ufunc(values[..., :-step], values[..., step:])
        size += step
    return values


def _scaled(signal: Grey, outside: Mask, is_noisy: bool) -> tuple[Grey, float]:
    """A difference scaled so that paper with its noise is 0, and the inside of a stroke 1.

    If nothing stands out, it is measured without what is beside the paper: a desk has a grain.

    Returns:
        The ink and its contrast, which is 0 if nothing stands out from the noise.
    """
    step = max(1, max(signal.shape) // 128)
    sample, beside = signal[::step, ::step], outside[::step, ::step]
    samples = [sample, sample[~beside]] if 0 < beside.mean() < MAX_OUTSIDE else [sample]
    for values in samples:
        paper, floor, contrast = _levels(np.sort(values, axis=None), is_noisy)
        if contrast > 0:
            scaled = (signal - paper - floor) / (contrast - floor)
            return np.asarray(np.clip(scaled, 0, 1), dtype=np.float32), contrast
    return signal, 0.0


def _levels(ordered: Float[ndarray, " pixels"], is_noisy: bool) -> tuple[float, float, float]:
    """The level of paper, and above it that of its noise and that of strokes (0 without any)."""
    middle = (_quantile(ordered, 0.02) + _quantile(ordered, 0.998)) / 2
    around = ordered[: np.searchsorted(ordered, middle, "right")]
    paper = _quantile(around, 0.5)
    noise = 1.4826 * _quantile(np.sort(np.abs(around - paper)), 0.5)
    stroke = ordered[np.searchsorted(ordered, paper + max(4 * noise, MIN_CONTRAST / 2), "right") :]
    if not stroke.size:
        return paper, noise, 0.0
    half = (paper + _quantile(stroke, 0.9)) / 2
    contrast = _quantile(stroke[np.searchsorted(stroke, half) :], 0.8) - paper
    if contrast < MIN_CONTRAST or (contrast < MIN_SIGNAL * noise and (is_noisy or contrast < 0.5)):
        return paper, noise, 0.0
    # The soft edges of an enlarged scan are no noise.
    return paper, max(min(3 * noise, 0.2 * contrast), GREY_LEVEL), contrast


def _quantile(ordered: Float[ndarray, " pixels"], share: float) -> float:
    return float(ordered[round(share * (len(ordered) - 1))])


def downsample(values: Grey, side: int) -> Grey:
    """Averages over squares of pixels, so that the longer side is `side` to twice that."""
    factor = max(values.shape) // side
    if factor <= 1:
        return values
    pad = [(0, -length % factor) for length in values.shape]
    padded = np.pad(values, pad, mode="edge") if any(map(any, pad)) else values
    high, wide = (length // factor for length in padded.shape)
    rows = padded.reshape(high, factor, wide * factor).sum(axis=1)
    return np.asarray(rows.reshape(high, wide, factor).sum(axis=2) / np.float32(factor**2))
