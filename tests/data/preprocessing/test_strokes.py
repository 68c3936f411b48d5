import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearhead.data.preprocessing.strokes import CANVAS, rasterise
from clearhead.errors import InputError

coordinates = st.integers(0, CANVAS - 1)
drawings = st.lists(
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=7), min_size=1, max_size=3
).filter(lambda strokes: max(np.ptp([*chain(*strokes)], axis=0)) >= 28)

Drawing = list[list[tuple[float, float]]]

SEVEN: Drawing = [[(86, 76), (136, 74), (194, 70)], [(194, 70), (164, 132), (138, 220)]]


def mass_centre(ink: np.ndarray) -> tuple[float, float]:
    rows, columns = np.indices(ink.shape)
    return float((ink * rows).sum() / ink.sum()), float((ink * columns).sum() / ink.sum())


def test_a_horizontal_line_is_20_pixels_long_and_as_wide_as_the_pen() -> None:
    ink = rasterise([[(40, 100), (200, 100)]])
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert columns[-1] - columns[0] + 1 == 20
    assert len(rows) == 3  # 2.6 pixels, from the top of a pixel on
    middle = ink[:, columns[9]]
    assert middle[rows].tolist() == [1.0, 1.0, 5 / 8]  # samples at 0.5/8 … 4.5/8 lie below 0.6


def test_ink_is_the_area_under_the_pen() -> None:
    ink = rasterise([[(0, 0), (0, 279)]])
    expected = (20 - 2.6) * 2.6 + math.pi * 1.3**2  # a band with round ends
    assert ink.sum() == pytest.approx(expected, rel=0.01)


def test_the_centre_of_mass_is_in_the_middle() -> None:
    row, column = mass_centre(rasterise(SEVEN))
    assert 13.5 <= column <= 14.5
    assert 13.5 <= row <= 14.5


@settings(max_examples=20, deadline=None)
@given(drawings)
def test_ink_is_a_share_of_samples_and_the_longer_side_20_pixels(strokes: Drawing) -> None:
    ink = rasterise(strokes)
    assert ink.shape == (28, 28)
    assert ink.min() >= 0.0
    assert ink.max() <= 1.0
    assert (ink * 64 == np.rint(ink * 64)).all()
    sides = [np.flatnonzero(ink.any(axis=axis)) for axis in (0, 1)]
    assert 19 <= max(side[-1] - side[0] + 1 for side in sides) <= 20


@settings(max_examples=20, deadline=None)
@given(drawings, st.integers(-500, 500), st.integers(-500, 500))
def test_the_result_does_not_depend_on_the_position_of_the_drawing(
    strokes: Drawing, right: int, down: int
) -> None:
    moved = [[(x + right, y + down) for x, y in stroke] for stroke in strokes]
    assert (rasterise(moved) == rasterise(strokes)).all()


@settings(max_examples=20, deadline=None)
@given(drawings, st.sampled_from([0.25, 0.5, 2.0, 16.0]))
def test_the_result_does_not_depend_on_the_size_of_the_drawing(
    strokes: Drawing, factor: float
) -> None:
    scaled = [[(x * factor, y * factor) for x, y in stroke] for stroke in strokes]
    assert (rasterise(scaled) == rasterise(strokes)).all()


@settings(max_examples=20, deadline=None)
@given(drawings)
def test_the_digit_is_centred_unless_ink_would_be_cut_off(strokes: Drawing) -> None:
    ink = rasterise(strokes)
    for middle, axis in zip(mass_centre(ink), (1, 0), strict=True):
        filled = np.flatnonzero(ink.any(axis=axis))
        at_the_edge = filled[0] == 0 or filled[-1] == 27
        assert abs(middle - 14.0) <= 0.5 + 1e-9 or at_the_edge


def test_an_uncentred_drawing_keeps_its_place() -> None:
    corner = [[(30, 40), (80, 90)]]
    ink = rasterise(corner, centred=False)
    row, column = mass_centre(ink)
    assert (row + 0.5, column + 0.5) == pytest.approx((6.5, 5.5), abs=0.02)


def test_other_sizes_keep_the_proportions() -> None:
    ink = rasterise(SEVEN, (42, 56))
    assert ink.shape == (42, 56)
    rows = np.flatnonzero(ink.any(axis=1))
    assert rows[-1] - rows[0] + 1 == 30  # 20 of 28


def test_a_dot_and_an_empty_canvas() -> None:
    assert rasterise([]).tolist() == np.zeros((28, 28)).tolist()
    assert rasterise([[(5, 5)]]).sum() == pytest.approx(math.pi * 1.3**2, rel=0.05)


@pytest.mark.parametrize("wrong", [[[(1, 2, 3)]], [[(1, math.nan)]], [[(math.inf, 1), (2, 2)]]])
def test_points_that_are_not_finite_pairs_are_refused(wrong: Drawing) -> None:
    with pytest.raises(InputError, match="strokes are lists of points"):
        rasterise(wrong)
