import pytest

from clearhead.studies.measures.slopes import over_layers, per_doubling, slope


def test_a_slope_is_that_of_least_squares() -> None:
    x, y = [1.0, 2.0, 4.0, 7.0], [3.0, 1.0, 4.0, 1.0]
    mean_x, mean_y = sum(x) / 4, sum(y) / 4
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    assert slope(x, y) == pytest.approx(covariance / sum((a - mean_x) ** 2 for a in x))


@pytest.mark.parametrize("layers", [2, 3, 7])
def test_the_change_over_the_layers_is_from_the_first_to_the_last(layers: int) -> None:
    line = [5.0 + 3.0 * place / (layers - 1) for place in range(layers)]
    assert over_layers(("6", "distance"))({"6": {"distance": line}}) == pytest.approx(3.0)


def test_a_slope_over_sizes_is_for_each_doubling() -> None:
    values = {"16": {"x": 1.0}, "32": {"x": 3.0}, "128": {"x": 7.0}}
    assert per_doubling(lambda found: found["x"], (16, 32, 128))(values) == pytest.approx(2.0)
