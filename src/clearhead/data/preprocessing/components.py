"""Which components of a mask are ink of digits, and not neighbours, edges or remains of a frame."""

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray
from scipy import ndimage

from clearhead.data.preprocessing.pixels import EIGHT, Grey, Mask, median, near, side_length

Parts = Int[ndarray, "height width"]

MIN_LENGTH = 0.025  # of a component that shows that the digit does not touch the border
MIN_WIDTH = 0.012  # of strokes; narrower ones at the border are remains of a desk's edge
MAX_ALONG_EDGE = 0.8  # share of a stroke that may be where desk and paper meet
MIN_BESIDE_EDGE = 0.2  # length of strokes, relative to such an edge
MIN_CROPPED = 0.6  # height of cropped digits relative to others
MAX_CROP_MARGIN = 0.04  # from the ink of a tight crop to each side, relative to it
MIN_SCAN = 16  # smaller images have no frame
BORDER = 0.12  # of each side, where the remains of a frame may be
MIN_FRAMED = 0.45  # height of a digit in a ring or a drawn box; in a zero, a slash is lower
MAX_PARTS = 40


def free_components(mask: Mask, grey: Grey, outside: Mask, is_free: bool) -> Parts:
    """Connected components without specks and, if others are as long, without those at the border.

    A neighbour or a desk touches the border, but so does a tightly cropped digit.
    """
    labels, count = ndimage.label(mask, structure=EIGHT)
    if not is_free and max(mask.shape) >= MIN_SCAN and _is_at_border(mask):
        return np.zeros_like(labels)
    if count <= 1 - is_free:  # a scan of one component
        return labels
    boxes = ndimage.find_objects(labels)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    lengths = np.array([0, *(max(map(side_length, box)) for box in boxes)])
    free = np.ones(count + 1, dtype=bool)
    for rim in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        free[rim] = False
    free[0] = False
    within = free.copy()
    free |= _tightly_cropped(boxes, free, mask.shape)
    if is_free:
        longest = lengths[free].max(initial=0)
        for number, box in enumerate(boxes, 1):
            if within[number] and (areas[number] < 4 or lengths[number] > 0.3 * longest):
                free[number] = areas[number] >= 4 and not _is_cut(labels, number, box, grey)
        beside = np.bincount(labels[outside], minlength=count + 1)
        on_desk = beside > 0.5 * areas
        both_sides = near(outside, 1) & near(~outside, 1)  # where desk and paper meet
        along_edge = np.bincount(labels[both_sides], minlength=count + 1)
        is_edge = along_edge > MAX_ALONG_EDGE * areas
        if lengths[free & ~on_desk].max(initial=0) >= MIN_LENGTH * max(mask.shape):
            free &= ~on_desk
        longest = lengths[free].max(initial=0)
        free &= ~is_edge
        if lengths[free].max(initial=0) < MIN_BESIDE_EDGE * longest:
            return np.zeros_like(labels)
        solid = (areas > MIN_WIDTH * max(mask.shape) * lengths) & ~on_desk
        solid[0] = False
        if longest < MIN_LENGTH * max(mask.shape) or longest < 0.4 * lengths[solid].max(initial=0):
            return np.zeros_like(labels)
        areas[~free] = 0
    elif lengths[free].max(initial=0) >= 0.4 * lengths.max():
        areas[~free] = 0
    kept = areas >= 0.01 * areas.max()
    kept[0] = False
    if is_free:
        kept[_frames(labels, boxes, kept)] = False
    num_kept = int(kept.sum())
    if num_kept > (MAX_PARTS if is_free else MAX_PARTS // 4):
        return np.zeros_like(labels)
    return labels if num_kept == count else np.asarray(np.where(kept[labels], labels, 0))


def _frames(
    labels: Parts, boxes: list[tuple[slice, ...]], kept: Bool[ndarray, " parts"]
) -> list[int]:
    """The kept components that are on all four sides of one that is nearly half as high or more."""
    heights = {n: side_length(boxes[n - 1][0]) for n in np.flatnonzero(kept).tolist()}

    def is_around(frame: int, part: int) -> bool:
        if not MIN_FRAMED * heights[frame] <= heights[part] < heights[frame]:
            return False
        row, column = ((side.start + side.stop) // 2 for side in boxes[part - 1])
        across, down = labels[row] == frame, labels[:, column] == frame
        return all(x.any() for x in (across[:column], across[column:], down[:row], down[row:]))

    return [n for n in heights if any(is_around(n, part) for part in heights)]


def _tightly_cropped(
    boxes: list[tuple[slice, ...]], free: Bool[ndarray, " parts"], shape: tuple[int, ...]
) -> Bool[ndarray, " parts"]:
    """Which components are digits of a tightly cropped text, if other components touch no border.

    Those at the border are as high as the others, and the ink reaches two opposite sides of a
    single line of text, or all four sides.
    """
    sides = np.array([[*(s.start for s in box), *(s.stop for s in box)] for box in boxes]).T
    heights = sides[2] - sides[0]
    tallest = heights[free[1:]].max(initial=0)
    is_digit = (heights >= MIN_CROPPED * tallest) & (MIN_CROPPED * heights <= tallest)
    is_line = shape[1] > shape[0] and tallest >= MIN_CROPPED * shape[0]
    if not is_line:  # several lines, each lower than the remains of a frame
        is_digit &= heights <= MIN_CROPPED * shape[0]
    low = sides[:2, is_digit].min(axis=1, initial=max(shape))
    high = sides[2:, is_digit].max(axis=1, initial=0)
    margin = MAX_CROP_MARGIN * np.array(shape)
    is_tight = is_line or ((low <= margin).all() and (high >= shape - margin).all())
    return np.append(False, is_digit & is_tight)


def _is_at_border(mask: Mask) -> bool:
    """Whether nearly all ink is at the border, as the remains of a frame."""
    rows, columns = (slice(round(n * BORDER), n - round(n * BORDER)) for n in mask.shape)
    return bool(np.count_nonzero(mask[rows, columns]) < 0.15 * np.count_nonzero(mask))


def _is_cut(labels: Parts, number: int, box: tuple[slice, ...], grey: Grey) -> bool:
    """Whether a component continues, as dark, beyond the edge that the background gives it."""
    window = tuple(slice(max(0, side.start - 3), side.stop + 3) for side in box)
    part = labels[window] == number
    ring = near(part, 3) & ~near(part, 2) & (labels[window] == 0)
    if not ring.any():
        return False
    around, inside = grey[window][ring], median(grey[window][part])
    limit = inside + 0.3 * (median(around) - inside)
    return bool(np.mean(around < limit) > 0.08)
