import numpy as np
import pytest

from clearhead.data.preprocessing.scale import area_weights, resize_area


def test_a_new_pixel_is_the_mean_of_what_it_covers() -> None:
    # 5 pixels to 2: each covers two and a half
    np.testing.assert_allclose(area_weights(5, 2), np.array([[2, 2, 1, 0, 0], [0, 0, 1, 2, 2]]) / 5)


@pytest.mark.parametrize(("old", "new"), [(97, 20), (23, 7), (20, 20), (31, 1)])
def test_weights_of_a_new_pixel_sum_to_one(old: int, new: int) -> None:
    np.testing.assert_allclose(area_weights(old, new).sum(axis=1), 1)


def test_the_mean_stays_the_same() -> None:
    values = np.random.default_rng(0).random((53, 37))
    smaller = resize_area(values, 19, 13)
    assert smaller.shape == (19, 13)
    assert smaller.mean() == pytest.approx(values.mean(), rel=1e-6)


def test_enlarging_stays_within_0_and_1() -> None:
    values = np.random.default_rng(0).integers(0, 2, (5, 7)).astype(float)
    larger = resize_area(values, 17, 23)
    assert larger.shape == (17, 23)
    assert (larger.min(), larger.max()) == (0, 1)
