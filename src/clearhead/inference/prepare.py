"""A picture as the pixels that a model was trained on."""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from clearhead.data.folder import to_image
from clearhead.data.preprocessing.any_picture import Picture, as_picture
from clearhead.data.preprocessing.digits import SIDE, read_digit
from clearhead.data.preprocessing.grey import to_grey
from clearhead.models.config import ImageModelConfig


@dataclass(frozen=True, eq=False)
class Prepared:
    """Pixels for a model, what to doubt about them, and whether there is anything to answer."""

    pixels: UInt8[Tensor, "channels height width"]
    warnings: tuple[str, ...] = ()
    found: bool = True


def reads_digits(config: ImageModelConfig) -> bool:
    """Whether pictures are made into MNIST's digits first.

    They are for models of MNIST itself: one channel, 28 × 28 pixels, ten classes without names.
    A model of a folder has named classes, even if these are digits; it gets the whole picture in
    its own size, as in its training.
    """
    shape = (config.in_channels, config.image_shape, config.num_classes)
    return shape == (1, (SIDE, SIDE), 10) and not config.class_names


def prepare(image: Picture, config: ImageModelConfig) -> Prepared:
    """The pixels of any picture for a model with this configuration.

    Raises `ImageError` if it cannot be read.
    """
    picture = as_picture(image)
    if not reads_digits(config):
        return Prepared(to_image(picture, config.image_shape, config.in_channels))
    digit = read_digit(to_grey(picture))
    return Prepared(torch.from_numpy(digit.pixels)[None], digit.warnings, digit.found)
