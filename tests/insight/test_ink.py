import numpy as np
import pytest
import torch

from clearhead.errors import InputError
from clearhead.insight.ink import ink_of
from clearhead.insight.tokens import Grid

GRID = Grid(2, 3, 1)


def test_ink_is_the_mean_of_each_patch_and_its_centre_that_of_mass() -> None:
    images = torch.randint(
        0, 256, (7, 1, 10, 21), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    found = ink_of(images, GRID)
    for image in range(7):
        pixels = images[image, 0].numpy() / 255.0
        rows, columns = np.mgrid[0:10, 0:21] + 0.5
        row = int((rows * pixels).sum() / pixels.sum() // 5)
        column = int((columns * pixels).sum() / pixels.sum() // 7)
        assert int(found.centre[image]) == 3 * row + column
        for row in range(2):
            for column in range(3):
                patch = pixels[5 * row : 5 * row + 5, 7 * column : 7 * column + 7]
                assert float(found.amount[image, row, column]) == pytest.approx(patch.mean())


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 20), (9, 0), (9, 20), (4, 6), (5, 7)])
def test_the_centre_of_one_pixel_is_its_own_patch(row: int, column: int) -> None:
    images = torch.zeros(1, 1, 10, 21)
    images[0, 0, row, column] = 1.0
    found = ink_of(images, GRID)
    assert int(found.centre[0]) == 3 * (row // 5) + column // 7


def test_patches_have_ink_or_none_or_the_edge_of_a_stroke() -> None:
    images = torch.zeros(1, 1, 10, 21)
    images[0, 0, :5, 7:14] = 0.5
    images[0, 0, 7, 15] = 1.0  # 1 / 35: neither
    found = ink_of(images, GRID)
    assert found.inked.nonzero()[:, 1].tolist() == [1]
    assert found.blank.nonzero()[:, 1].tolist() == [0, 2, 3, 4]


def test_bytes_and_fractions_and_channels_agree() -> None:
    images = torch.randint(
        0, 256, (3, 1, 10, 21), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    found = ink_of(images, GRID)
    as_float = ink_of(images.double().expand(-1, 3, -1, -1) / 255, GRID)
    torch.testing.assert_close(found.amount, as_float.amount)
    assert torch.equal(found.centre, as_float.centre)


def test_an_empty_image_has_its_centre_in_the_middle() -> None:
    found = ink_of(torch.zeros(1, 1, 10, 21, dtype=torch.uint8), Grid(2, 3))
    assert int(found.centre[0]) == 4
    assert bool(found.blank.all())


def test_normalised_pixels_and_odd_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="before normalisation, got -1 to 0"):
        ink_of(torch.tensor([-1.0, 0.0]).reshape(1, 1, 1, 2), Grid(1, 2))
    with pytest.raises(InputError, match="whole number of pixels"):
        ink_of(torch.zeros(1, 1, 10, 20), GRID)
