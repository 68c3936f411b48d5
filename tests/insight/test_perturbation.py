"""Baselines, and deletion and insertion compared with loops over images, steps and patches."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clearhead.data import normalize
from clearhead.errors import ConfigError, InputError
from clearhead.insight.perturbation import (
    Baseline,
    deletion_curves,
    random_orders,
    ranked,
)
from clearhead.insight.tokens import Grid
from clearhead.models.config import ViTConfig

from .reference import cell, oblong_images, oblong_model, plain_probabilities

GRID = Grid(5, 3)
CONSTANT = Baseline(value=(0.3, -0.2))
MODEL = oblong_model()
IMAGES = oblong_images(4)
CLASSES = torch.tensor([3, 10, 0, 3])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


ORDER = random_orders(4, 15, generator())


def test_a_constant_is_one_value_or_one_for_each_channel() -> None:
    constant = CONSTANT.of(IMAGES)
    assert constant.shape == IMAGES.shape
    assert constant[:, 0].eq(0.3).all()
    assert constant[:, 1].eq(-0.2).all()
    assert Baseline(value=(0.5,)).of(IMAGES).eq(0.5).all()
    with pytest.raises(InputError, match="2 channels, but the baseline has 3"):
        Baseline(value=(0.0, 0.0, 0.0)).of(IMAGES)


def test_black_is_the_model_input_of_black_pixels() -> None:
    config = ViTConfig(mean=(0.13,), std=(0.31,))
    black = normalize(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), config)
    assert torch.equal(Baseline.black(config).of(black), black)
    different: Any = SimpleNamespace(mean=(0.5,), std=(0.2, 0.3, 0.4))
    with pytest.raises(ConfigError, match="for each channel, got 1 and 3"):
        Baseline.black(different)
    with pytest.raises(ConfigError, match=r"configuration with mean and std, .* got a Grid"):
        Baseline.black(GRID)  # type: ignore[arg-type]


def test_blur_is_a_gaussian_filter_over_height_and_width() -> None:
    point = torch.zeros(2, 2, 41, 43, dtype=torch.float64)
    point[1, 0, 20, 21] = 1.0
    blurred = Baseline(kind="blur", sigma=3.0).of(point)
    assert blurred[0].eq(0.0).all()
    assert blurred[1, 1].eq(0.0).all()
    assert float(blurred[1, 0, 20, 21]) == pytest.approx(1 / (2 * math.pi * 9), rel=1e-3)
    ratio = float(blurred[1, 0, 24, 21] / blurred[1, 0, 20, 21])
    assert ratio == pytest.approx(math.exp(-16 / 18), rel=1e-6)
    torch.testing.assert_close(blurred[1, 0, 20, 24], blurred[1, 0, 23, 21])
    assert Baseline(kind="blur", sigma=3.0).of(point.float()).dtype == torch.float32


def test_the_difference_from_each_images_own_mean_is_that_of_each_patch() -> None:
    change = (IMAGES - IMAGES.mean(dim=(2, 3), keepdim=True)).abs()
    result = Baseline(kind="mean").difference(IMAGES, GRID)
    for patch in range(15):
        expected = change[(..., *cell(patch))].mean((1, 2, 3))
        torch.testing.assert_close(result[:, patch], expected)


@pytest.mark.parametrize(
    "options", [{"kind": "noise"}, {"kind": "blur"}, {"kind": "blur", "sigma": 0.0}]
)
def test_unknown_baselines_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r'"blur" or "linear"|sigma > 0'):
        Baseline(**options)


@pytest.mark.parametrize("count", [1, 8, 14])
def test_linear_imputation_makes_each_removed_pixel_the_mean_of_its_neighbours(count: int) -> None:
    kept = GRID.to_pixels(random_orders(4, 15, generator()) >= count, IMAGES)
    filled = Baseline(kind="linear", noise=0.0).fill(IMAGES, kept)
    assert torch.equal(filled[kept.expand_as(filled)], IMAGES[kept.expand_as(IMAGES)])
    weights = torch.tensor([[1, 2, 1], [2, 0, 2], [1, 2, 1]], dtype=torch.float64) / 12
    for channel in range(2):
        one = torch.nn.functional.pad(filled[:, channel : channel + 1], (1, 1, 1, 1))
        inside = torch.nn.functional.pad(torch.ones(4, 1, 35, 33).double(), (1, 1, 1, 1))
        means, shares = (torch.nn.functional.conv2d(x, weights[None, None]) for x in (one, inside))
        removed = ~kept
        torch.testing.assert_close(
            filled[:, channel : channel + 1][removed], (means / shares)[removed]
        )
    noisy = Baseline(kind="linear", noise=0.5).fill(IMAGES, kept) - filled
    assert noisy[kept.expand_as(noisy)].eq(0).all()
    assert float(noisy[~kept.expand_as(noisy)].std()) == pytest.approx(0.5, rel=0.1)


def test_linear_imputation_has_no_image_of_its_own() -> None:
    linear = Baseline(kind="linear", noise=0.0)
    nothing = torch.zeros(4, 1, 35, 33, dtype=torch.bool)
    filled = linear.fill(IMAGES, nothing)
    torch.testing.assert_close(filled, IMAGES.mean((2, 3), keepdim=True).expand_as(filled))
    with pytest.raises(ConfigError, match="use fill"):
        linear.of(IMAGES)
    assert str(linear) == "noisy linear imputation"


def with_patches(image: Tensor, background: Tensor, patches: list[int]) -> Tensor:
    """`background` with these patches of the image."""
    out = background.clone()
    for patch in patches:
        out[(..., *cell(patch))] = image[(..., *cell(patch))]
    return out


def by_loops(order: Tensor, counts: list[int], *, deletion: bool) -> np.ndarray:
    background = torch.tensor(CONSTANT.value, dtype=torch.float64)[:, None, None].expand(2, 35, 33)
    curves = []
    for image, patches, label in zip(IMAGES, order.tolist(), CLASSES.tolist(), strict=True):
        kept = [patches[count:] if deletion else patches[:count] for count in counts]
        images = torch.stack([with_patches(image, background, some) for some in kept])
        curves.append(plain_probabilities(MODEL, images)[:, label].tolist())
    return np.array(curves)


@pytest.mark.parametrize("steps", [None, 4, 1])
def test_curves_follow_the_probability_as_patches_are_deleted_or_inserted(
    steps: int | None,
) -> None:
    counts = {None: list(range(16)), 4: [0, 4, 8, 11, 15], 1: [0, 15]}[steps]
    inserted = [15 - count for count in reversed(counts)]
    curves = [
        deletion_curves(
            MODEL, IMAGES, order, CLASSES, grid=GRID, baseline=CONSTANT, steps=steps, batch_size=3
        )
        for order in (ORDER, ORDER.flip(1))
    ]
    for result, points in ((curves[0], counts), (curves[1].reversed(), inserted)):
        np.testing.assert_allclose(result.fractions, np.array(points) / 15, atol=1e-15)
        expected = by_loops(ORDER, points, deletion=points is counts)
        np.testing.assert_allclose(result.probabilities, expected, rtol=1e-9)
        areas = np.trapezoid(expected, np.array(points) / 15, axis=1)
        np.testing.assert_allclose(result.areas, areas, rtol=1e-9)
        assert np.ptp(expected) > 0.01


def test_the_most_important_patch_comes_first_and_equal_ones_in_random_order() -> None:
    importance = torch.tensor([[0.1, 0.5, -2.0, 0.3], [7.0, 1.0, 3.0, 5.0]])
    assert ranked(importance, generator()).tolist() == [[1, 3, 0, 2], [0, 3, 2, 1]]
    equal = torch.zeros(3000, 5)
    equal[:, 2] = 1.0
    orders = ranked(equal, generator())
    assert orders[:, 0].eq(2).all()
    for patch in (0, 1, 3, 4):
        for place in range(1, 5):
            share = float(orders[:, place].eq(patch).double().mean())
            assert share == pytest.approx(0.25, abs=0.04)
    for wrong in (torch.zeros(5), torch.full((2, 3), torch.nan)):
        with pytest.raises(InputError, match=r"\(batch, patches\) without NaN"):
            ranked(wrong, generator())


def test_random_orders_are_permutations_determined_by_the_seed() -> None:
    orders = random_orders(1000, 7, generator(5))
    assert orders.sort(dim=1).values.eq(torch.arange(7)).all()
    assert torch.equal(orders, random_orders(1000, 7, generator(5)))
    assert not torch.equal(orders, random_orders(1000, 7, generator(6)))
    assert orders.double().mean(0).tolist() == pytest.approx([3.0] * 7, abs=0.3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"order": ORDER[:, :14]}, InputError, "an order of that shape"),
        ({"order": ORDER.clamp_min(1)}, InputError, "each patch from 0 to 14 once"),
        ({"classes": CLASSES[:3]}, InputError, "one class"),
        ({"steps": 0}, ConfigError, "between 1 and 15"),
        ({"batch_size": 0}, ConfigError, "batch_size"),
        ({"steps": 16}, ConfigError, "between 1 and 15"),
        ({"images": IMAGES[..., :32]}, InputError, "divided evenly by 5 × 3 patches"),
    ],
)
def test_wrong_arguments_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {"images": IMAGES, "order": ORDER, "classes": CLASSES} | options
    with pytest.raises(error, match=message):
        deletion_curves(MODEL, grid=GRID, baseline=CONSTANT, **arguments)
