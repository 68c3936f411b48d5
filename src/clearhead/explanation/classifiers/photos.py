"""Any picture in colour or grey, and what a model saw of it, for people."""

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from clearhead.data import ImageInput, load_image, resize_and_crop


def open_photo(image: ImageInput, channels: int) -> Image.Image:
    """The whole picture in its own size, RGB or grey; `ImageError` if it cannot be read."""
    picture = load_image(image)
    pixels = resize_and_crop(picture, (picture.height, picture.width), channels)
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).numpy())


def denormalised(
    inputs: Float[Tensor, "1 channels height width"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> UInt8[Tensor, "channels height width"]:
    """The very pixels that the model was given: inputs · std + mean, as bytes."""
    shape = (1, -1, 1, 1)
    values = inputs * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)
    return (values[0].clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
