import numpy as np
import pytest
from PIL import Image, ImageDraw

from clearhead.data import extract_digit, to_grey
from clearhead.data.preprocessing.digits import POLYGON
from clearhead.data.preprocessing.shape_checks import is_slash

from .drawings import FONTS, printed


def upright(shifts: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """A stroke of 20 rows; the middle of each is shifted, and each has its own width."""
    apart = np.abs(np.arange(28) - 13.5 - shifts[:, None])
    ink = (widths[:, None] / 2 + 0.5 - apart).clip(0, 1)
    return np.asarray(np.rint(255 * np.pad(ink, ((4, 4), (0, 0)))), dtype=np.uint8)


@pytest.mark.parametrize(
    ("slant", "wave", "unevenness", "ruled"),
    [(20, 0, 0, True), (20, 0.5, 0, False), (20, 0, 1, False), (10, 0, 0, False)],
)
def test_a_slanted_stroke_is_a_slash_if_it_is_straight_and_even(
    slant: float, wave: float, unevenness: float, ruled: bool
) -> None:
    rows = np.arange(20) - 9.5
    shifts = -np.tan(np.radians(slant)) * rows + wave * np.cos(2 * rows)
    assert is_slash(upright(shifts, 3 + unevenness * np.cos(2 * rows))) is ruled


FIGURES: dict[str, list[tuple[float, float]]] = {
    "diamond": [(0, -1), (0.8, 0), (0, 1), (-0.8, 0)],
    "house": [(-0.7, 1), (-0.7, -0.2), (0, -1), (0.7, -0.2), (0.7, 1)],
    "triangle": [(0, -1), (0.9, 0.8), (-0.9, 0.8)],
}


@pytest.mark.parametrize("width", [3, 9, 15])
@pytest.mark.parametrize("name", FIGURES)
def test_a_polygon_gives_a_warning(name: str, width: int) -> None:
    image = Image.new("L", (240, 260), 255)
    corners = [(120 + 70 * x, 130 + 75 * y) for x, y in FIGURES[name]]
    ImageDraw.Draw(image).line([*corners, *corners[:2]], 0, width, joint="curve")
    assert POLYGON in extract_digit(to_grey(image)).warnings


@pytest.mark.parametrize("font", FONTS)
def test_printed_digits_are_not_polygons(font: str) -> None:
    for digit in range(10):
        warnings = extract_digit(to_grey(printed(str(digit), font=font))).warnings
        assert POLYGON not in warnings, digit


@pytest.mark.parametrize("height", [120, 180])
def test_an_oval_zero_is_not_a_polygon(height: int) -> None:
    image = Image.new("L", (240, 260), 255)
    ImageDraw.Draw(image).ellipse((75, 20, 165, 20 + height), outline=0, width=9)
    assert POLYGON not in extract_digit(to_grey(image)).warnings
