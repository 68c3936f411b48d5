"""Strokes drawn on a canvas as a digit of MNIST, with the same numbers as on the microscope page.

MNIST's rule (LeCun et al. 1998): the longer side of the ink's bounding box is 20 pixels, and it is
shifted by whole pixels until its centre of mass is in the middle, at 14.0 in pixel indices. A round
pen, 8 × 8 samples per pixel. Every step is exact or in a fixed order, so that an implementation in
another language gives the same bits.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from clearhead.errors import InputError

SAMPLES = 8  # per pixel, along each axis
CANVAS = 280  # side of the square that strokes are drawn on, in their unit
INK_SHARE, PEN_SHARE = 20 / 28, 2.6 / 28  # of the shorter side; gives MNIST's mean ink

Point = tuple[float, float]
Stroke = Sequence[Point]


def rasterise(
    strokes: Sequence[Stroke], size: tuple[int, int] = (28, 28), *, centred: bool = True
) -> Float[ndarray, "height width"]:
    """Draw strokes with a round pen.

    Args:
        strokes: Polylines of points (x, y), in units of a canvas of 280 × 280.
        size: Height and width of the image, in pixels.
        centred: Scale and centre the digit as in MNIST. If not, it keeps its place on the canvas,
            which a model trained on centred digits misclassifies.

    Returns:
        Ink in [0, 1]; zeros without strokes.

    Raises:
        InputError: If strokes are not lists of finite points.
    """
    points = np.array([point for stroke in strokes for point in stroke], dtype=np.float64)
    if points.size == 0:
        return np.zeros(size)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise InputError("strokes are lists of points (x, y), all of them finite numbers")
    pen = PEN_SHARE * min(size)
    if not centred:
        scale = min(size) / CANVAS
        return _ink([_moved(stroke, (0.0, 0.0), scale, 0.0) for stroke in strokes], pen, size)
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(high[0] - low[0], high[1] - low[1])
    scale = (INK_SHARE * min(size) - pen) / side if side > 0 else 1.0
    ink = _ink([_moved(stroke, tuple(low), scale, pen / 2) for stroke in strokes], pen, size)
    return to_middle(ink, size, 0, lambda x: math.floor(x + 0.5))


def to_middle(
    ink: Float[ndarray, "height width"],
    size: tuple[int, int],
    above: float,
    whole: Callable[[float], int],
) -> Float[ndarray, "high wide"]:
    """On an image of this size, its centre of mass as near to the middle as whole pixels allow.

    Args:
        ink: In [0, 1].
        size: Height and width of the image.
        above: Only ink up to this value may be cut off.
        whole: Rounds the shift.
    """
    canvas = np.zeros([3 * length for length in size], dtype=ink.dtype)
    place = []
    for axis, length in enumerate(size):
        mass = ink.sum(axis=1 - axis)
        solid = np.flatnonzero((ink > above).any(axis=1 - axis))
        middle = float((mass * np.arange(len(mass))).sum() / mass.sum())
        shift = min(max(whole(length / 2 - middle), -int(solid[0])), length - 1 - int(solid[-1]))
        place.append(slice(length + shift, length + shift + len(mass)))
    canvas[tuple(place)] = ink
    return canvas[size[0] : -size[0], size[1] : -size[1]]


def _moved(stroke: Stroke, origin: Point, scale: float, margin: float) -> list[Point]:
    return [((x - origin[0]) * scale + margin, (y - origin[1]) * scale + margin) for x, y in stroke]


def _ink(strokes: Sequence[Stroke], pen: float, size: tuple[int, int]) -> ndarray:
    """The share of each pixel's samples under the pen."""
    high, wide = size
    inked = np.zeros((high * SAMPLES, wide * SAMPLES), dtype=bool)
    for stroke in strokes:
        ends = stroke[1:] or stroke
        for start, end in zip(stroke, ends, strict=False):
            _draw(inked, start, end, pen / 2)
    counts = inked.reshape(high, SAMPLES, wide, SAMPLES).sum(axis=(1, 3))
    return np.asarray(counts / SAMPLES**2)


def _draw(inked: Bool[ndarray, "rows columns"], start: Point, end: Point, radius: float) -> None:
    """Mark the samples within `radius` of the line from `start` to `end`."""
    rows = _samples_near(start[1], end[1], radius, inked.shape[0])
    columns = _samples_near(start[0], end[0], radius, inked.shape[1])
    y = ((np.arange(rows.start, rows.stop) + 0.5) / SAMPLES)[:, None]
    x = ((np.arange(columns.start, columns.stop) + 0.5) / SAMPLES)[None, :]
    across, down = end[0] - start[0], end[1] - start[1]
    length = across * across + down * down
    along = ((x - start[0]) * across + (y - start[1]) * down) / (length or 1.0)
    along = np.clip(along, 0.0, 1.0)
    to_x, to_y = x - (start[0] + along * across), y - (start[1] + along * down)
    inked[rows, columns] |= to_x * to_x + to_y * to_y <= radius * radius


def _samples_near(start: float, end: float, radius: float, count: int) -> slice:
    first = math.floor((min(start, end) - radius) * SAMPLES) - 1
    last = math.ceil((max(start, end) + radius) * SAMPLES) + 1
    return slice(min(max(first, 0), count), min(max(last, 0), count))
