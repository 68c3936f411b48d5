import pytest
import torch

from clearhead.data.pixels import normalize
from clearhead.errors import InputError
from clearhead.models.config import ViTConfig


def test_pixels_become_their_distance_from_the_mean_in_standard_deviations() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    config = ViTConfig(mean=(0.2,), std=(0.5,))
    result = normalize(images, config)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.tensor([[[[-0.4, 0.0, 1.6]]]]))
    assert images.flatten().tolist() == [0, 51, 255]


def test_each_channel_has_its_own_numbers() -> None:
    images = torch.full((2, 3, 5, 7), 255, dtype=torch.uint8)
    config = ViTConfig(in_channels=3, mean=(0.0, 0.5, 1.0), std=(1.0, 0.25, 0.5))
    result = normalize(images, config)
    assert result.shape == images.shape
    for channel, expected in enumerate((1.0, 2.0, 0.0)):
        assert (result[:, channel] == expected).all()


def test_images_that_are_no_bytes_or_have_other_axes_are_refused() -> None:
    config = ViTConfig()
    with pytest.raises(InputError, match=r"uint8.*float32"):
        normalize(torch.zeros(1, 1, 5, 7), config)
    with pytest.raises(InputError, match=r"got torch.uint8 of shape \(5, 7\)"):
        normalize(torch.zeros(5, 7, dtype=torch.uint8), config)


def test_numbers_for_other_channels_are_refused() -> None:
    config = ViTConfig(in_channels=3, mean=(0.1, 0.2, 0.3))
    with pytest.raises(InputError, match="images have 2 channels"):
        normalize(torch.zeros(1, 2, 5, 7, dtype=torch.uint8), config)
