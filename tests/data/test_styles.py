from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clearhead.data import AugmentConfig, distort, draw_distortion
from clearhead.data.styles import OCTAVES, Style, apply_style, draw_style

SIZE = (19, 23)


def draw(probability: float = 1.0, batch: int = 101, seed: int = 0) -> Style:
    return draw_style(probability, batch, SIZE, torch.Generator().manual_seed(seed))


def pictures(batch: int = 101, channels: int = 1) -> torch.Tensor:
    images = torch.zeros(batch, channels, *SIZE)
    images[:, :, 4:15, 9:12] = 1
    return images


def single(**numbers: Any) -> Style:
    """A style that leaves an image as it is, but for these numbers."""
    neutral: dict[str, torch.Tensor] = {
        "positions": torch.zeros(1, dtype=torch.int64),
        "width": torch.zeros(1),
        "side": torch.zeros(1, dtype=torch.int64),
        "kernel": torch.zeros(1, 5, 5),
        "curves": torch.zeros(1, 1, 8),
        "tones": torch.linspace(0, 1, 6).expand(1, 2, 6),
        "regions": torch.zeros(1, 4, 4),
        "field": torch.zeros(1, 1 + sum(n * n for n in OCTAVES)),
        "noise": torch.zeros(1, *SIZE),
    }
    return Style(**neutral | {name: torch.tensor([x]) for name, x in numbers.items()})


def largest(x: torch.Tensor) -> torch.Tensor:
    """Over 3 × 3 pixels."""
    return F.max_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


def sampled_at(x: torch.Tensor, side: int) -> torch.Tensor:
    """At the resolution at which an image of 28 pixels has this many, and enlarged again."""
    small = F.adaptive_avg_pool2d(x, (side * SIZE[0] // 28, side * SIZE[1] // 28))
    return F.interpolate(small, SIZE, mode="bilinear")


def sobel(x: torch.Tensor) -> torch.Tensor:
    kernel = torch.tensor([[[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]]])
    edges = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel).abs()
    return edges / edges.max()


SOBEL = [[0.0] * 5, [0, -1, 0, 1, 0], [0, -2, 0, 2, 0], [0, -1, 0, 1, 0], [0.0] * 5]
DOWN = torch.linspace(-1, 1, SIZE[0])[:, None].expand(SIZE)
ACROSS = torch.linspace(-1, 1, SIZE[1]).expand(SIZE)
DARK_BELOW = [[-1.0] * 4, [-1.0] * 4, [1.0] * 4, [1.0] * 4]
TWO_TONES = [[1, 0.8, 0.6, 0.4, 0.2, 0], [0.0, 0, 0, 0, 0, 0]]
RAMP = [0.0] * sum(n * n for n in OCTAVES)
RAMP[:4] = [0.0, 3.0, 0.0, 3.0]  # the coarsest octave: from left to right


def with_ellipse(x: torch.Tensor) -> torch.Tensor:
    """A curve 2 pixels wide, in the tone 0.4."""

    def value(right: float = 0, down: float = 0) -> torch.Tensor:
        u, v = ACROSS.double() + right, DOWN.double() + down
        return -0.25 + 0.1 * u + u**2 + 0.5 * u * v + 2 * v**2

    slopes = [(value(*h) - value(*(-y for y in h))) / 2e-4 for h in ((1e-4, 0), (0, 1e-4))]
    distance = value().abs() / torch.hypot(*slopes) * 19 / 2
    return torch.lerp(x, torch.tensor(0.4), (1.5 - distance).clamp(0, 1).float())


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (single(), lambda x: x),
        (single(width=1.0), largest),
        (single(width=0.3), lambda x: 0.7 * x + 0.3 * largest(x)),
        (single(width=-1.0), lambda x: 1 - largest(1 - x)),
        (single(side=1), lambda x: sampled_at(x, 7)),
        (single(side=7), lambda x: sampled_at(x, 20)),
        (single(kernel=SOBEL), sobel),
        (  # half a pixel on both sides of the row at 2 / 3 of the height
            single(curves=[[-1.0, 0, 3, 0, 0, 0, 0.5, 0.4]]),
            lambda x: torch.where(((DOWN - 1 / 3).abs() * 19 / 2 < 0.5), 0.4, x),
        ),
        (single(curves=[[-0.25, 0.1, 0, 1, 0.5, 2, 1.0, 0.4]]), with_ellipse),
        (single(tones=TWO_TONES, regions=[[-1.0] * 4] * 4), lambda x: 1 - x),
        (single(tones=TWO_TONES, regions=DARK_BELOW), lambda x: torch.where(DOWN > 0, 0, 1 - x)),
        (single(field=[0.4, *RAMP]), lambda x: 0.6 * x + 0.4 * (ACROSS + 1) / 2),
        (single(noise=(DOWN - ACROSS).tolist()), lambda x: (x + DOWN - ACROSS).clamp(0, 1)),
    ],
)
def test_each_step_changes_pixels_by_its_formula(
    style: Style, expected: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    image = torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(apply_style(image, style), expected(image), atol=1e-5, rtol=0)


def test_pixels_stay_between_0_and_1_and_the_input_is_not_modified() -> None:
    images = pictures()
    result = apply_style(images, draw())
    assert result.shape == images.shape
    assert result.isfinite().all()
    assert [float(result.min()), float(result.max())] == [0, 1]
    assert images.equal(pictures())


def test_the_probability_is_the_share_of_changed_images() -> None:
    images = pictures(1009)
    changed = (apply_style(images, draw(0.4, 1009)) != images).flatten(1).any(1)
    assert 0.3 < changed.double().mean() < 0.45
    assert not set(changed.nonzero()[:, 0].tolist()) - set(draw(0.4, 1009).positions.tolist())
    assert apply_style(images, draw(0, 1009)).equal(images)


def test_equal_images_get_different_styles_and_equal_seeds_the_same() -> None:
    one, same, other = (apply_style(pictures(), draw(seed=seed)) for seed in (3, 3, 4))
    assert one.equal(same)
    assert not one.equal(other)
    assert len(one.flatten(1).unique(dim=0)) > 90


@pytest.mark.parametrize(("start", "stop"), [(0, 41), (41, 101), (7, 7)])
def test_the_style_of_an_image_depends_on_no_other_image(start: int, stop: int) -> None:
    style = draw(0.7)
    whole = apply_style(pictures(), style)
    part = apply_style(pictures()[start:stop], style.part(start, stop))
    torch.testing.assert_close(part, whole[start:stop])


def test_channels_get_the_same_style() -> None:
    result = apply_style(pictures(channels=3), draw())
    torch.testing.assert_close(result[:, 1], result[:, 0])
    torch.testing.assert_close(result[:, :1], apply_style(pictures(), draw()))


def test_most_styled_digits_still_differ_from_their_background() -> None:
    images = pictures(1009)
    styled, ink = apply_style(images, draw(batch=1009)), images > 0.5
    inside = (styled * ink).sum((1, 2, 3)) / ink.sum((1, 2, 3))
    outside = (styled * ~ink).sum((1, 2, 3)) / (~ink).sum((1, 2, 3))
    assert ((inside - outside).abs() > 0.1).double().mean() > 0.75
    assert 0.05 < (inside < outside).double().mean() < 0.5  # dark on light


def test_augmentation_distorts_first_and_draws_the_same_distortion_with_and_without_styles() -> (
    None
):
    def drawn(style: float) -> torch.Tensor:
        config = AugmentConfig(rotate=9, elastic=0.5, style=style)
        generator = torch.Generator().manual_seed(5)
        return distort(pictures(), draw_distortion(config, 101, SIZE, generator))

    styled, plain = drawn(0.5), drawn(0)
    unchanged = (styled == plain).flatten(1).all(1).double().mean()
    assert 0.4 < unchanged < 0.75
