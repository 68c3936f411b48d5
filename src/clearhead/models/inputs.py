"""What a classifier accepts."""

from torch import Tensor

from clearhead.errors import InputError
from clearhead.models.config import ImageModelConfig


def check_images(images: Tensor, config: ImageModelConfig) -> None:
    """Raise `InputError` unless the images have the shape the model was made for."""
    expected = (config.in_channels, *config.image_shape)
    if images.dim() != 4 or tuple(images.shape[1:]) != expected:
        raise InputError(
            f"images must be (batch, {', '.join(map(str, expected))}), got {tuple(images.shape)}"
        )
    if not images.is_floating_point():
        raise InputError(f"images must be floating point (normalised pixels), got {images.dtype}")
