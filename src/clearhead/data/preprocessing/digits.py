"""The digits in an image, each as MNIST has it: light ink on 28 × 28 black pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from scipy import ndimage

from clearhead.data.preprocessing.groups import (
    MAX_PIECES,
    Box,
    are_in_line,
    are_side_by_side,
    grouped,
    reading_order,
)
from clearhead.data.preprocessing.ink import SMALL_SIDE, Ink, find_ink
from clearhead.data.preprocessing.pixels import (
    EIGHT,
    Grey,
    Mask,
    box_of,
    cropped,
    downsample,
    median,
    near,
    reduction,
    side_length,
)
from clearhead.data.preprocessing.scaling import SIDE, as_in_mnist
from clearhead.data.preprocessing.shape_checks import (
    MAX_LOOPS,
    has_dot,
    is_polygon,
    is_slash,
    num_loops,
    slant,
)
from clearhead.data.preprocessing.touching import cuts, may_be_several

WORK_SIDE = 128  # of the longer side (up to twice that) when ink is searched, in pixels
MIN_SEEN = 48  # of the digit in that, in pixels; a smaller one is searched in a crop
MIN_SIDE = 6  # of the ink, in pixels of the image
MAX_ASPECT = 2.2  # width of a digit, relative to its height
MIN_SEGMENT, MAX_SEGMENT = 0.6, 1.4  # height and width of touching digits, relative to all ink
SEGMENT_SIDE = 64  # of the longer side (up to twice that) of ink that is cut, in pixels

NO_DIGIT = "no digit found"
SEVERAL = "several digits? show one at a time"
TOO_SMALL = "very little ink: draw larger"
MANY_LOOPS = "more loops than a digit has"
SLASH = "a stroke that few writers draw as a 1: a slash, a bracket or a bar?"
DOTTED = "a dot above or below: a letter or a punctuation mark?"
POLYGON = "a figure with straight sides?"


@dataclass(frozen=True)
class Digit:
    """28 × 28 pixels from 0 (paper) to 255 (ink), all 0 without a digit.

    Attributes:
        pixels: The digit, scaled and centred as in MNIST.
        box: Left, top, right and bottom of the ink, in pixels of the image.
        warnings: Reasons to doubt that this is one digit.
        parts: The digits in reading order, if there seem to be several.
        segments: What is between two cuts, with the numbers of both, if this may be several digits
            that touch; 0 is the left end, and the largest number the right end.
    """

    pixels: UInt8[ndarray, "28 28"] = field(repr=False)
    box: Box = (0, 0, 0, 0)
    warnings: tuple[str, ...] = ()
    parts: tuple["Digit", ...] = ()
    segments: tuple[tuple[int, int, "Digit"], ...] = ()

    @property
    def found(self) -> bool:
        """Whether the image has any ink."""
        return NO_DIGIT not in self.warnings


BLANK = Digit(np.zeros((SIDE, SIDE), dtype=np.uint8), warnings=(NO_DIGIT,))


def extract_digit(grey: Grey) -> Digit:
    """Find the digit in an image, and scale and centre it as in MNIST.

    Args:
        grey: Luminance in [0, 1] (see `to_grey`) of any size; dark on light or light on dark.

    Returns:
        The digit, with a warning where there is none, where there seem to be several, or where it
        is very small.
    """
    found = _search(grey)
    return BLANK if found is None else _main_digit(grey, *found)


def find_digits(grey: Grey) -> list[Digit]:
    """Find all digits in an image.

    Args:
        grey: Luminance in [0, 1] (see `to_grey`) of any size; dark on light or light on dark.

    Returns:
        The digits in reading order: lines from top to bottom, in a line from left to right. Digits
        that touch are one; it has `segments`.
    """
    whole = digit_and_parts(grey)
    return list(whole.parts) or [whole] * whole.found


def digit_and_parts(grey: Grey) -> Digit:
    """All that an image may show: one digit, and several.

    Args:
        grey: As in `find_digits`.

    Returns:
        What `extract_digit` finds, perhaps with `segments`. But if there seem to be several digits,
        all of them together as one, blank if they are too many or too wide for one, and `parts`.
    """
    found = _search(grey)
    if found is None:
        return BLANK
    ink, groups = found
    if len(groups) == 1:
        return _with_segments(grey, ink, groups[0], _main_digit(grey, ink, groups))
    parts = [
        _with_segments(grey, ink, group, _cut_out(grey, ink, group, alone=False))
        for group in groups
    ]
    parts = [parts[n] for n in reading_order([part.box for part in parts])]
    if max(grey.shape) > SMALL_SIDE:
        parts = [_compared_with_line(part, parts) for part in parts]
    together = np.any(groups, axis=0)
    rows, columns = box_of(together)
    is_one = len(groups) <= MAX_PIECES and not _is_wide(
        (columns.start, rows.start, columns.stop, rows.stop)
    )
    return replace(_cut_out(grey, ink, together) if is_one else BLANK, parts=tuple(parts))


def _main_digit(grey: Grey, ink: Ink, groups: list[Mask]) -> Digit:
    """The largest digit; in a small image with none beside it, all ink."""
    if max(grey.shape) <= SMALL_SIDE and not are_side_by_side(groups):
        groups = [ink.parts > 0]  # a scan of one digit, perhaps with broken strokes
    digit = _cut_out(grey, ink, groups[0])
    if len(groups) > 1 and SEVERAL not in digit.warnings:
        return replace(digit, warnings=(*digit.warnings, SEVERAL))
    return digit


def _with_segments(grey: Grey, ink: Ink, group: Mask, digit: Digit) -> Digit:
    if max(grey.shape) <= SMALL_SIDE:
        return digit  # a scan of one digit
    scale = reduction(grey.shape, WORK_SIDE)
    return replace(digit, segments=tuple(_segments(ink.values, group, scale)))


def _segments(ink: Grey, core: Mask, scale: int) -> Iterator[tuple[int, int, Digit]]:
    """The parts between two cuts that may be digits, not all of the ink."""
    box = rows, columns = box_of(core)
    left, top = scale * columns.start, scale * rows.start
    if not may_be_several(core[box].shape):
        return
    values = np.where(near(core[box], 2), ink[box], 0)
    scale *= reduction(values.shape, SEGMENT_SIDE)
    values = downsample(values, SEGMENT_SIDE)
    high, wide = values.shape
    sides = cuts(values)
    ends = [np.zeros(values.shape, dtype=bool), *sides, np.ones(values.shape, dtype=bool)]
    for first, stop in combinations(range(len(ends)), 2):
        at_end = first == 0 or stop == len(sides) + 1
        if len(sides) < stop - first or not (at_end or wide > 1.3 * high):
            continue
        part = np.where(ends[stop] & ~ends[first], values, 0)
        solid = part > 0.5
        if not solid.any():
            continue
        rows, columns = box_of(solid)
        if MIN_SEGMENT * high <= side_length(rows) and side_length(columns) <= MAX_SEGMENT * high:
            x, y = (columns.start, columns.stop), (rows.start, rows.stop)
            place = left + scale * x[0], top + scale * y[0], left + scale * x[1], top + scale * y[1]
            pixels = np.rint(as_in_mnist(cropped(part)) * 255).astype(np.uint8)
            yield first, stop, Digit(pixels, place, (SLASH,) * is_slash(pixels))


def _search(grey: Grey) -> tuple[Ink, list[Mask]] | None:
    """The ink of the downsampled image, and the components of each digit, the largest first."""
    ink = find_ink(downsample(grey, WORK_SIDE))
    return None if ink is None else (ink, grouped(ink))


def _compared_with_line(part: Digit, parts: list[Digit]) -> Digit:
    """A part; with a warning if it is a slash or a bar, compared with the digits of its line."""
    line = [other for other in parts if other is not part and are_in_line(other.box, part.box)]
    comparison: tuple[float, ...] = ()
    if line:
        high, *heights = (one.box[3] - one.box[1] for one in (part, *line))
        comparison = (
            median(np.array([slant(one.pixels) for one in line])),
            high / median(np.array(heights)),
        )
    is_one = not is_slash(part.pixels, *comparison)
    return part if is_one else replace(part, warnings=(*part.warnings, SLASH))


def _cut_out(grey: Grey, ink: Ink, group: Mask, *, alone: bool = True) -> Digit:
    """One digit with its warnings; `_compared_with_line` adds that for slashes unless `alone`."""
    digit = _measured(grey, ink, group)
    if max(grey.shape) <= SMALL_SIDE:
        return digit  # too coarse for the following
    checks = {
        DOTTED: has_dot(ink, group),
        SLASH: alone and is_slash(digit.pixels),
        POLYGON: is_polygon(cropped(group)),
    }
    warnings = (warning for warning, is_true in checks.items() if is_true)
    return replace(digit, warnings=(*digit.warnings, *warnings))


def _measured(grey: Grey, ink: Ink, group: Mask) -> Digit:
    """The ink of a digit; if it is small, from a crop of the image around it."""
    factor = reduction(grey.shape, WORK_SIDE)
    box = box_of(group)
    reach = max(map(side_length, box))
    if factor == 1 or reach > MIN_SEEN:
        return _digit(ink.values, group, (0, 0), factor)
    margin = 0.4 * reach
    window = tuple(
        slice(max(0, round((side.start - margin) * factor)), round((side.stop + margin) * factor))
        for side in box
    )
    crop = grey[window]
    closer = find_ink(downsample(crop, WORK_SIDE // 2), ink.dark)
    if closer is not None:
        # What was found nearby belongs to the digit only if it was found in the whole image, too.
        scale = reduction(crop.shape, WORK_SIDE // 2)
        at = (
            (np.arange(length) * scale + side.start) // factor
            for length, side in zip(closer.parts.shape, window, strict=True)
        )
        core = near(group, 1)[np.ix_(*at)] & (closer.parts > 0)
        if core.any():
            return _digit(closer.values, core, (window[1].start, window[0].start), scale)
    return _digit(ink.values, group, (0, 0), factor)


def _digit(ink: Grey, core: Mask, corner: tuple[int, int], scale: int) -> Digit:
    """The digit with these components; `corner` (left, top) and `scale` give its place."""
    rows, columns = box_of(core)
    reach = max(3, round(max(side_length(rows), side_length(columns)) / 12))
    around = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in (rows, columns))
    inside = cropped(np.where(_strokes(ink[around], core[around], reach), ink[around], 0))
    warnings = [TOO_SMALL] * (max(inside.shape) < MIN_SIDE)
    left, top = corner
    box = (columns.start, rows.start, columns.stop, rows.stop)
    x0, y0, x1, y1 = (scale * v + start for v, start in zip(box, 2 * (left, top), strict=True))
    pixels = as_in_mnist(inside)
    place = (int(x0), int(y0), int(x1), int(y1))
    warnings += [SEVERAL] * _is_wide(place)
    warnings += [MANY_LOOPS] * (num_loops(core[rows, columns]) > MAX_LOOPS)
    return Digit(np.rint(pixels * 255).astype(np.uint8), place, tuple(warnings))


def _strokes(ink: Grey, core: Mask, reach: int) -> Mask:
    """The strokes with their soft edges: connected ink at most a twelfth of the digit away."""
    labels, count = ndimage.label(ink > 0, structure=EIGHT)
    touched = np.zeros(count + 1, dtype=bool)
    touched[labels[core]] = True
    touched[0] = False
    return np.asarray(touched[labels] & near(core, reach))


def _is_wide(box: Box) -> bool:
    """Whether two digits may touch."""
    return box[2] - box[0] > MAX_ASPECT * (box[3] - box[1])
