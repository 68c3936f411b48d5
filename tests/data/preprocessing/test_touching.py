import numpy as np
import pytest

from clearhead.data.preprocessing.touching import MAX_ROWS, cuts, may_be_several


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
    rows = np.r_[: bridge.start, bridge.stop : high]

    def parts_strokes(left: np.ndarray) -> bool:
        return all(
            left[row, slant[row] + first : slant[row] + first + pen - grid].all()
            and not left[row, slant[row] + second + grid : slant[row] + second + pen].any()
            for row in rows
        )

    found = cuts(ink)
    assert any(map(parts_strokes, found))
    for left in found:
        assert (np.diff(left.astype(int), axis=1) <= 0).all()  # one cut in each row


@pytest.mark.parametrize("shape", [(30, 20), (8, 9), (10, 60)])
def test_ink_of_one_digit_or_of_many_is_not_cut(shape: tuple[int, int]) -> None:
    assert not may_be_several(shape)


def test_a_cut_through_much_ink_is_left_out() -> None:
    assert cuts(np.ones((40, 60), dtype=np.float32)) == []


@pytest.mark.parametrize("count", [2, 3, 4])
def test_there_is_a_cut_at_each_bridge(count: int) -> None:
    ink = np.zeros((50, 45 * count), dtype=np.float32)
    for number in range(count):
        ink[:, 45 * number + 2 : 45 * number + 12] = 1
    ink[22:26] = 1
    places = [int(left[0].sum()) for left in cuts(ink)]
    for number in range(count - 1):
        assert any(45 * number + 12 <= place <= 45 * number + 47 for place in places)
