"""Where two digits that touch may be parted.

The cut is the path from top to bottom through the least ink, by dynamic programming, as a seam in
seam carving (Avidan & Shamir 2007). Whether the halves are digits is for the classifier to say.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

Mask = Bool[ndarray, "height width"]

MIN_ASPECT, MAX_ASPECT = 1.05, 5.0  # width of digits that may touch, relative to their height
MIN_WIDTH = 10  # in pixels
WINDOW = 0.25  # of the width on either side is not cut
STEP_COST = 0.03  # of a pixel of the path, and of a step aside, relative to ink
MAX_ROWS = 48  # of the grid on which the path is searched


def left_side(ink: Float[ndarray, "height width"]) -> Mask | None:
    """What is to the left of the cut; None for ink that is too narrow or too wide for two digits.

    Args:
        ink: The ink of what may be two digits, cut to its bounding box; in [0, 1].
    """
    high, wide = ink.shape
    if wide < max(MIN_WIDTH, MIN_ASPECT * high) or wide > MAX_ASPECT * high:
        return None
    step = -(-high // MAX_ROWS)
    coarse = ink[::step, ::step]
    first = round(WINDOW * coarse.shape[1])
    path = first + _seam(coarse[:, first : coarse.shape[1] - first] + STEP_COST)
    columns = np.repeat(step * path, step)[:high]
    return np.asarray(np.arange(wide)[None] < columns[:, None])


def _seam(cost: Float[ndarray, "rows columns"]) -> Int[ndarray, " rows"]:
    """The columns of the cheapest path from the first row to the last, one step aside a row."""
    rows, columns = cost.shape
    total = np.full((rows, columns + 2), np.inf)
    total[0, 1:-1] = cost[0]
    for row in range(1, rows):
        above = total[row - 1]
        aside = np.minimum(above[:-2], above[2:]) + STEP_COST
        total[row, 1:-1] = cost[row] + np.minimum(above[1:-1], aside)
    path = np.empty(rows, dtype=int)
    column = int(total[-1].argmin())
    for row in range(rows - 1, -1, -1):
        path[row] = column - 1
        if row:
            around = total[row - 1, column - 1 : column + 2] + (STEP_COST, 0, STEP_COST)
            column += int(around.argmin()) - 1
    return path
