"""Printed lines in a mask of ink: rules, squares, frames and the cells of forms.

A line is straight, long and thin, and each of its ends is at the border of the paper or at another
line. Strokes of a digit may be straight, but they end freely. Where a stroke crosses a line, the
run of ink across the line is longer than the line is thick, and is kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import ndimage

from clearhead.data.preprocessing.pixels import EIGHT, Mask, median, stroke_width

MAX_SLOPE = 0.18  # about 10 degrees
MAX_THICKNESS, MIN_LENGTH = 0.07, 0.1  # of the longer side
MIN_PIXELS = 18  # of a line's length
MIN_COVERAGE = 0.75  # of the columns between the ends of a line
MAX_GAP = 5  # in pixels
MAX_MARGIN = 0.1  # of a line's length, from its end to the border; digits in a strip are farther
MAX_RATIO = 1.5  # of a line's thickness to that of a line where it ends; strokes are thicker
FRAME_SLACK, COMB_SLACK = 0.25, 0.1  # difference of the ends of equal lines, of their length
MIN_CROP = 0.75  # height of a digit in a tight crop, relative to the image
MIN_RATIO = 0.6  # thickness of its straight strokes, relative to the others
MAX_LINES = 60  # in one direction


@dataclass
class Line:
    """y = offset + slope * x for x from `start` to `stop`; for columns, x and y are exchanged."""

    slope: float
    offset: float
    start: int
    stop: int
    thickness: float

    def y(self, x: Any) -> Any:
        """The coordinate across the line, at x: a number or an array."""
        return self.offset + self.slope * x


def without_lines(mask: Mask, outside: Mask) -> Mask:
    """The mask without printed lines.

    Args:
        mask: Where ink is.
        outside: What is not paper; a line may end there.
    """
    rows, columns = _lines(mask), _lines(mask.T)
    count = -1
    while count != len(rows) + len(columns):
        count = len(rows) + len(columns)
        rows, columns = (
            [line for line in rows if _is_anchored(line, outside, columns, rows)],
            [line for line in columns if _is_anchored(line, outside.T, rows, columns)],
        )
    if not count:
        return mask
    rest = _without(mask, rows, columns)
    limit = MIN_RATIO * _width_if_cropped(rest)
    thin = [[line for line in lines if line.thickness < limit] for lines in (rows, columns)]
    return rest if thin == [rows, columns] else _without(mask, *thin)


def _width_if_cropped(mask: Mask) -> float:
    """The width of strokes that are nearly as high as the image; infinite without any.

    They show that digits are cropped tightly, and straight strokes end at the border, too.
    """
    labels, _ = ndimage.label(mask, structure=EIGHT)
    boxes = enumerate(ndimage.find_objects(labels), 1)
    high = [(n, box) for n, box in boxes if box[0].stop - box[0].start >= MIN_CROP * len(mask)]
    parts = (np.pad(labels[box] == number, 1) for number, box in high)
    return min(map(stroke_width, parts), default=float(np.inf))


def _runs(
    mask: Mask,
) -> tuple[Int[ndarray, " runs"], Float[ndarray, " runs"], Int[ndarray, " runs"]]:
    """Runs of ink down each column: their columns, middle rows and lengths."""
    x, ends = np.nonzero(np.diff(mask.T, prepend=False, append=False))
    top, bottom = ends[::2], ends[1::2]  # the row after the last
    return x[::2], (top + bottom - 1) / 2, bottom - top


def _lines(mask: Mask) -> list[Line]:
    """Lines that are about horizontal, by a Hough transform of the middles of short runs."""
    height, width = mask.shape
    longer = max(mask.shape)
    min_length = max(MIN_PIXELS, MIN_LENGTH * longer)
    x, y, length = _runs(mask)
    thin = length <= max(3, MAX_THICKNESS * longer)
    x, y, length = x[thin], y[thin], length[thin]
    if len(x) < min_length:
        return []
    slopes = np.linspace(-MAX_SLOPE, MAX_SLOPE, 2 * max(1, round(MAX_SLOPE * width / 2)) + 1)
    reach = int(MAX_SLOPE * width / 2) + 2
    bins = height + 2 * reach
    offsets = y[None] - slopes[:, None] * (x - width / 2)[None]
    index = np.rint(offsets).astype(np.int32) + reach + bins * np.arange(len(slopes))[:, None]
    counts = np.bincount(index.ravel(), minlength=bins * len(slopes)).reshape(len(slopes), bins)
    counts[:, 1:] += counts[:, :-1].copy()
    best = int(counts.max(axis=1).argmax())
    histogram, at = counts[best], offsets[best] + reach
    lines: list[Line] = []
    while len(lines) < MAX_LINES:
        peak = int(histogram.argmax())
        if histogram[peak] < min_length * MIN_COVERAGE:
            break
        histogram[max(0, peak - 1) : peak + 2] = 0
        pieces = _fitted(x, y, length, np.abs(at - (peak - 0.5)) <= 2, slopes[best], mask)
        lines += [line for line in pieces if line.stop - line.start >= min_length]
    return lines


def _fitted(
    x: ndarray, y: ndarray, length: ndarray, near: ndarray, slope: float, mask: Mask
) -> list[Line]:
    """Least squares through the points near a line, in pieces between gaps in what it covers."""
    offset = median(y[near] - slope * x[near])
    for tolerance in (2.0, 1.5, 1.0, 1.0):
        thickness = median(length[near])
        near = np.abs(y - offset - slope * x) <= tolerance * max(1.0, 0.35 * thickness)
        along, across = x[near], y[near]
        if len(along) < MIN_PIXELS // 2:
            return []
        middle, level = along.mean(), across.mean()
        from_middle = along - middle
        spread = float((from_middle**2).sum())
        slope = float((from_middle * (across - level)).sum()) / max(spread, 1.0)
        offset = float(level - slope * middle)
    columns = np.arange(mask.shape[1])
    rows = np.rint(offset + slope * columns).astype(int)
    inside = (rows >= 1) & (rows < mask.shape[0] - 1)
    columns, rows = columns[inside], rows[inside]
    columns = columns[mask[rows - 1, columns] | mask[rows, columns] | mask[rows + 1, columns]]
    pieces = np.split(columns, np.flatnonzero(np.diff(columns) > MAX_GAP) + 1)
    return [
        Line(slope, offset, int(piece[0]), int(piece[-1]) + 1, thickness)
        for piece in pieces
        if len(piece)
    ]


def _is_anchored(line: Line, outside: Mask, others: list[Line], like: list[Line]) -> bool:
    """Whether both ends of a line are at the border of the paper, or at lines across.

    The sides of a frame also need a counterpart: a 1 may stand between two rules. The teeth of a
    comb have one free end, and two equal teeth beside them.
    """
    height, width = outside.shape
    near = max(3.0, 0.015 * max(height, width))
    at_border = at_lines = 0
    for x, inward in ((line.start, 1), (line.stop, -1)):
        y = line.y(x)
        margin = min(near + line.thickness, MAX_MARGIN * (line.stop - line.start))
        is_outside = [_at(outside, line, x + inward * step * near) for step in (-1, 2)]
        if min(x, width - x, y, height - y) <= margin or is_outside == [True, False]:
            at_border += 1
        else:
            at_lines += any(
                abs(other.y(y) - x) <= near + other.thickness / 2
                and other.start - near <= y <= other.stop + near
                and line.thickness <= MAX_RATIO * other.thickness + 0.5
                for other in others
            )
    length = line.stop - line.start
    unlike = [max(abs(o.start - line.start), abs(o.stop - line.stop)) / length for o in like]
    if at_border + at_lines == 2:
        return at_border > 0 or sum(change <= FRAME_SLACK for change in unlike) > 1
    return at_lines == 1 and sum(change <= COMB_SLACK for change in unlike) > 2


def _at(mask: Mask, line: Line, x: float) -> bool:
    """The value of the pixel at x on a line, or of the nearest pixel at the border."""
    row, column = (
        min(max(round(v), 0), n - 1) for v, n in zip((line.y(x), x), mask.shape, strict=True)
    )
    return bool(mask[row, column])


def _without(mask: Mask, rows: list[Line], columns: list[Line]) -> Mask:
    """Remove the runs across lines that are not longer than a line is thick."""
    margin = 2
    for lines in (rows, columns):
        x, y, length = _runs(mask)
        chosen = np.zeros(len(y), dtype=bool)
        for line in lines:
            distance = np.abs(y - line.y(x))
            chosen |= (
                (distance <= 1.5 + 0.4 * line.thickness)
                & (length <= 1.3 * line.thickness + 1.5)
                & (x >= line.start - margin)
                & (x < line.stop + margin)
            )
        turned = mask.T
        mask = turned.copy()  # its rows are columns now
        mask[turned] = ~np.repeat(chosen, length)
    return mask
