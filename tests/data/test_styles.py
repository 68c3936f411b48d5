import pytest
import torch

from clearhead.data import AugmentConfig, distort, draw_distortion
from clearhead.data.styles import Style, apply_style, draw_style

SIZE = (19, 23)


def draw(probability: float = 1.0, batch: int = 101, seed: int = 0) -> Style:
    return draw_style(probability, batch, SIZE, torch.Generator().manual_seed(seed))


def pictures(batch: int = 101, channels: int = 1) -> torch.Tensor:
    images = torch.zeros(batch, channels, *SIZE)
    images[:, :, 4:15, 9:12] = 1
    return images


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
    assert not set(changed.nonzero()[:, 0].tolist()) - set(draw(0.4, 1009).index.tolist())
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
