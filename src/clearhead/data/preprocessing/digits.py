"""The digits in an image, each as MNIST has it: light ink on 28 × 28 black pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, permutations

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from scipy import ndimage

from clearhead.data.preprocessing.ink import (
    EIGHT,
    SMALL_SIDE,
    Grey,
    Ink,
    Mask,
    downsample,
    find_ink,
    near,
    padded,
)
from clearhead.data.preprocessing.polygons import is_polygon
from clearhead.data.preprocessing.scaling import SIDE, as_in_mnist, box_of, cropped, side_length
from clearhead.data.preprocessing.touching import cuts, may_be_several

WORK_SIDE = 128  # of the longer side (up to twice that) when ink is searched, in pixels
MIN_SEEN = 48  # of the digit in that, in pixels; a smaller one is searched in a crop
MIN_SIDE = 6  # of the ink, in pixels of the image
MIN_HEIGHT = 0.35  # of the highest digit in an image
MAX_ASPECT = 2.2  # width of a digit, relative to its height
MIN_SEGMENT, MAX_SEGMENT = 0.6, 1.4  # height and width of touching digits, relative to all ink
SEGMENT_SIDE = 64  # of the longer side (up to twice that) of ink that is cut, in pixels
MAX_DIGITS = 100  # an image of more parts is no text of digits
MAX_PIECES = 4  # of a digit whose strokes are interrupted
MAX_GAP = 0.8  # in an interrupted stroke, relative to its width
MAX_PIECE, MAX_PIECES_ASPECT = 0.75, 1.1  # length of its pieces and width, relative to the height
MAX_BAR, MAX_BAR_GAP = 0.5, 0.5  # width, and gap between two, relative to their height
MAX_LOOPS, MIN_LOOP = 2, 0.008  # a loop's area relative to the bounding box
MIN_DOT, MAX_DOT, MAX_DOT_GAP = 0.05, 0.4, 0.4  # relative to the height of the stroke
MAX_BREADTH = 0.3  # of a single stroke: deviation of the ink across it, relative to that along it
# At most 1 in 500 ones of MNIST's training digits is beyond each of these.
MIN_SLANT, MAX_SLANT, MAX_BEND = -48.0, 32.0, 0.17
LOOPS_SEEN = 32  # side of the ink in pixels; in smaller images noise makes loops

NO_DIGIT = "no digit found"
SEVERAL = "several digits? show one at a time"
TOO_SMALL = "very little ink: draw larger"
MANY_LOOPS = "more loops than a digit has"
SLASH = "a single stroke, more slanted or bent than a 1: a slash or a bracket?"
DOTTED = "a dot above or below: a letter or a punctuation mark?"
POLYGON = "a figure with straight sides?"

Box = tuple[int, int, int, int]
Sides = tuple[slice, ...]


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

    pixels: UInt8[ndarray, "28 28"]
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
    if not 2 <= len(groups) <= MAX_DIGITS:
        whole = _main_digit(grey, ink, groups)
        return whole if len(groups) > 1 else _with_segments(grey, ink, groups[0], whole)
    parts = _in_reading_order(
        [_with_segments(grey, ink, group, _cut_out(grey, ink, group)) for group in groups]
    )
    together = np.any(groups, axis=0)
    rows, columns = box_of(together)
    is_one = len(groups) <= MAX_PIECES and not _is_wide(
        (columns.start, rows.start, columns.stop, rows.stop)
    )
    return replace(_cut_out(grey, ink, together) if is_one else BLANK, parts=tuple(parts))


def _main_digit(grey: Grey, ink: Ink, groups: list[Mask]) -> Digit:
    """The largest digit; in a small image with none beside it, all ink."""
    if max(grey.shape) <= SMALL_SIDE and not _side_by_side(groups):
        groups = [ink.parts > 0]  # a scan of one digit, perhaps with broken strokes
    digit = _cut_out(grey, ink, groups[0])
    if len(groups) > 1 and SEVERAL not in digit.warnings:
        return replace(digit, warnings=(*digit.warnings, SEVERAL))
    return digit


def _with_segments(grey: Grey, ink: Ink, group: Mask, digit: Digit) -> Digit:
    if max(grey.shape) <= SMALL_SIDE:
        return digit  # a scan of one digit
    scale = max(1, max(grey.shape) // WORK_SIDE)
    return replace(digit, segments=tuple(_segments(ink.values, group, scale)))


def _segments(ink: Grey, core: Mask, scale: int) -> Iterator[tuple[int, int, Digit]]:
    """The parts between two cuts that may be digits, not all of the ink."""
    box = rows, columns = box_of(core)
    left, top = scale * columns.start, scale * rows.start
    if not may_be_several(core[box].shape):
        return
    values = np.where(near(core[box], 2), ink[box], 0)
    scale *= max(1, max(values.shape) // SEGMENT_SIDE)
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
            yield first, stop, Digit(pixels, place)


def _search(grey: Grey) -> tuple[Ink, list[Mask]] | None:
    """The ink of the downsampled image, and the components of each digit, the largest first."""
    ink = find_ink(downsample(grey, WORK_SIDE))
    groups = [] if ink is None else _groups(ink)
    return None if ink is None or not groups else (ink, groups)


def _cut_out(grey: Grey, ink: Ink, group: Mask) -> Digit:
    """One of the digits that were found."""
    digit = _measured(grey, ink, group)
    if max(grey.shape) <= SMALL_SIDE:
        return digit  # too coarse for the following
    remarks = {
        DOTTED: _has_dot(ink, group),
        SLASH: _is_slash(digit.pixels),
        POLYGON: is_polygon(cropped(group)),
    }
    warnings = (warning for warning, is_true in remarks.items() if is_true)
    return replace(digit, warnings=(*digit.warnings, *warnings))


def _is_slash(pixels: UInt8[ndarray, "28 28"]) -> bool:
    """Whether this is a single stroke, but slanted or bent more than a 1 is by writers."""
    ys, xs = np.nonzero(pixels)
    weights = pixels[ys, xs] / pixels.sum(dtype=float)
    points = np.stack([xs - weights @ xs, ys - weights @ ys])
    variances, axes = np.linalg.eigh((weights * points) @ points.T)
    if variances[0] >= MAX_BREADTH**2 * variances[1]:
        return False
    across, along = axes.T @ points
    bend = abs(weights @ (across * along**2)) / variances[1] ** 1.5
    right, down = axes[:, 1]
    slant = np.degrees(np.arctan2(right * np.sign(down), abs(down)))
    return bool(bend > MAX_BEND or not MIN_SLANT < slant < MAX_SLANT)


def _has_dot(ink: Ink, group: Mask) -> bool:
    """Whether a round component is above or below a stroke, as in i, ! and ?."""
    if len(ink.boxes) == 1:
        return False
    boxes = [ink.boxes[number] for number in np.unique(ink.parts[group])]
    rows, columns = max(boxes, key=lambda box: side_length(box[0]))
    high = side_length(rows)
    for box in ink.boxes.values():
        small, large = sorted(map(side_length, box))
        gap = max(box[0].start - rows.stop, rows.start - box[0].stop)
        is_within = columns.start <= (box[1].start + box[1].stop) / 2 <= columns.stop
        is_round = MIN_DOT * high < large < min(MAX_DOT * high, 2 * small)
        if is_within and is_round and 0 < gap < MAX_DOT_GAP * high:
            return True
    return False


def _measured(grey: Grey, ink: Ink, group: Mask) -> Digit:
    """The ink of a digit; if it is small, from a crop of the image around it."""
    factor = max(1, max(grey.shape) // WORK_SIDE)
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
        scale = max(1, max(crop.shape) // (WORK_SIDE // 2))
        at = (
            np.minimum((np.arange(length) * scale + side.start) // factor, limit - 1)
            for length, side, limit in zip(closer.parts.shape, window, group.shape, strict=True)
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
    warnings += [MANY_LOOPS] * (_num_loops(core[rows, columns]) > MAX_LOOPS)
    return Digit(np.rint(pixels * 255).astype(np.uint8), place, tuple(warnings))


def _strokes(ink: Grey, core: Mask, reach: int) -> Mask:
    """The strokes with their soft edges: connected ink at most a twelfth of the digit away."""
    labels, count = ndimage.label(ink > 0, structure=EIGHT)
    touched = np.zeros(count + 1, dtype=bool)
    touched[labels[core]] = True
    touched[0] = False
    return np.asarray(touched[labels] & near(core, reach))


def _num_loops(core: Mask) -> int:
    """The areas that strokes enclose."""
    if max(core.shape) < LOOPS_SEEN:
        return 0
    labels, _ = ndimage.label(~padded(core, 1))
    areas = np.bincount(labels.ravel())[1:]
    return int((areas >= MIN_LOOP * core.size).sum()) - 1  # without the outside


def _is_wide(box: Box) -> bool:
    """Whether two digits may touch."""
    return box[2] - box[0] > MAX_ASPECT * (box[3] - box[1])


def _groups(ink: Ink) -> list[Mask]:
    """The components of each digit, the largest first; dots, commas and minus signs left out."""
    parts, boxes = ink.parts, ink.boxes
    groups: list[list[int]] = []
    # A set of pieces is one component here; its key is one of them.
    pieces = _interrupted(ink)
    boxes = boxes | {key: _hull([boxes[n] for n in piece]) for key, piece in pieces.items()}
    for number in sorted(pieces, key=lambda n: -max(map(side_length, boxes[n]))):
        for group in groups:
            if any(_belong_together(boxes[number], boxes[other]) for other in group):
                group.append(number)
                break
        else:
            groups.append([number])
    if len(groups) == 1:
        return [parts > 0]
    groups = [[n for key in group for n in pieces[key]] for group in groups]
    masks = [np.isin(parts, group) for group in groups]
    heights = [side_length(box_of(mask)[0]) for mask in masks]
    pairs = zip(heights, masks, strict=True)
    return [mask for height, mask in pairs if height >= MIN_HEIGHT * max(heights)]


def _interrupted(ink: Ink) -> dict[int, list[int]]:
    """The pieces of each stroke that is interrupted, as in displays, stencils and dot matrices.

    The gaps are narrower than the strokes, and each piece is shorter than a digit.
    """
    alone = {number: [number] for number in ink.boxes}
    if len(alone) < 2:
        return alone
    mask = padded(ink.parts > 0, 1)
    width = 4 * float(ndimage.distance_transform_edt(mask)[mask].mean()) - 2
    joined, _ = ndimage.label(near(ink.parts > 0, max(1, round(MAX_GAP * width / 2))))
    sets: dict[int, list[int]] = {}
    for number, box in ink.boxes.items():
        at = np.unravel_index((ink.parts[box] == number).argmax(), ink.parts[box].shape)
        label = joined[tuple(side.start + n for side, n in zip(box, at, strict=True))]
        sets.setdefault(int(label), []).append(number)
    label_of = {number: label for label, numbers in sets.items() for number in numbers}
    for upper, lower in _stacked_bars(ink):
        one, other = label_of[upper], label_of[lower]
        if one != other:
            sets[one] += (moved := sets.pop(other))
            label_of |= dict.fromkeys(moved, one)
    pieces: dict[int, list[int]] = {}
    for numbers in sets.values():
        high, wide = map(side_length, _hull([ink.boxes[n] for n in numbers]))
        longest = max(side_length(side) for n in numbers for side in ink.boxes[n])
        is_one = longest <= MAX_PIECE * high and wide <= MAX_PIECES_ASPECT * high
        pieces |= {numbers[0]: numbers} if is_one else {n: [n] for n in numbers}
    return pieces


def _stacked_bars(ink: Ink) -> Iterator[tuple[int, int]]:
    """Upright bars of one length, one above the other, if nothing as high is a digit."""
    sizes = {n: tuple(map(side_length, box)) for n, box in ink.boxes.items()}
    bars = [n for n, (high, wide) in sizes.items() if wide <= MAX_BAR * high]
    for upper, lower in permutations(bars, 2):
        (high, wide), (other, _) = sizes[upper], sizes[lower]
        boxes = ink.boxes[upper], ink.boxes[lower]
        gap = boxes[1][0].start - boxes[0][0].stop
        left, right = sorted(boxes, key=lambda box: box[1].start)
        is_above = right[1].start - left[1].start <= wide + 0.25 * high
        is_alike = 0.8 * high <= other <= 1.25 * high
        if not (is_above and is_alike and 0 <= gap <= MAX_BAR_GAP * high):
            continue
        if not any(0.8 * high <= h <= 1.25 * high and w > MAX_BAR * h for h, w in sizes.values()):
            yield upper, lower


def _hull(boxes: list[Sides]) -> Sides:
    """The bounding box of several."""
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*boxes, strict=True)
    )


def _belong_together(part: Sides, other: Sides) -> bool:
    """Whether two components are strokes of one digit.

    A short one near a long one is, as the bar of a 5; and pieces of a broken stroke, unless
    together they would be too high for a digit.
    """
    sizes = [max(map(side_length, box)) for box in (part, other)]
    pairs = list(zip(part, other, strict=True))
    gaps = [max(a.start - b.stop, b.start - a.stop) for a, b in pairs]
    if max(gaps) < 0:
        return True
    heights = [side_length(box[0]) for box in (part, other)]
    if min(sizes) < 0.6 * max(sizes):
        is_bar = 2 * side_length(part[0]) < side_length(part[1])
        is_high = part[0].stop < other[0].start + 0.3 * heights[1]
        return bool(max(gaps) < (0.25 if is_bar and is_high else 0.15) * max(sizes))
    if gaps[0] < 0 and min(heights) < 0.8 * max(heights) and gaps[1] < 0.08 * max(sizes):
        return True
    height, width = (max(a.stop, b.stop) - min(a.start, b.start) for a, b in pairs)
    is_stacked = gaps[1] < -0.5 * min(side_length(part[1]), side_length(other[1]))
    is_thin = width < 0.4 * max(sizes)
    return bool(is_stacked and gaps[0] < 0.08 * max(sizes) and (is_thin or height < 2 * width))


def _side_by_side(groups: list[Mask]) -> bool:
    """Whether two digits of about the same height stand side by side."""
    if len(groups) == 1:
        return False
    boxes = [box_of(group) for group in groups]
    tallest = max(side_length(rows) for rows, _ in boxes)
    columns = sorted((c.start, c.stop) for r, c in boxes if side_length(r) >= 0.7 * tallest)
    return any(after[0] >= before[1] for before, after in pairwise(columns))


def _in_reading_order(digits: list[Digit]) -> list[Digit]:
    """Lines from top to bottom, in a line from left to right."""
    lines: list[list[Digit]] = []
    for digit in sorted(digits, key=lambda digit: digit.box[1] + digit.box[3]):
        middle = (digit.box[1] + digit.box[3]) / 2
        if lines and any(other.box[1] <= middle <= other.box[3] for other in lines[-1]):
            lines[-1].append(digit)
        else:
            lines.append([digit])
    return [digit for line in lines for digit in sorted(line, key=lambda digit: digit.box)]
