import numpy as np
import pytest

from clearhead.data.preprocessing.touching import MAX_ROWS, left_side


@pytest.mark.parametrize(("high", "wide"), [(41, 45), (97, 113), (160, 211)])
def test_two_strokes_are_cut_at_the_bridge_between_them(high: int, wide: int) -> None:
    ink = np.zeros((high, wide), dtype=np.float32)
    first, second, pen = 0, 45 * wide // 100, wide // 10
    slant = np.arange(high) * second // high  # no vertical line parts the strokes
    for row, shift in enumerate(slant):
        ink[row, first + shift : first + shift + pen] = 1
        ink[row, second + shift : second + shift + pen] = 1
    bridge = slice(high // 2, high // 2 + max(1, high // 20))
    ink[bridge, first:second] = 1
    grid = -(-high // MAX_ROWS)  # the path is as exact as this
    left = left_side(ink)
    assert left is not None
    rows = np.r_[: bridge.start, bridge.stop : high]
    for row in rows:
        start = first + slant[row]
        other = second + slant[row]
        assert left[row, start : start + pen - grid].all()
        assert not left[row, other + grid : other + pen].any()
    assert (np.diff(left.astype(int), axis=1) <= 0).all()  # one cut in each row


@pytest.mark.parametrize("shape", [(30, 30), (8, 9), (10, 60)])
def test_ink_of_one_digit_or_of_many_is_not_cut(shape: tuple[int, int]) -> None:
    assert left_side(np.ones(shape, dtype=np.float32)) is None
