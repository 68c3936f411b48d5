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
    return digit_and_parts(grey, single=True)


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


def digit_and_parts(grey: Grey, *, single: bool = False) -> Digit:
    """All that an image may show: one digit, and several.

    Args:
        grey: As in `find_digits`.
        single: Whether the largest digit is all that is wanted.

    Returns:
        What `extract_digit` finds, perhaps with `segments`. But if there seem to be several digits,
        all of them together as one, blank if they are too many or too wide for one, and `parts`.
    """
    ink = find_ink(downsample(grey, WORK_SIDE))
    if ink is None:
        return BLANK
    groups = grouped(ink)
    is_scan = max(grey.shape) <= SMALL_SIDE
    if single or len(groups) == 1:
        if is_scan and not are_side_by_side(groups):
            groups = [ink.parts > 0]  # one digit, perhaps with broken strokes
        digit = _digit(grey, ink, groups[0], segmented=not single)
        if len(groups) > 1 and SEVERAL not in digit.warnings:
            return replace(digit, warnings=(*digit.warnings, SEVERAL))
        return digit
    parts = [_digit(grey, ink, group, alone=False, segmented=True) for group in groups]
    parts = [parts[n] for n in reading_order([part.box for part in parts])]
    if not is_scan:
        parts = [_compared_with_line(part, parts) for part in parts]
    together = np.any(groups, axis=0)
    is_one = len(groups) <= MAX_PIECES and not _is_wide(_image_box(box_of(together)))
    return replace(_digit(grey, ink, together) if is_one else BLANK, parts=tuple(parts))


def _digit(
    grey: Grey, ink: Ink, group: Mask, *, alone: bool = True, segmented: bool = False
) -> Digit:
    """The digit with these components; unless `alone`, `_compared_with_line` looks for slashes.

    With `segmented`, it has the segments between cuts, in case that it is several.
    """
    values, core, corner, scale = _closer(grey, ink, group)
    box = box_of(core)
    reach = max(3, round(max(map(side_length, box)) / 12))
    around = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)
    strokes = _strokes(values[around], core[around], reach)
    inside = cropped(np.where(strokes, values[around], 0))
    pixels = np.rint(as_in_mnist(inside) * 255).astype(np.uint8)
    place = _image_box(box, corner, scale)
    is_scan = max(grey.shape) <= SMALL_SIDE  # too coarse for some checks, and for cuts
    checks = {
        TOO_SMALL: max(inside.shape) < MIN_SIDE,
        SEVERAL: _is_wide(place),
        MANY_LOOPS: num_loops(core[box]) > MAX_LOOPS,
        DOTTED: not is_scan and has_dot(ink, group),
        SLASH: not is_scan and alone and is_slash(pixels),
        POLYGON: not is_scan and is_polygon(cropped(group)),
    }
    warnings = tuple(warning for warning, is_true in checks.items() if is_true)
    digit = Digit(pixels, place, warnings)
    if is_scan or not segmented:
        return digit
    factor = reduction(grey.shape, WORK_SIDE)
    return replace(digit, segments=tuple(_segments(ink.values, group, factor)))


def _closer(grey: Grey, ink: Ink, group: Mask) -> tuple[Grey, Mask, tuple[int, int], int]:
    """The ink around a digit, and the mask of the digit; for a small one, in a crop of the image.

    Also returns left and top of the crop, and the factor by which the image was downsampled.
    """
    factor = reduction(grey.shape, WORK_SIDE)
    box = box_of(group)
    reach = max(map(side_length, box))
    if factor > 1 and reach <= MIN_SEEN:
        margin = 0.4 * reach
        window = rows, columns = tuple(
            slice(
                max(0, round((side.start - margin) * factor)), round((side.stop + margin) * factor)
            )
            for side in box
        )
        closer = find_ink(downsample(grey[window], WORK_SIDE // 2), ink.dark)
        if closer is not None:
            # What was found nearby belongs to the digit only if it was found in the whole image.
            scale = reduction(grey[window].shape, WORK_SIDE // 2)
            at = (
                (np.arange(length) * scale + side.start) // factor
                for length, side in zip(closer.parts.shape, window, strict=True)
            )
            core = near(group, 1)[np.ix_(*at)] & (closer.parts > 0)
            if core.any():
                return closer.values, core, (columns.start, rows.start), scale
    return ink.values, group, (0, 0), factor


def _strokes(ink: Grey, core: Mask, reach: int) -> Mask:
    """The strokes with their soft edges: connected ink at most a twelfth of the digit away."""
    labels, count = ndimage.label(ink > 0, structure=EIGHT)
    touched = np.zeros(count + 1, dtype=bool)
    touched[labels[core]] = True
    touched[0] = False
    return np.asarray(touched[labels] & near(core, reach))


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


def _segments(ink: Grey, core: Mask, scale: int) -> Iterator[tuple[int, int, Digit]]:
    """The parts between two cuts that may be digits, not all of the ink."""
    box = rows, columns = box_of(core)
    corner = scale * columns.start, scale * rows.start
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
            place = _image_box((rows, columns), corner, scale)
            pixels = np.rint(as_in_mnist(cropped(part)) * 255).astype(np.uint8)
            yield first, stop, Digit(pixels, place, (SLASH,) * is_slash(pixels))


def _image_box(sides: tuple[slice, slice], corner: tuple[int, int] = (0, 0), scale: int = 1) -> Box:
    """A box in pixels of the image, from rows and columns of a crop that was downsampled.

    `corner` is the left and top of the crop, and `scale` the factor of the downsampling.
    """
    (top, bottom), (left, right) = ((scale * side.start, scale * side.stop) for side in sides)
    return corner[0] + left, corner[1] + top, corner[0] + right, corner[1] + bottom


def _is_wide(box: Box) -> bool:
    """Whether two digits may touch."""
    return box[2] - box[0] > MAX_ASPECT * (box[3] - box[1])
