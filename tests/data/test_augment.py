"""Augmentation on images whose result can be checked by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from clearhead.data.augment import Distortion, distort, draw_distortion
from clearhead.data.config import AugmentConfig
from clearhead.errors import ConfigError

EVERYTHING = AugmentConfig(rotate=12, scale=0.12, shear=10, shift=1.5, elastic=0.8)


def draw(config: AugmentConfig, batch: int, size: tuple[int, int], seed: int = 0) -> Distortion:
    return draw_distortion(config, batch, size, torch.Generator().manual_seed(seed))


def ramps(batch: int, height: int, width: int) -> Tensor:
    """Two channels: in which column, and in which row, a pixel lies."""
    columns = torch.arange(width, dtype=torch.float64).expand(height, width)
    rows = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
    return torch.stack([columns, rows]).expand(batch, 2, height, width)


def sources(distortion: Distortion, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where each output pixel was read from, in pixels from the middle: across and down."""
    found = distort(ramps(len(distortion.affine), *size), distortion)
    return found[:, 0] - (size[1] - 1) / 2, found[:, 1] - (size[0] - 1) / 2


def inner(x: Tensor, margin: int) -> Tensor:
    """Far enough from the edge that nothing is read from outside."""
    return x[..., margin:-margin, margin:-margin]


def test_all_zeros_leave_images_as_they_are() -> None:
    assert not AugmentConfig().active
    images = torch.rand(3, 2, 13, 17, dtype=torch.float64)
    found = distort(images, draw(AugmentConfig(), 3, (13, 17)))
    torch.testing.assert_close(found, images, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["rotate", "scale", "shear", "shift", "elastic"])
def test_each_setting_alone_changes_images(name: str) -> None:
    settings: dict[str, Any] = {name: 0.5}
    config = AugmentConfig(**settings)
    assert config.active
    images = torch.rand(5, 1, 13, 17)
    assert not distort(images, draw(config, 5, (13, 17))).isclose(images, atol=1e-4).all()


@pytest.mark.parametrize("size", [(13, 13), (13, 23)])
def test_a_shift_is_in_pixels_and_even_over_its_range(size: tuple[int, int]) -> None:
    across, down = sources(draw(AugmentConfig(shift=2), 1009, size), size)
    plain_across, plain_down = sources(draw(AugmentConfig(), 1, size), size)
    for found, plain in ((across, plain_across), (down, plain_down)):
        moved = inner(found - plain, 3)
        first = moved[:, 0, 0]
        torch.testing.assert_close(moved, first[:, None, None].expand_as(moved), atol=1e-5, rtol=0)
        assert first.abs().max() <= 2
        assert first.min() < -1.9
        assert first.max() > 1.9
        assert first.std().item() == pytest.approx(2 / math.sqrt(3), abs=0.06)


def test_a_shift_by_whole_pixels_moves_the_image_and_fills_up_with_paper() -> None:
    image = torch.rand(1, 1, 5, 7)
    affine = torch.tensor([[[1.0, 0.0, 2 * 2 / 7], [0.0, 1.0, -1 * 2 / 5]]])  # 2 right, 1 up
    found = distort(image, Distortion(affine, None))
    expected = torch.zeros(1, 1, 5, 7)
    expected[..., 1:, :5] = image[..., :4, 2:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(23, 23), (23, 41), (41, 23)])
def test_a_rotation_keeps_distances_in_pixels_also_in_oblong_images(size: tuple[int, int]) -> None:
    across, down = sources(draw(AugmentConfig(rotate=30), 211, size), size)
    middle = slice(size[0] // 2 - 4, size[0] // 2 + 5), slice(size[1] // 2 - 4, size[1] // 2 + 5)
    across, down = across[:, *middle], down[:, *middle]
    steps = torch.arange(-4, 5, dtype=torch.float64)
    distance = (steps[:, None] ** 2 + steps**2).sqrt().expand(211, 9, 9)
    torch.testing.assert_close((across**2 + down**2).sqrt(), distance, atol=1e-5, rtol=0)
    angles = torch.atan2(down[:, 4, 8], across[:, 4, 8]).rad2deg()  # of what was to the right
    assert angles.abs().max() <= 30
    assert angles.min() < -28
    assert angles.max() > 28
    turned = torch.atan2(-across[:, 8, 4], down[:, 8, 4]).rad2deg()  # of what was below
    torch.testing.assert_close(turned, angles, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(23, 23), (23, 41)])
def test_a_scale_stretches_each_axis_by_its_own_factor(size: tuple[int, int]) -> None:
    across, down = sources(draw(AugmentConfig(scale=0.2), 1009, size), size)
    y, x = size[0] // 2, size[1] // 2
    factors = torch.stack([4 / across[:, y, x + 4], 4 / down[:, y + 4, x]])
    assert factors.min() >= 0.8 - 1e-5
    assert factors.max() <= 1.2 + 1e-5
    for factor in factors:
        assert factor.mean().item() == pytest.approx(1, abs=0.02)
        assert factor.std().item() == pytest.approx(0.2 / math.sqrt(3), abs=0.01)
    assert torch.corrcoef(factors)[0, 1].abs() < 0.1
    torch.testing.assert_close(inner(across, 5)[:, 0], inner(across, 5)[:, -1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(23, 23), (23, 41), (41, 23)])
def test_a_shear_leans_columns_by_an_angle_and_leaves_rows_where_they_are(
    size: tuple[int, int],
) -> None:
    across, down = sources(draw(AugmentConfig(shear=20), 211, size), size)
    y, x = size[0] // 2, size[1] // 2
    plain = sources(draw(AugmentConfig(), 1, size), size)[1]
    torch.testing.assert_close(
        inner(down, 9), inner(plain, 9).expand_as(inner(down, 9)), atol=1e-5, rtol=0
    )
    angles = torch.atan2(across[:, y + 4, x], torch.tensor(4.0)).rad2deg()
    assert angles.abs().max() <= 20
    assert angles.min() < -18
    assert angles.max() > 18


@pytest.mark.parametrize("size", [(31, 31), (31, 61)])
def test_elastic_displacements_have_the_standard_deviation_asked_for_in_pixels(
    size: tuple[int, int],
) -> None:
    """6 knots on 31 or 61 pixels: every 6th or 12th pixel lies on a knot."""
    steps = [(side - 1) // 5 for side in size]
    found = sources(draw(AugmentConfig(elastic=0.8), 503, size), size)
    plain = sources(draw(AugmentConfig(), 1, size), size)
    across, down = ((x - y)[:, :: steps[0], :: steps[1]] for x, y in zip(found, plain, strict=True))
    for moved in (across, down):
        knots = moved[:, 1:-1, 1:-1]
        assert knots.mean().item() == pytest.approx(0, abs=0.04)
        assert knots.std().item() == pytest.approx(0.8, abs=0.03)
    pairs = torch.stack([across[:, 2, 2], across[:, 2, 3], down[:, 2, 2], across[:, 3, 2]])
    assert (torch.corrcoef(pairs) - torch.eye(4)).abs().max() < 0.2


def test_elastic_displacements_are_smooth_between_the_knots() -> None:
    found = sources(draw(AugmentConfig(elastic=1.0, elastic_knots=3), 101, (41, 41)), (41, 41))[0]
    plain = sources(draw(AugmentConfig(), 1, (41, 41)), (41, 41))[0]
    bend = inner(found - plain, 7)
    assert bend.std() > 0.3
    assert bend.diff(dim=-1).abs().max() < 0.4
    assert bend.diff(dim=-1, n=2).abs().max() < 0.1


def test_the_same_seed_gives_the_same_images_and_another_seed_others() -> None:
    images = torch.rand(7, 1, 13, 17)
    one, same, other = (distort(images, draw(EVERYTHING, 7, (13, 17), seed)) for seed in (3, 3, 5))
    assert one.equal(same)
    assert not one.isclose(other).all()


def test_every_image_of_a_batch_is_moved_in_its_own_way() -> None:
    image = torch.rand(1, 1, 13, 17).expand(5, 1, 13, 17)
    found = distort(image, draw(EVERYTHING, 5, (13, 17)))
    for index in range(1, 5):
        assert not found[index].isclose(found[0]).all()


@pytest.mark.parametrize("config", [EVERYTHING, AugmentConfig(rotate=5)], ids=["bent", "rigid"])
def test_a_part_of_the_batch_equals_that_slice_of_the_whole(config: AugmentConfig) -> None:
    images = torch.rand(11, 2, 13, 17)
    distortion = draw(config, 11, (13, 17))
    whole = distort(images, distortion)
    for start, stop in ((0, 5), (5, 11), (3, 4), (7, 7)):
        assert distort(images[start:stop], distortion.part(start, stop)).equal(whole[start:stop])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_shape_and_type_stay_and_the_input_is_left_alone(dtype: torch.dtype) -> None:
    images = torch.rand(3, 2, 13, 17, dtype=dtype)
    before = images.clone()
    found = distort(images, draw(EVERYTHING, 3, (13, 17)))
    assert (found.shape, found.dtype) == (images.shape, dtype)
    assert images.equal(before)
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotate": -1}, "rotate must be 0 or more, got -1"),
        ({"shear": math.nan}, "shear must be 0 or more, got nan"),
        ({"elastic": -0.1}, "elastic must be 0 or more, got -0.1"),
        ({"scale": 1}, "scale must be below 1, got 1"),
        ({"shear": 90}, "shear must be below 90, got 90"),
        ({"elastic_knots": 1}, "elastic_knots must be at least 2, got 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        AugmentConfig(**settings)
