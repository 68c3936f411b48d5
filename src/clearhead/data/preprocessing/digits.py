"""The digit in an image as MNIST has it: light ink on 28 × 28 black pixels.

MNIST's rule (LeCun et al. 1998): the ink's bounding box is scaled so that its longer side is 20
pixels, and shifted by whole pixels until its centre of mass is in the middle, at 14.0 in pixel
indices.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from PIL import Image
from scipy import ndimage

from clearhead.data.preprocessing.ink import Grey, Ink, Mask, downsample, find_ink

WORK_SIDE = 160  # of the longer side (up to twice that) when ink is searched, in pixels
SIDE, INK_SIDE, CENTRE = 28, 20, 14.0
MIN_SIDE = 6  # of the ink, in pixels of the image
MIN_INK = 0.15  # fainter ink is ignored when the size is measured
MAX_EROSION = 1.0  # on each side of a thick stroke; of 28 pixels
MIN_STROKE, NORMAL_STROKE, MAX_STROKE = (
    1.3,
    2.0,
    4.0,
)  # thinner strokes are dilated to the latter; of 28 pixels

NO_DIGIT = "no digit found"
SEVERAL = "several digits? show one at a time"
TOO_SMALL = "very little ink: draw larger"


Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Digit:
    """28 × 28 pixels from 0 (paper) to 255 (ink), all 0 without a digit.

    Attributes:
        pixels: The digit, scaled and centred as in MNIST.
        box: Left, top, right and bottom of the ink, in pixels of the image.
        warnings: Reasons to doubt that this is one digit.
    """

    pixels: UInt8[ndarray, "28 28"]
    box: Box = (0, 0, 0, 0)
    warnings: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether the image has any ink."""
        return NO_DIGIT not in self.warnings


def extract_digit(grey: Grey) -> Digit:
    """Find the digit in an image, and scale and centre it as in MNIST.

    Args:
        grey: Luminance in [0, 1] (see `to_grey`) of any size; dark on light or light on dark.

    Returns:
        The digit, with a warning where there is none, where there seem to be several, or where it
        is very small.
    """
    found = _find_ink_zoomed(grey)
    if found is None:
        return Digit(np.zeros((SIDE, SIDE), dtype=np.uint8), warnings=(NO_DIGIT,))
    ink, place = found
    values = np.where(_around(ink.values, ink.parts > 0), ink.values, 0)
    return _digit(values, place, (SEVERAL,) if _side_by_side(ink.parts) else ())


def find_digits(grey: Grey) -> list[Digit]:
    """Find all digits in an image.

    Args:
        grey: Luminance in [0, 1] (see `to_grey`) of any size; dark on light or light on dark.

    Returns:
        The digits in reading order: lines from top to bottom, in a line from left to right.
    """
    small = downsample(grey, WORK_SIDE)
    ink = find_ink(small)
    if ink is None:
        return []
    factor = max(1, max(grey.shape) // WORK_SIDE)
    groups = _groups(ink.parts)
    digits = []
    for place in _in_reading_order([_box(group) for group in groups]):
        group = next(group for group in groups if _box(group) == place)
        alone = np.where(_around(ink.values, group), ink.values, 0)
        digits.append(_digit(alone, (0, 0, factor), ()))
    return digits


def _digit(ink: Grey, place: tuple[int, int, int], warnings: tuple[str, ...]) -> Digit:
    """The digit of this ink; `place` is left, top and scale of the ink in the image."""
    rows, columns = _box(ink > 0.5)
    if max(_crop(ink).shape) < MIN_SIDE:
        warnings = (TOO_SMALL, *warnings)
    left, top, factor = place
    sides = (columns.start, rows.start, columns.stop, rows.stop)
    box = tuple(side * factor + start for side, start in zip(sides, 2 * (left, top), strict=True))
    pixels = _centred(_to_ink_side(_crop(ink)))
    return Digit(np.rint(pixels * 255).astype(np.uint8), (box[0], box[1], box[2], box[3]), warnings)


def _groups(parts: ndarray) -> list[Mask]:
    """The components of each digit: a short one belongs to the longer one beside it."""
    boxes = {n + 1: box for n, box in enumerate(ndimage.find_objects(parts)) if box is not None}
    longest_first = sorted(boxes, key=lambda n: -max(map(_length, boxes[n])))
    owner: dict[int, int] = {}
    for n in longest_first:
        for main in dict.fromkeys(owner.values()):
            longest = max(map(_length, boxes[main]))
            pairs = zip(boxes[n], boxes[main], strict=True)
            gaps = [max(a.start - b.stop, b.start - a.stop) for a, b in pairs]
            if max(map(_length, boxes[n])) < 0.6 * longest and max(gaps) < 0.15 * longest:
                owner[n] = main
                break
        else:
            owner[n] = n
    tallest = max(_length(boxes[main][0]) for main in owner.values())
    mains = [n for n in owner if owner[n] == n and max(map(_length, boxes[n])) >= 0.35 * tallest]
    return [np.isin(parts, [n for n in owner if owner[n] == main]) for main in mains]


def _in_reading_order(boxes: list[tuple[slice, slice]]) -> list[tuple[slice, slice]]:
    """Lines from top to bottom, in a line from left to right."""
    lines: list[list[tuple[slice, slice]]] = []
    for box in sorted(boxes, key=lambda box: box[0].start + box[0].stop):
        middle = (box[0].start + box[0].stop) / 2
        if lines and any(other[0].start <= middle <= other[0].stop for other in lines[-1]):
            lines[-1].append(box)
        else:
            lines.append([box])
    return [box for line in lines for box in sorted(line, key=lambda box: box[1].start)]


def _find_ink_zoomed(grey: Grey) -> tuple[Ink, tuple[int, int, int]] | None:
    """The ink, and its left, top and scale in the image; a small digit is searched in a crop."""
    small = downsample(grey, WORK_SIDE)
    ink = find_ink(small)
    factor = max(1, max(grey.shape) // WORK_SIDE)
    if ink is None:
        return None
    whole = ink, (0, 0, factor)
    if factor == 1:
        return whole
    rows, columns = _box(ink.parts > 0)
    reach = max(_length(rows), _length(columns))
    if 2 * reach > max(small.shape):
        return whole
    margin = 0.4 * reach
    near = tuple(
        slice(max(0, round((side.start - margin) * factor)), round((side.stop + margin) * factor))
        for side in (rows, columns)
    )
    crop = grey[near]
    closer = find_ink(downsample(crop, WORK_SIDE), ink.dark)
    place = (near[1].start, near[0].start, max(1, max(crop.shape) // WORK_SIDE))
    if closer is None:
        return whole
    # What was found nearby belongs to the digit only if it was found in the whole image, too.
    seen = _enlarged(ndimage.maximum_filter(ink.parts > 0, 3), factor, near, place, closer)
    parts = np.where(seen, closer.parts, 0)
    return (replace(closer, parts=parts), place) if parts.any() else whole


def _enlarged(
    mask: Mask, factor: int, near: tuple[slice, ...], place: tuple[int, int, int], closer: Ink
) -> Mask:
    """A mask at the resolution and place of a crop."""
    at = (
        (np.arange(length) * place[2] + side.start) // factor
        for length, side in zip(closer.parts.shape, near, strict=True)
    )
    return np.asarray(
        mask[np.ix_(*(np.minimum(i, n - 1) for i, n in zip(at, mask.shape, strict=True)))]
    )


def _length(side: slice) -> int:
    return int(side.stop - side.start)


def _around(ink: Grey, core: Mask) -> Mask:
    """The strokes with their soft edges: connected ink at most a twelfth of the digit away."""
    labels, count = ndimage.label(ink > 0, structure=np.ones((3, 3)))
    touched = np.zeros(count + 1, dtype=bool)
    touched[np.unique(labels[core])] = True
    touched[0] = False
    reach = max(3, round(max(_crop(core).shape) / 12))
    near = ndimage.maximum_filter(core, size=2 * reach + 1)
    return np.asarray(touched[labels] & near)


def _side_by_side(parts: ndarray) -> bool:
    """Whether two components of about the same height stand side by side."""
    boxes = [box for box in ndimage.find_objects(parts) if box is not None]
    tallest = max((_length(rows) for rows, _ in boxes), default=0)
    columns = sorted(
        (columns.start, columns.stop) for rows, columns in boxes if _length(rows) >= 0.7 * tallest
    )
    return any(after[0] >= before[1] for before, after in pairwise(columns))


def _crop(values: ndarray) -> ndarray:
    """The values within the bounding box of all that is not 0."""
    return values[_box(values)]


def _box(values: ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(values.any(axis=1)), np.flatnonzero(values.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


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
    """The maximum within a disc (grey dilation)."""
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc: Bool[ndarray, "diameter diameter"] = y**2 + x**2 <= radius**2 + 0.5
    return np.asarray(ndimage.grey_dilation(np.pad(ink, reach), footprint=disc, mode="constant"))


def _eroded(ink: Grey, radius: float) -> Grey:
    """The minimum within a disc; unchanged if hardly anything would be left."""
    thinner = 1 - _dilated(1 - np.pad(ink, 2 + int(radius)), radius)
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
    down, right = area_weights(values.shape[0], height), area_weights(values.shape[1], width)
    return np.asarray(down @ values @ right.T, dtype=np.float32)


def area_weights(inputs: int, outputs: int) -> Float[ndarray, "outputs inputs"]:
    """The share of every input pixel in every output pixel along one axis; rows sum to 1."""
    edges = np.linspace(0, inputs, outputs + 1)[:, None]
    pixels = np.arange(inputs)[None]
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return np.asarray(np.maximum(overlap, 0) * (outputs / inputs))
