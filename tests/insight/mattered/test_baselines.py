"""What stands for a missing patch: paper, the mean colour, a blur."""

import math
from typing import Any

import pytest
import torch

from clearhead.data import normalize
from clearhead.errors import ConfigError, InputError
from clearhead.insight.mattered.baselines import Baseline
from clearhead.models.config import ViTConfig

IMAGES = torch.randn(3, 2, 13, 11, generator=torch.Generator().manual_seed(0))


def test_a_blank_is_one_value_a_channel() -> None:
    blank = Baseline(value=(0.25, -1.0)).of(IMAGES)
    assert blank.shape == IMAGES.shape
    assert blank[:, 0].eq(0.25).all()
    assert blank[:, 1].eq(-1.0).all()
    assert Baseline(value=(0.5,)).of(IMAGES).eq(0.5).all()


def test_black_is_what_the_model_sees_of_black_paper() -> None:
    config = ViTConfig(mean=(0.13,), std=(0.31,))
    paper = normalize(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), config)
    torch.testing.assert_close(Baseline.black(config).of(paper), paper)


def test_the_mean_is_each_images_own() -> None:
    mean = Baseline(kind="mean").of(IMAGES)
    assert mean.shape == IMAGES.shape
    for image in range(3):
        for channel in range(2):
            expected = IMAGES[image, channel].sum() / 143
            torch.testing.assert_close(mean[image, channel], expected.expand(13, 11))


def test_a_blur_is_a_gaussian_over_the_pixels_alone() -> None:
    point = torch.zeros(2, 2, 41, 43, dtype=torch.float64)
    point[1, 0, 20, 21] = 1.0
    blurred = Baseline(kind="blur", sigma=3.0).of(point)
    assert blurred[0].eq(0.0).all()
    assert blurred[1, 1].eq(0.0).all()
    assert float(blurred[1, 0, 20, 21]) == pytest.approx(1 / (2 * math.pi * 9), rel=1e-3)
    ratio = float(blurred[1, 0, 24, 21] / blurred[1, 0, 20, 21])
    assert ratio == pytest.approx(math.exp(-16 / 18), rel=1e-6)
    torch.testing.assert_close(blurred[1, 0, 20, 24], blurred[1, 0, 23, 21])
    assert Baseline(kind="blur", sigma=3.0).of(IMAGES).dtype == torch.float32


@pytest.mark.parametrize(
    "options", [{"kind": "noise"}, {"kind": "blur"}, {"kind": "blur", "sigma": 0.0}]
)
def test_what_is_no_baseline_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"one of blank, mean, blur|sigma > 0"):
        Baseline(**options)


def test_a_blank_has_a_value_for_every_channel() -> None:
    with pytest.raises(InputError, match="2 channels, but the blank has 3"):
        Baseline(value=(0.0, 0.0, 0.0)).of(IMAGES)


def test_a_baseline_says_what_it_is() -> None:
    assert str(Baseline(value=(-0.42421,))) == "blank (-0.424)"
    assert str(Baseline(kind="mean")) == "mean"
    assert str(Baseline(kind="blur", sigma=7.0)) == "blur (sigma 7 pixels)"
