"""Checks of the shape of ink: reasons to doubt that it is one digit."""

from functools import lru_cache
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from scipy import ndimage

from clearhead.data.preprocessing.ink import Ink
from clearhead.data.preprocessing.pixels import Mask, padded, side_length
from clearhead.data.preprocessing.scaling import SIDE

MAX_LOOPS, MIN_LOOP = 2, 0.008  # a loop's area relative to the bounding box
MIN_DOT, MAX_DOT, MAX_DOT_GAP = 0.05, 0.4, 0.4  # relative to the height of the stroke
MAX_BREADTH = 0.3  # of a single stroke: deviation of the ink across it, relative to that along it
# At most 1 in 500 ones of MNIST's training digits is beyond each of these.
MIN_SLANT, MAX_SLANT, MAX_BEND = -48.0, 32.0, 0.17
MIN_BRACKET_BEND, MAX_BRACKET_SLANT = 0.08, 8.0  # the second in degrees
# Of strokes that are printed or drawn with a ruler: deviation of the middles of rows from a line or
# a parabola in pixels, and of the ink of rows, relative to its mean.
MAX_DEVIATION, MAX_BENT_DEVIATION, MAX_UNEVENNESS = 0.06, 0.12, 0.05
# Limits of such a stroke for a 1: breadth; excess of its slant (degrees) and of its height (ratio)
# over those of digits beside it. The two excesses add up: half of both limits is also the limit.
MAX_RULED_BREADTH, MAX_RULED_SLANT, MAX_RULED_HEIGHT = 0.22, 14.0, 0.25
MIN_ROW, MIN_ROWS = 0.25, 10  # ink of a row that counts, in pixels; such rows of a stroke
LOOPS_SEEN = 32  # side of the ink in pixels; in smaller images noise makes loops
MAX_POLYGON_MARGIN = 0.2  # from a polygon's inside to each end of the ink, relative to the ink
DIRECTIONS = 16
# Area of the largest polygon with so many corners in a loop, relative to the loop's convex hull.
# Of an ellipse it is 0.64 and 0.76; of 317 zeros of MNIST at most 0.84 and 0.93.
MIN_SHARE = {4: 0.9, 5: 0.955}


def is_slash(
    pixels: UInt8[ndarray, "28 28"], usual_slant: float = 0.0, relative_height: float = 1.0
) -> bool:
    """Whether ink is a single stroke too slanted, bent or straight to be a handwritten 1.

    Args:
        pixels: The ink, as in MNIST.
        usual_slant: Median `slant` of the digits beside it, in degrees.
        relative_height: Its height over the median of theirs.

    Returns:
        True for a slash, a bracket or a bar.
    """
    ys, xs = np.nonzero(pixels)
    weights = pixels[ys, xs] / pixels.sum(dtype=float)
    points = np.stack([xs - weights @ xs, ys - weights @ ys])
    variances, axes = np.linalg.eigh((weights * points) @ points.T)
    breadth = np.sqrt(max(0.0, variances[0]) / variances[1])
    if breadth >= MAX_BREADTH:
        return False
    across, along = axes.T @ points
    bend = abs(weights @ (across * along**2)) / variances[1] ** 1.5
    right, down = axes[:, 1]
    slant = np.degrees(np.arctan2(right * np.sign(down), abs(down)))
    if bend > MAX_BEND or not MIN_SLANT < slant < MAX_SLANT:
        return True
    if bend > MIN_BRACKET_BEND and abs(slant) < MAX_BRACKET_SLANT:
        return _deviation(pixels, 2)[0] < MAX_BENT_DEVIATION
    deviation, unevenness = _deviation(pixels, 1)
    is_ruled = deviation < MAX_DEVIATION and unevenness < MAX_UNEVENNESS
    excess = abs(slant - usual_slant) / MAX_RULED_SLANT
    excess += max(0.0, relative_height - 1) / MAX_RULED_HEIGHT
    return is_ruled and bool(excess > 1 or breadth > MAX_RULED_BREADTH)


def slant(pixels: UInt8[ndarray, "28 28"]) -> float:
    """The slant of ink in degrees from the vertical, by regression of its columns on its rows."""
    ys, xs = np.nonzero(pixels)
    weights = pixels[ys, xs] / pixels.sum(dtype=float)
    down = ys - weights @ ys
    return float(np.degrees(np.arctan2(weights @ (xs * down), weights @ down**2)))


def _deviation(pixels: UInt8[ndarray, "28 28"], degree: int) -> tuple[float, float]:
    """Deviation of the rows' middles from a line or parabola; and of their ink, over its mean."""
    ink = pixels.sum(axis=1) / 255
    rows = np.flatnonzero(ink > MIN_ROW)[1:-1]
    if len(rows) < MIN_ROWS:
        return np.inf, np.inf
    middles = pixels[rows] @ np.arange(SIDE) / (255 * ink[rows])
    errors = middles - np.polyval(np.polyfit(rows, middles, degree), rows)
    return float(np.sqrt(np.mean(errors**2))), float(ink[rows].std() / ink[rows].mean())


def has_dot(ink: Ink, group: Mask) -> bool:
    """Whether a round component is above or below a stroke, as in i, ! and ?."""
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


def num_loops(core: Mask) -> int:
    """The number of areas that strokes enclose."""
    if max(core.shape) < LOOPS_SEEN:
        return 0
    labels, _ = ndimage.label(~padded(core, 1))
    areas = np.bincount(labels.ravel())[1:]
    return int((areas >= MIN_LOOP * core.size).sum()) - 1  # without the outside


def is_polygon(core: Mask) -> bool:
    """Whether ink, cut to its bounding box, is the outline of a polygon."""
    labels, _ = ndimage.label(~padded(core, 1))
    areas = np.bincount(labels.ravel())
    areas[[0, labels[0, 0]]] = 0
    if not areas.any():
        return False
    inside = labels == areas.argmax()
    ys, xs = np.nonzero(inside)
    low, high = (np.array([bound(ys), bound(xs)]) for bound in (np.min, np.max))
    margin = MAX_POLYGON_MARGIN * np.array(core.shape)
    if (low - 1 > margin).any() or (core.shape - high > margin).any():
        return False
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    points = np.stack([xs, ys], axis=1)
    extreme = points[(points @ np.stack([np.cos(angles), np.sin(angles)])).argmax(axis=0)]
    return any(
        _areas(extreme[_choices(count)]).max() >= share * _areas(extreme[None])[0]
        for count, share in MIN_SHARE.items()
    )


@lru_cache(maxsize=len(MIN_SHARE))
def _choices(count: int) -> Int[ndarray, "choices count"]:
    return np.array(list(combinations(range(DIRECTIONS), count)))


def _areas(corners: Int[ndarray, "polygons count 2"]) -> Float[ndarray, " polygons"]:
    """The areas of polygons, by the shoelace formula."""
    x, y = np.moveaxis(corners, 2, 0)
    after = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    return np.asarray(np.abs((x * after[1] - y * after[0]).sum(axis=1)) / 2)
