import pytest
from PIL import Image, ImageDraw

from clearhead.data import extract_digit, to_grey
from clearhead.data.preprocessing.digits import POLYGON

from .drawings import FONTS, printed

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
