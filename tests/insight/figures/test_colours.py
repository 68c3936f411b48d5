import pytest

from clearhead.insight.figures.colours import signed_colour, weight_colour, weight_norm


def brightness(colour: str) -> float:
    """Relative luminance (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("weight", "place"), [(0.0, 0.0), (0.01, 0.1), (0.25, 0.5), (1.0, 1.0)])
def test_weights_lie_on_a_fixed_square_root_scale(weight: float, place: float) -> None:
    assert float(weight_norm()(weight)) == pytest.approx(place)


def test_more_weight_is_brighter_from_end_to_end_of_cividis() -> None:
    colours = [weight_colour(step / 50) for step in range(51)]
    assert (colours[0], colours[-1]) == ("#00224e", "#fee838")
    bright = list(map(brightness, colours))
    assert bright == sorted(bright)


def test_signed_numbers_have_zero_in_the_middle() -> None:
    assert signed_colour(-3.0, 3.0).upper() == "#B34700"
    assert signed_colour(3.0, 3.0).upper() == "#0063A6"
    assert brightness(signed_colour(0.0, 3.0)) > 0.85
    assert signed_colour(-9.0, 3.0) == signed_colour(-3.0, 3.0)
    assert brightness(signed_colour(0.0, 0.0)) > 0.85
