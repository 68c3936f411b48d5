import numpy as np
import pytest

from clearhead.data.preprocessing.lines import without_lines


def frame(thickness: int) -> np.ndarray:
    """A frame of printed lines."""
    mask = np.zeros((150, 170), dtype=bool)
    mask[30:120, 40:110] = True
    mask[30 + thickness : 120 - thickness, 40 + thickness : 110 - thickness] = False
    return mask


@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_a_stroke_from_side_to_side_of_a_thinner_frame_is_kept(thickness: int) -> None:
    mask = frame(thickness)
    bar = np.zeros_like(mask)
    bar[50 : 52 + 2 * thickness, 42 + thickness : 108 - thickness] = True  # that of a 7
    left = without_lines(mask | bar, np.zeros_like(mask))
    assert left[bar].mean() > 0.9
    assert left[mask].mean() < 0.2


@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_a_frame_with_rules_of_its_own_thickness_is_removed(thickness: int) -> None:
    mask = frame(thickness)
    mask[70 : 70 + thickness, 40:110] = True
    assert not without_lines(mask, np.zeros_like(mask)).any()


def test_a_thick_rule_that_is_bent_is_removed() -> None:
    middles = 120 + 2.5 * np.sin(np.linspace(0, 2 * np.pi, 300))
    rule = np.abs(np.arange(240)[:, None] - middles) < 4
    assert not without_lines(rule, np.zeros_like(rule)).any()


@pytest.mark.parametrize("teeth", [3, 5])
def test_the_teeth_of_a_comb_are_removed_and_a_digit_between_them_is_kept(teeth: int) -> None:
    comb = np.zeros((120, 240), dtype=bool)
    comb[110:112] = True
    for number in range(teeth):
        comb[70:110, 40 + 40 * number : 42 + 40 * number] = True
    digit = np.zeros_like(comb)
    digit[40:105, 95:101] = digit[40:46, 88:101] = True
    left = without_lines(comb | digit, np.zeros_like(comb))
    assert left[comb].mean() < 0.05
    assert left[digit].all()


@pytest.mark.parametrize("pen", [2, 5])
def test_ones_on_a_rule_are_kept(pen: int) -> None:
    rule = np.zeros((120, 240), dtype=bool)
    rule[110:112] = True
    ones = np.zeros_like(rule)
    for number, top in enumerate((60, 71, 55)):
        ones[top:110, 60 + 40 * number : 60 + pen + 40 * number] = True
    assert without_lines(rule | ones, np.zeros_like(rule))[ones].mean() > 0.9


@pytest.mark.parametrize("margin", [3, 4])
def test_an_upright_stroke_in_a_strip_is_not_a_line(margin: int) -> None:
    mask = np.zeros((20 + 2 * margin, 112), dtype=bool)
    mask[margin:-margin, 67:70] = True
    assert np.array_equal(without_lines(mask, np.zeros_like(mask)), mask)


def test_frames_side_by_side_are_removed() -> None:
    mask = np.zeros((70, 280), dtype=bool)
    for left, cells in ((15, 2), (85, 2), (155, 4)):
        right = left + 27 * cells
        mask[[15, 50], left : right + 1] = True
        mask[15:51, left : right + 1 : 27] = True
    assert not without_lines(mask, np.zeros_like(mask)).any()
