import numpy as np
import pytest
import torch

from clearhead.errors import InputError
from clearhead.insight.foreground import Foreground
from clearhead.insight.tokens import Grid

GRID = Grid(2, 3, 1)
IMAGES = torch.randint(
    0, 256, (7, 1, 10, 21), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)


def test_amounts_are_means_of_patches_and_the_centre_is_that_of_mass() -> None:
    foreground = Foreground.of(IMAGES, GRID)
    as_float = Foreground.of(IMAGES.double().expand(-1, 3, -1, -1) / 255, GRID)
    torch.testing.assert_close(foreground.amount, as_float.amount)
    assert torch.equal(foreground.centre, as_float.centre)
    assert "7 images" in repr(foreground)
    for image in range(7):
        pixels = IMAGES[image, 0].numpy() / 255.0
        rows, columns = np.mgrid[0:10, 0:21] + 0.5
        row = int((rows * pixels).sum() / pixels.sum() // 5)
        column = int((columns * pixels).sum() / pixels.sum() // 7)
        assert int(foreground.centre[image]) == 3 * row + column
        expected = pixels.reshape(2, 5, 3, 7).mean(axis=(1, 3))
        np.testing.assert_allclose(foreground.amount[image], expected)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 20), (9, 0), (9, 20), (4, 6), (5, 7)])
def test_the_centre_of_one_pixel_is_its_own_patch(row: int, column: int) -> None:
    images = torch.zeros(1, 1, 10, 21)
    images[0, 0, row, column] = 1.0
    assert int(Foreground.of(images, GRID).centre[0]) == 3 * (row // 5) + column // 7


def test_the_edge_of_a_stroke_is_neither_foreground_nor_background() -> None:
    images = torch.zeros(2, 1, 10, 21)
    images[0, 0, :5, 7:14] = 0.5
    images[0, 0, 7, 15] = 1.0  # 1 / 35: neither
    foreground = Foreground.of(images, GRID)
    assert foreground.mask[0].nonzero()[:, 0].tolist() == [1]
    assert foreground.background[0].nonzero()[:, 0].tolist() == [0, 2, 3, 4]
    assert bool(foreground.background[1].all())
    assert int(foreground.centre[1]) == 4  # without foreground, the middle


def test_normalised_pixels_and_uneven_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="before normalisation, got -1 to 0"):
        Foreground.of(torch.tensor([-1.0, 0.0]).reshape(1, 1, 1, 2), Grid(1, 2))
    with pytest.raises(InputError, match="divided evenly"):
        Foreground.of(torch.zeros(1, 1, 10, 20), GRID)
