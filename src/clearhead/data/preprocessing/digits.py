"""The digit in an image as MNIST has it: light ink on 28 × 28 black pixels.

MNIST's rule (LeCun et al. 1998): the ink's bounding box is scaled so that its longer side is 20
pixels, and shifted by whole pixels until its centre of mass is in the middle, at 14.0 in pixel
indices.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from PIL import Image
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
    sliding,
)
from clearhead.data.preprocessing.touching import left_side

WORK_SIDE = 128  # of the longer side (up to twice that) when ink is searched, in pixels
MIN_SEEN = 48  # of the digit in that, in pixels; a smaller one is searched in a crop
SIDE, INK_SIDE, CENTRE = 28, 20, 14.0
MIN_SIDE = 6  # of the ink, in pixels of the image
MIN_HEIGHT = 0.35  # of the highest digit in an image
MAX_ASPECT = 2.2  # width of a digit, relative to its height
MAX_DIGITS = 100  # an image of more parts is no text of digits
MAX_PIECES = 4  # of a digit whose strokes are interrupted
MAX_LOOPS, MIN_LOOP = 2, 0.008  # a loop's area relative to the bounding box
LOOPS_SEEN = 32  # side of the ink in pixels; in smaller images noise makes loops
MIN_INK = 0.15  # fainter ink is ignored when the size is measured
MAX_EROSION = 1.0  # on each side of a thick stroke; of 28 pixels
# Of 28 pixels: thinner strokes are dilated to the normal width, thicker ones eroded to the last.
MIN_STROKE, NORMAL_STROKE, MAX_STROKE = 1.3, 2.0, 4.0

NO_DIGIT = "no digit found"
SEVERAL = "several digits? show one at a time"
TOO_SMALL = "very little ink: draw larger"
MANY_LOOPS = "more loops than a digit has"


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
        halves: The left and the right half, if this may be two digits that touch.
    """

    pixels: UInt8[ndarray, "28 28"]
    box: Box = (0, 0, 0, 0)
    warnings: tuple[str, ...] = ()
    parts: tuple["Digit", ...] = ()
    halves: tuple["Digit", ...] = ()

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
        that touch are one; it has `halves`.
    """
    whole = digit_and_parts(grey)
    return list(whole.parts) or [whole] * whole.found


def digit_and_parts(grey: Grey) -> Digit:
    """All that an image may show: one digit, and several.

    Args:
        grey: As in `find_digits`.

    Returns:
        What `extract_digit` finds, perhaps with `halves`. But if there seem to be several digits,
        all of them together as one, blank if they are too many or too wide for one, and `parts`.
    """
    found = _search(grey)
    if found is None:
        return BLANK
    ink, groups = found
    if not 2 <= len(groups) <= MAX_DIGITS:
        whole = _main_digit(grey, ink, groups)
        return whole if len(groups) > 1 else _with_halves(grey, ink, groups[0], whole)
    parts = _in_reading_order(
        [_with_halves(grey, ink, group, _cut_out(grey, ink, group)) for group in groups]
    )
    together = np.any(groups, axis=0)
    rows, columns = _box(together)
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


def _with_halves(grey: Grey, ink: Ink, group: Mask, digit: Digit) -> Digit:
    if max(grey.shape) <= SMALL_SIDE:
        return digit  # a scan of one digit
    scale = max(1, max(grey.shape) // WORK_SIDE)
    return replace(digit, halves=_halves(ink.values, group, scale))


def _halves(ink: Grey, core: Mask, scale: int) -> tuple[Digit, ...]:
    """The digits to the left and to the right of the best cut, which may be cut again."""
    box = _box(core)
    left = left_side(np.where(core[box], ink[box], 0))
    if left is None:
        return ()
    digits = []
    for side in (left, ~left):
        half, values = np.zeros_like(core), np.zeros_like(ink)
        half[box], values[box] = core[box] & side, np.where(side, ink[box], 0)
        if not half.any():
            return ()
        digit = _digit(values, half, (0, 0), scale)
        digits.append(replace(digit, halves=_halves(values, half, scale)))
    return tuple(digits)


def _search(grey: Grey) -> tuple[Ink, list[Mask]] | None:
    """The ink of the downsampled image, and the components of each digit, the largest first."""
    ink = find_ink(downsample(grey, WORK_SIDE))
    groups = [] if ink is None else _groups(ink)
    return None if ink is None or not groups else (ink, groups)


def _cut_out(grey: Grey, ink: Ink, group: Mask) -> Digit:
    """One of the digits that were found; if it is small, from a crop of the image around it."""
    factor = max(1, max(grey.shape) // WORK_SIDE)
    box = _box(group)
    reach = max(map(_length, box))
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
    rows, columns = _box(core)
    reach = max(3, round(max(_length(rows), _length(columns)) / 12))
    around = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in (rows, columns))
    inside = _crop(np.where(_strokes(ink[around], core[around], reach), ink[around], 0))
    warnings = [TOO_SMALL] * (max(inside.shape) < MIN_SIDE)
    left, top = corner
    box = (columns.start, rows.start, columns.stop, rows.stop)
    x0, y0, x1, y1 = (scale * v + start for v, start in zip(box, 2 * (left, top), strict=True))
    pixels = _centred(_to_ink_side(inside))
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
    for number in sorted(boxes, key=lambda n: -max(map(_length, boxes[n]))):
        for group in groups:
            if any(_belong_together(boxes[number], boxes[other]) for other in group):
                group.append(number)
                break
        else:
            groups.append([number])
    if len(groups) == 1:
        return [parts > 0]
    masks = [np.isin(parts, group) for group in groups]
    heights = [_length(_box(mask)[0]) for mask in masks]
    pairs = zip(heights, masks, strict=True)
    return [mask for height, mask in pairs if height >= MIN_HEIGHT * max(heights)]


def _belong_together(part: Sides, other: Sides) -> bool:
    """Whether two components are strokes of one digit.

    A short one near a long one is, as the bar of a 5; and pieces of a broken stroke, unless
    together they would be too high for a digit.
    """
    sizes = [max(map(_length, box)) for box in (part, other)]
    pairs = list(zip(part, other, strict=True))
    gaps = [max(a.start - b.stop, b.start - a.stop) for a, b in pairs]
    if max(gaps) < 0:
        return True
    heights = [_length(box[0]) for box in (part, other)]
    if min(sizes) < 0.6 * max(sizes):
        is_bar = 2 * _length(part[0]) < _length(part[1])
        is_high = part[0].stop < other[0].start + 0.3 * heights[1]
        return bool(max(gaps) < (0.25 if is_bar and is_high else 0.15) * max(sizes))
    if gaps[0] < 0 and min(heights) < 0.8 * max(heights) and gaps[1] < 0.08 * max(sizes):
        return True
    height, width = (max(a.stop, b.stop) - min(a.start, b.start) for a, b in pairs)
    is_stacked = gaps[1] < -0.5 * min(_length(part[1]), _length(other[1]))
    is_thin = width < 0.4 * max(sizes)
    return bool(is_stacked and gaps[0] < 0.08 * max(sizes) and (is_thin or height < 2 * width))


def _side_by_side(groups: list[Mask]) -> bool:
    """Whether two digits of about the same height stand side by side."""
    if len(groups) == 1:
        return False
    boxes = [_box(group) for group in groups]
    tallest = max(_length(rows) for rows, _ in boxes)
    columns = sorted((c.start, c.stop) for r, c in boxes if _length(r) >= 0.7 * tallest)
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


def _length(side: slice) -> int:
    return int(side.stop - side.start)


def _crop(values: ndarray) -> ndarray:
    """The values within the bounding box of all that is not 0."""
    return values[_box(values)]


def _box(values: ndarray) -> tuple[slice, slice]:
    filled = values if values.dtype == bool else values != 0
    rows, columns = (np.asarray(filled.any(axis=axis)) for axis in (1, 0))
    return _span(rows), _span(columns)


def _span(filled: Bool[ndarray, " length"]) -> slice:
    return slice(int(filled.argmax()), len(filled) - int(filled[::-1].argmax()))


def _to_ink_side(ink: Grey) -> Grey:
    """Scaled so that the longer side is 20 pixels; very thin strokes are dilated first.

    Averaging alone would leave them too faint.
    """
    ink = _scaled_to(ink, 4 * INK_SIDE) if max(ink.shape) > 4 * INK_SIDE else ink
    unit = max(ink.shape) / INK_SIDE
    # In a band of width w, the mean distance to the nearest pixel outside is (w + 2) / 4.
    inside = ink > 0.3 * ink.max()
    width = (4 * float(ndimage.distance_transform_edt(inside)[inside].mean()) - 2) / unit
    if unit > 2 and width < MIN_STROKE:
        radius = (NORMAL_STROKE - width) / 2 * unit
        ink = _crop(_dilated(ink / ink.max(), radius))
    elif width > MAX_STROKE and unit >= 0.8:
        if unit <= 2:
            ink = _scaled_to(ink, 4 * INK_SIDE)
            unit = max(ink.shape) / INK_SIDE
        ink = _eroded(ink, min((width - MAX_STROKE) / 2, MAX_EROSION) * unit)
    return _scaled_to(ink, INK_SIDE)


def _dilated(ink: Grey, radius: float) -> Grey:
    """The maximum within a disc (grey dilation), row by row of the disc."""
    reach = int(np.ceil(radius))
    larger = padded(ink, 2 * reach)
    high, wide = (length + 2 * reach for length in ink.shape)
    dilated = np.zeros((high, wide), dtype=ink.dtype)
    for half in range(reach + 1):
        rows = [y for y in range(-reach, reach + 1) if _half_width(radius, y) == half]
        if rows:
            widest = sliding(
                larger[:, reach - half : wide + reach + half], 2 * half + 1, np.maximum
            )
            for y in rows:
                np.maximum(dilated, widest[reach + y : reach + y + high], out=dilated)
    return dilated


def _half_width(radius: float, y: int) -> int:
    """Of a disc at this distance from its middle; −1 outside."""
    square = radius**2 + 0.5 - y**2
    return int(np.sqrt(square)) if square >= 0 else -1


def _eroded(ink: Grey, radius: float) -> Grey:
    """The minimum within a disc; unchanged if hardly anything would be left."""
    reach = int(np.ceil(radius))
    thinner = 1 - _dilated(1 - padded(ink, reach + 1), radius)[reach:-reach, reach:-reach]
    return _crop(thinner) if (thinner > 0.5).any() else ink


def _scaled_to(ink: Grey, side: int) -> Grey:
    """Scaled so that the longer side of the bounding box, without faint ink, is `side` pixels.

    Blurred edges and JPEG artefacts must not make the digit smaller. A digit at most a tenth
    smaller is left as it is, because resampling would blur it.
    """
    box = max(map(_length, _box(ink > MIN_INK)))
    if 0.9 * side <= box <= side and max(ink.shape) <= side * SIDE / INK_SIDE:
        return ink
    scale = min(side / box, side * SIDE / INK_SIDE / max(ink.shape))
    high, wide = (max(1, round(length * scale)) for length in ink.shape)
    return resize_area(ink, high, wide)


def _centred(ink: Grey) -> Float[ndarray, "28 28"]:
    """On 28 × 28 pixels, with the centre of mass as near to 14.0 as whole pixels allow.

    Only faint ink may be cut off.
    """
    canvas = np.zeros((3 * SIDE, 3 * SIDE), dtype=np.float32)
    place = []
    for axis, solid in enumerate(_box(ink > MIN_INK)):
        mass = ink.sum(axis=1 - axis)
        middle = float((mass * np.arange(len(mass))).sum() / mass.sum())
        place.append(min(max(round(CENTRE - middle), -solid.start), SIDE - solid.stop))
    top, left = (SIDE + shift for shift in place)
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return canvas[SIDE:-SIDE, SIDE:-SIDE]


def resize_area(
    values: Float[ndarray, "height width"], height: int, width: int
) -> Float[ndarray, "new_height new_width"]:
    """Area averages where the image shrinks; bicubic, clipped to [0, 1], where it grows.

    Filters that sample pixel centres lose thin strokes; area weights are exact for any ratio.
    """
    if height > values.shape[0] or width > values.shape[1]:
        image = Image.fromarray(values.astype(np.float32))
        larger = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(np.clip(np.asarray(larger), 0, 1))
    down, right = (
        area_weights(*lengths).astype(np.float32)
        for lengths in zip(values.shape, (height, width), strict=True)
    )
    return np.asarray(down @ values.astype(np.float32) @ right.T)


@lru_cache(maxsize=64)
def area_weights(inputs: int, outputs: int) -> Float[ndarray, "outputs inputs"]:
    """The share of every input pixel in every output pixel along one axis; rows sum to 1."""
    edges = np.linspace(0, inputs, outputs + 1)[:, None]
    pixels = np.arange(inputs)[None]
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    weights = np.maximum(overlap, 0) * (outputs / inputs)
    weights.flags.writeable = False  # shared by all callers
    return np.asarray(weights)
