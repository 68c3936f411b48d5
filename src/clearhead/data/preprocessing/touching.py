"""Where digits that touch may be parted.

A cut is the path from top to bottom through the least ink, by dynamic programming, as a seam in
seam carving (Avidan & Shamir 2007). There are more cuts than digits: which of the parts between
them are digits is decided by the classifier.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from clearhead.data.preprocessing.pixels import Mask

MIN_ASPECT, MAX_ASPECT = 0.8, 5.0  # width of digits that may touch, relative to their height
MIN_WIDTH = 10  # in pixels
CUTS_PER_HEIGHT, MIN_CUTS = 4, 5  # searched in windows along the width
MAX_INK = 0.2  # of a cut's pixels; where more ink is cut, strokes do not just touch
STEP_COST = 0.03  # of a pixel of the path, and of a step aside, relative to ink
STEPS = np.array([-1, 0, 1])
MAX_ROWS = 48  # of the grid on which the path is searched


def may_be_several(shape: tuple[int, ...]) -> bool:
    """Whether ink of this height and width is neither too narrow nor too wide for cuts."""
    high, wide = shape
    return max(MIN_WIDTH, MIN_ASPECT * high) <= wide <= MAX_ASPECT * high


def cuts(ink: Float[ndarray, "height width"]) -> list[Mask]:
    """Masks of the pixels to the left of each cut.

    Args:
        ink: The ink of what may be several digits, cut to its bounding box; in [0, 1].
    """
    high, wide = ink.shape
    step = -(-high // MAX_ROWS)
    coarse = ink[::step, ::step]
    count = max(MIN_CUTS, round(CUTS_PER_HEIGHT * wide / high))
    middles = np.linspace(1.25 / count, 1 - 1.25 / count, count)[:, None]
    ends = np.rint((middles + np.array([-0.5, 0.5]) / count) * coarse.shape[1]).astype(int)
    firsts, stops = ends[:, :1], np.maximum(ends[:, 1:], ends[:, :1] + 2)
    columns = firsts + np.arange((stops - firsts).max())
    windows = coarse[:, np.minimum(columns, coarse.shape[1] - 1)].swapaxes(0, 1)
    paths = firsts + _seams(
        np.where(columns[:, None] < stops[:, None], windows + STEP_COST, np.inf)
    )
    few = coarse[np.arange(len(coarse)), paths].mean(axis=1) <= MAX_INK
    places = np.repeat(step * paths[few], step, axis=1)[:, :high]
    return list(np.arange(wide) < places[:, :, None])


def _seams(cost: Float[ndarray, "windows rows columns"]) -> Int[ndarray, "windows rows"]:
    """The columns of the cheapest paths down the rows, each at most one column beside the last."""
    count, rows, columns = cost.shape
    total = np.full((rows, count, columns + 2), np.inf)
    total[0, :, 1:-1] = cost[:, 0]
    for row in range(1, rows):
        above = total[row - 1]
        aside = np.minimum(above[:, :-2], above[:, 2:]) + STEP_COST
        total[row, :, 1:-1] = cost[:, row] + np.minimum(above[:, 1:-1], aside)
    path = np.empty((count, rows), dtype=int)
    column = total[-1].argmin(axis=1)[:, None]
    for row in range(rows - 1, -1, -1):
        path[:, row] = column[:, 0] - 1
        if row:
            around = np.take_along_axis(total[row - 1], column + STEPS, axis=1)
            column += (around + STEP_COST * np.abs(STEPS)).argmin(axis=1)[:, None] - 1
    return path
