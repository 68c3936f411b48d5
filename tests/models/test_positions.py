import math

import torch

from clearhead.models.layers import sincos_grid, sincos_sequence


def test_each_number_is_the_sine_or_cosine_of_its_formula() -> None:
    """Quarters: sin and cos of the column, then sin and cos of the row; w_k = 10000^(-k / 5)."""
    found = sincos_grid(20, (3, 7))
    assert found.shape == (1, 21, 20)
    for row in range(3):
        for column in range(7):
            for k in range(5):
                frequency = 10_000 ** (-k / 5)
                expected = [
                    wave(place * frequency)
                    for place in (column, row)
                    for wave in (math.sin, math.cos)
                ]
                quarters = found[0, 7 * row + column, k::5].double()
                torch.testing.assert_close(
                    quarters, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0
                )


def test_no_two_places_are_alike() -> None:
    places = sincos_grid(8, (5, 3))[0]
    distances = torch.cdist(places, places) + torch.eye(15)
    assert distances.min() > 0.1


def test_places_in_a_text_are_sines_and_then_cosines() -> None:
    found = sincos_sequence(10, 7)
    assert found.shape == (1, 7, 10)
    for place in range(7):
        for k in range(5):
            angle = place * 10_000 ** (-k / 5)
            assert abs(float(found[0, place, k]) - math.sin(angle)) < 1e-6
            assert abs(float(found[0, place, 5 + k]) - math.cos(angle)) < 1e-6
