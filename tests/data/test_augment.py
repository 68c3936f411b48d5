"""Augmentation and normalisation of images whose result can be computed by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clearhead.data import AugmentConfig, distort, draw_distortion, normalize, to_float
from clearhead.data.augment import Distortion
from clearhead.errors import ConfigError, InputError
from clearhead.models.config import ViTConfig

ALL = AugmentConfig(rotate=12, scale=0.12, shear=10, shift=1.5, elastic=0.8)


def draw(config: AugmentConfig, batch: int, size: tuple[int, int], seed: int = 0) -> Distortion:
    return draw_distortion(config, batch, size, torch.Generator().manual_seed(seed))


def ramps(batch: int, height: int, width: int) -> Tensor:
    """Two channels: the column and the row of each pixel."""
    columns = torch.arange(width, dtype=torch.float64).expand(height, width)
    rows = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
    return torch.stack([columns, rows]).expand(batch, 2, height, width)


def sources(distortion: Distortion, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The source of each output pixel, in pixels from the middle: across and down."""
    result = distort(ramps(len(distortion.affine), *size), distortion)
    return result[:, 0] - (size[1] - 1) / 2, result[:, 1] - (size[0] - 1) / 2


def inner(x: Tensor, margin: int) -> Tensor:
    """Pixels far enough from the border to have their source inside."""
    return x[..., margin:-margin, margin:-margin]


def test_zero_limits_leave_images_unchanged() -> None:
    assert not AugmentConfig().active
    images = torch.rand(3, 2, 13, 17, dtype=torch.float64)
    result = distort(images, draw(AugmentConfig(), 3, (13, 17)))
    torch.testing.assert_close(result, images, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(13, 13), (13, 23)])
def test_a_shift_is_in_pixels_and_uniform_over_its_range(size: tuple[int, int]) -> None:
    across, down = sources(draw(AugmentConfig(shift=2), 1009, size), size)
    plain_across, plain_down = sources(draw(AugmentConfig(), 1, size), size)
    for result, plain in ((across, plain_across), (down, plain_down)):
        moved = inner(result - plain, 3)
        first = moved[:, 0, 0]
        torch.testing.assert_close(moved, first[:, None, None].expand_as(moved), atol=1e-5, rtol=0)
        assert first.abs().max() <= 2
        assert first.min() < -1.9
        assert first.max() > 1.9
        assert first.std().item() == pytest.approx(2 / math.sqrt(3), abs=0.06)


def test_a_shift_by_whole_pixels_moves_the_image_and_pads_with_zeros() -> None:
    image = torch.rand(1, 1, 5, 7)
    affine = torch.tensor([[[1.0, 0.0, 2 * 2 / 7], [0.0, 1.0, -1 * 2 / 5]]])  # 2 right, 1 up
    result = distort(image, Distortion(affine, torch.zeros(1, 2, 0, 0)))
    expected = torch.zeros(1, 1, 5, 7)
    expected[..., 1:, :5] = image[..., :4, 2:]
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "config", [ALL, AugmentConfig(elastic=2, elastic_knots=4), AugmentConfig()]
)
def test_distorted_images_are_those_of_torchs_affine_grid_and_bicubic_interpolation(
    config: AugmentConfig,
) -> None:
    images, distortion = torch.rand(5, 2, 13, 17), draw(config, 5, (13, 17))
    grid = F.affine_grid(distortion.affine, [5, 2, 13, 17], align_corners=False)
    if config.elastic:
        elastic = F.interpolate(
            distortion.elastic, size=(13, 17), mode="bicubic", align_corners=True
        )
        grid = grid + elastic.permute(0, 2, 3, 1)
    expected = F.grid_sample(images, grid, align_corners=False)
    torch.testing.assert_close(distort(images, distortion), expected, atol=2e-5, rtol=0)


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
def test_a_shear_tilts_columns_by_an_angle_and_keeps_rows(
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


@pytest.mark.parametrize("size", [(23, 23), (23, 41)])
def test_scale_shear_and_rotation_are_applied_in_this_order(size: tuple[int, int]) -> None:
    limits: dict[str, Any] = {"rotate": 30, "shear": 20, "scale": 0.2}
    together = draw(AugmentConfig(**limits), 11, size).affine[:, :, :2]
    rotation, shear, scale = (
        draw(AugmentConfig(**{name: limit}), 11, size).affine[:, :, :2]
        for name, limit in limits.items()
    )
    torch.testing.assert_close(together, rotation @ shear @ scale)


@pytest.mark.parametrize("size", [(31, 31), (31, 61)])
def test_elastic_displacements_have_the_configured_standard_deviation_in_pixels(
    size: tuple[int, int],
) -> None:
    """6 knots on 31 or 61 pixels: every 6th or 12th pixel lies on a knot."""
    steps = [(side - 1) // 5 for side in size]
    result = sources(draw(AugmentConfig(elastic=0.8), 503, size), size)
    plain = sources(draw(AugmentConfig(), 1, size), size)
    across, down = (
        (x - y)[:, :: steps[0], :: steps[1]] for x, y in zip(result, plain, strict=True)
    )
    for moved in (across, down):
        knots = moved[:, 1:-1, 1:-1]
        assert knots.mean().item() == pytest.approx(0, abs=0.04)
        assert knots.std().item() == pytest.approx(0.8, abs=0.03)
    places = torch.stack([across[:, 2, 2], across[:, 2, 3], down[:, 2, 2], across[:, 3, 2]])
    assert (torch.corrcoef(places) - torch.eye(4)).abs().max() < 0.2


def test_elastic_displacements_are_smooth_between_the_knots() -> None:
    result = sources(draw(AugmentConfig(elastic=1.0, elastic_knots=3), 101, (41, 41)), (41, 41))[0]
    plain = sources(draw(AugmentConfig(), 1, (41, 41)), (41, 41))[0]
    bend = inner(result - plain, 7)
    assert bend.std() > 0.3
    assert bend.diff(dim=-1).abs().max() < 0.4
    assert bend.diff(dim=-1, n=2).abs().max() < 0.1


def test_the_same_seed_gives_the_same_images_and_another_seed_others() -> None:
    images = torch.rand(7, 1, 13, 17)
    one, same, other = (distort(images, draw(ALL, 7, (13, 17), seed)) for seed in (3, 3, 5))
    assert one.equal(same)
    assert not one.isclose(other).all()
    repeated = distort(images[:1].expand(7, 1, 13, 17), draw(ALL, 7, (13, 17)))
    assert not any(repeated[index].isclose(repeated[0]).all() for index in range(1, 7))


@pytest.mark.parametrize(
    "config",
    [ALL, AugmentConfig(rotate=5), AugmentConfig(style=0.7)],
    ids=["bent", "rigid", "styled"],
)
def test_a_part_of_the_batch_equals_that_slice_of_the_whole(config: AugmentConfig) -> None:
    images = torch.rand(11, 2, 13, 17)
    distortion = draw(config, 11, (13, 17))
    whole = distort(images, distortion)
    for start, stop in ((0, 5), (5, 11), (3, 4), (7, 7)):
        part = distort(images[start:stop], distortion.part(start, stop))
        # Some processors round otherwise in the last vector of a batch.
        torch.testing.assert_close(part, whole[start:stop], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_shape_and_type_are_kept_and_the_input_is_not_modified(dtype: torch.dtype) -> None:
    images = torch.rand(3, 2, 13, 17, dtype=dtype)
    before = images.clone()
    result = distort(images, draw(ALL, 3, (13, 17)))
    assert (result.shape, result.dtype) == (images.shape, dtype)
    assert images.equal(before)
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotate": -1}, "rotate must be at least 0 and finite, got -1"),
        ({"shear": math.nan}, "shear must be at least 0 and below 90, got nan"),
        ({"elastic": -0.1}, "elastic must be at least 0 and finite, got -0.1"),
        ({"shift": math.inf}, "shift must be at least 0 and finite, got inf"),
        ({"scale": "1"}, "scale must be at least 0 and below 1, got '1'"),
        ({"scale": 1}, "scale must be at least 0 and below 1, got 1"),
        ({"shear": 90}, "shear must be at least 0 and below 90, got 90"),
        ({"elastic_knots": 1}, "elastic_knots must be an integer of at least 2, got 1"),
    ],
)
def test_limits_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        AugmentConfig(**settings)


def test_distortion_before_normalisation_equals_distortion_relative_to_black() -> None:
    images = torch.randint(0, 256, (5, 1, 13, 17), dtype=torch.uint8)
    config, distortion = ViTConfig(mean=(0.2,), std=(0.5,)), draw(ALL, 5, (13, 17))
    black = normalize(torch.zeros(1, 1, 1, 1, dtype=torch.uint8), config)
    result = normalize(distort(to_float(images), distortion), config)
    expected = distort(normalize(images, config) - black, distortion) + black
    torch.testing.assert_close(result, expected)


def test_normalisation_gives_the_distance_from_the_mean_in_standard_deviations() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    config = ViTConfig(mean=(0.2,), std=(0.5,))
    pixels = to_float(images)
    result = normalize(images, config)
    torch.testing.assert_close(result, torch.tensor([[[[-0.4, 0.0, 1.6]]]]))
    assert torch.equal(normalize(pixels, config), result)
    assert images.flatten().tolist() == [0, 51, 255]
    assert pixels.max() == 1  # not modified
    colours = torch.full((2, 3, 5, 7), 255, dtype=torch.uint8)
    config = ViTConfig(in_channels=3, mean=(0.0, 0.5, 1.0), std=(1.0, 0.25, 0.5))
    assert normalize(colours, config)[1, :, 4, 6].tolist() == [1.0, 2.0, 0.0]


@pytest.mark.unchecked
def test_images_of_another_type_shape_or_number_of_channels_are_refused() -> None:
    with pytest.raises(InputError, match=r"uint8.*int64"):
        normalize(torch.zeros(1, 1, 5, 7, dtype=torch.int64), ViTConfig())
    with pytest.raises(InputError, match=r"got torch.uint8 of shape \(5, 7\)"):
        normalize(torch.zeros(5, 7, dtype=torch.uint8), ViTConfig())
    config = ViTConfig(in_channels=3, mean=(0.1, 0.2, 0.3))
    with pytest.raises(InputError, match="images have 2 channels"):
        normalize(torch.zeros(1, 2, 5, 7, dtype=torch.uint8), config)


def test_a_share_of_the_images_is_mirrored_and_no_other_number_changes() -> None:
    images = torch.rand(1009, 2, 5, 7, dtype=torch.float64)
    config = AugmentConfig(flip=0.3)
    assert config.active
    result = distort(images, draw(config, 1009, (5, 7)))
    mirrored = torch.isclose(result, images.flip(3), atol=1e-6).flatten(1).all(1)
    same = torch.isclose(result, images, atol=1e-6).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert 0.25 < mirrored.double().mean() < 0.35
    plain, flipped = (draw(AugmentConfig(rotate=9, elastic=1, flip=x), 11, (5, 7)) for x in (0, 1))
    torch.testing.assert_close(flipped.affine[:, 0], -plain.affine[:, 0])
    torch.testing.assert_close(flipped.affine[:, 1], plain.affine[:, 1])
    assert torch.equal(flipped.elastic, plain.elastic)
