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
    assert without_lines(mask, np.zeros_like(mask)).mean() < 0.1 * mask.mean()
