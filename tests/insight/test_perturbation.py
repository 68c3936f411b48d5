"""Baselines: what replaces the patches that are removed."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clearhead.data import normalize
from clearhead.errors import ConfigError, InputError
from clearhead.insight.curves import random_orders
from clearhead.insight.perturbation import Baseline
from clearhead.insight.tokens import Grid
from clearhead.models.config import ViTConfig

from .reference import cell, oblong_images

GRID = Grid(5, 3)
CONSTANT = Baseline(value=(0.3, -0.2))
IMAGES = oblong_images(4)


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
    patches = random_orders(4, 15, torch.Generator().manual_seed(0)) >= count
    both = torch.stack([patches, torch.ones_like(patches)], dim=1)
    filled, whole = Baseline(kind="linear", noise=0.0).fill(IMAGES, both, GRID).unbind(dim=1)
    kept = GRID.to_pixels(patches, IMAGES)
    assert torch.equal(whole, IMAGES)
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
    noisy = Baseline(kind="linear", noise=0.5).fill(IMAGES, both, GRID)[:, 0] - filled
    assert noisy[kept.expand_as(noisy)].eq(0).all()
    assert float(noisy[~kept.expand_as(noisy)].std()) == pytest.approx(0.5, rel=0.1)


def test_the_noise_of_linear_imputation_depends_on_the_image_alone() -> None:
    def noise(images: torch.Tensor) -> torch.Tensor:
        nothing = torch.zeros(len(images), 1, 15, dtype=torch.bool)
        filled = Baseline(kind="linear", noise=1.0).fill(images, nothing, GRID)[:, 0]
        return filled - images.mean((2, 3), keepdim=True)

    of_each = noise(IMAGES)
    correlations = torch.corrcoef(of_each.flatten(1))
    torch.testing.assert_close(correlations, torch.eye(4).double(), atol=0.1, rtol=0.0)
    torch.testing.assert_close(noise(IMAGES[[2, 0, 2]]), of_each[[2, 0, 2]])


def test_linear_imputation_has_no_image_of_its_own() -> None:
    linear = Baseline(kind="linear", noise=0.0)
    filled = linear.fill(IMAGES, torch.zeros(4, 1, 15, dtype=torch.bool), GRID)[:, 0]
    torch.testing.assert_close(filled, IMAGES.mean((2, 3), keepdim=True).expand_as(filled))
    with pytest.raises(ConfigError, match="use fill"):
        linear.of(IMAGES)
    assert str(linear) == "noisy linear imputation"
