import numpy as np
import pytest

from clearhead.data.preprocessing.touching import left_side


@pytest.mark.parametrize(("high", "wide"), [(31, 41), (97, 113), (160, 211)])
def test_two_strokes_are_cut_at_the_bridge_between_them(high: int, wide: int) -> None:
    ink = np.zeros((high, wide), dtype=np.float32)
    slant = np.arange(high) * wide // (8 * high)  # both strokes lean to the right
    pen = wide // 10
    for row, shift in enumerate(slant):
        ink[row, wide // 6 + shift : wide // 6 + shift + pen] = 1
        ink[row, 2 * wide // 3 + shift : 2 * wide // 3 + shift + pen] = 1
    bridge = slice(high // 2, high // 2 + max(1, high // 20))
    ink[bridge, wide // 6 : 2 * wide // 3] = 1
    left = left_side(ink)
    assert left is not None
    rows = np.r_[: bridge.start, bridge.stop : high]
    for row in rows:
        start = wide // 6 + slant[row]
        other = 2 * wide // 3 + slant[row]
        assert left[row, start : start + pen].all()
        assert not left[row, other : other + pen].any()
    assert (np.diff(left.astype(int), axis=1) <= 0).all()  # one cut in each row


@pytest.mark.parametrize("shape", [(30, 30), (8, 9), (10, 60)])
def test_ink_of_one_digit_or_of_many_is_not_cut(shape: tuple[int, int]) -> None:
    assert left_side(np.ones(shape, dtype=np.float32)) is None
