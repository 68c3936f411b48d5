"""Which components of the ink are one digit, and the order of digits."""

from collections.abc import Iterator
from itertools import pairwise, permutations

import numpy as np
from scipy import ndimage

from clearhead.data.preprocessing.ink import Ink
from clearhead.data.preprocessing.pixels import (
    Mask,
    box_of,
    near,
    padded,
    side_length,
    stroke_width,
)

Sides = tuple[slice, ...]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom of ink, in pixels of the image."""

MIN_HEIGHT = 0.35  # of the highest digit in an image
MIN_OVERLAP = 0.5  # of two digits in a line
MAX_PIECES = 4  # of a digit whose strokes are interrupted
MAX_GAP = 0.8  # in an interrupted stroke, relative to its width
MAX_PIECE, MAX_PIECES_ASPECT = 0.75, 1.1  # length of its pieces and width, relative to the height
MAX_BAR, MAX_BAR_GAP = 0.5, 0.5  # width, and gap between two, relative to their height


def grouped(ink: Ink) -> list[Mask]:
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
    width = stroke_width(padded(ink.parts > 0, 1))
    joined, _ = ndimage.label(near(ink.parts > 0, max(1, round(MAX_GAP * width / 2))))
    label_of = {n: joined[box][ink.parts[box] == n][0] for n, box in ink.boxes.items()}
    for upper, lower in _stacked_bars(ink):
        one, other = label_of[upper], label_of[lower]
        label_of = {n: one if label == other else label for n, label in label_of.items()}
    pieces: dict[int, list[int]] = {}
    for joint in dict.fromkeys(label_of.values()):
        numbers = [n for n, label in label_of.items() if label == joint]
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


def are_side_by_side(groups: list[Mask]) -> bool:
    """Whether two digits of about the same height stand side by side."""
    boxes = [box_of(group) for group in groups]
    tallest = max(side_length(rows) for rows, _ in boxes)
    columns = sorted((c.start, c.stop) for r, c in boxes if side_length(r) >= 0.7 * tallest)
    return any(after[0] >= before[1] for before, after in pairwise(columns))


def are_in_line(box: Box, other: Box) -> bool:
    """Whether the heights of two digits overlap by more than half of the smaller one."""
    (_, top, _, bottom), (_, start, _, stop) = box, other
    return min(bottom, stop) - max(top, start) > MIN_OVERLAP * min(bottom - top, stop - start)


def reading_order(boxes: list[Box]) -> list[int]:
    """Indices of digits: lines from top to bottom, and each line from left to right."""
    lines: list[list[int]] = []
    for number in sorted(range(len(boxes)), key=lambda n: boxes[n][1] + boxes[n][3]):
        if lines and any(are_in_line(boxes[number], boxes[n]) for n in lines[-1]):
            lines[-1].append(number)
        else:
            lines.append([number])
    return [n for line in lines for n in sorted(line, key=boxes.__getitem__)]
