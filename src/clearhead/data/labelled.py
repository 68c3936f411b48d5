"""Labelled images before they are decoded: their usual shape, a test split, and decoding."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, Shaped, UInt8
from numpy import ndarray
from PIL import Image, ImageOps
from torch import Tensor

from clearhead.data.image_dataset import ImageDataset, Split, split_indices
from clearhead.data.preprocessing.image import ImageSource, load_image, to_grey
from clearhead.errors import ConfigError, DataError, ImageError

TEST_FRACTION = 0.2
COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK")
MAX_SIDE = 96  # of the usual shape: a model for larger images is chosen by its `image_size`
SAMPLE = 64  # images whose shape is looked at
MIN_COLOUR = 16  # difference of channels, of 255: JPEG gives grey pixels some colour
MAX_NAMED = 50  # broken images in a message


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with labels, not decoded yet: arrays with a row for each image.

    Attributes:
        name: For messages and titles.
        images: Paths, contents of files, or arrays, as objects; or one array of all pixels.
        labels: The index of each image's class.
        class_names: The names of the classes.
        keys: The name of each image in messages; its hash decides the image's split.
    """

    name: str
    images: Shaped[ndarray, " n"] | UInt8[ndarray, "n channels height width"]
    labels: Int64[ndarray, " n"]
    class_names: tuple[str, ...]
    keys: Shaped[ndarray, " n"]

    @classmethod
    def from_dataset(cls, dataset: ImageDataset) -> "LabelledImages":
        """The images of a data set in memory."""
        images, labels = dataset.images.cpu().numpy(), dataset.labels.cpu().numpy()
        keys = np.array(list(map(str, range(len(dataset)))), object)
        return cls(dataset.name, images, labels, dataset.class_names, keys)

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Sequence[int] | ndarray) -> "LabelledImages":
        """Some of the images."""
        columns = {name: getattr(self, name)[rows] for name in ("images", "labels", "keys")}
        return replace(self, **columns)

    def with_test_split(self) -> dict[Split, "LabelledImages"]:
        """A fifth of each class, chosen by a hash of the keys, becomes the test split.

        There is no test split if no class has two images.
        """
        kept, held_out = split_indices(self.labels.tolist(), TEST_FRACTION, 0, self.keys.tolist())
        if not len(held_out):
            return {"train": self}
        return {"train": self.select(kept.numpy()), "test": self.select(held_out.numpy())}

    def usual_shape(self) -> tuple[int, int, int]:
        """Channels, and median height and width, of up to 64 images.

        The size is scaled down so that the longer side has at most 96 pixels. Channels are 3 if any
        of the images has colours, else 1. Images that cannot be read are left out.
        """
        if self.images.ndim == 4:
            channels, height, width = self.images.shape[1:]
            channels = 3 if channels == 4 else channels
        else:
            count = min(len(self), SAMPLE)
            shapes = [_shape(self.images[n * len(self) // count]) for n in range(count)]
            known = [shape for shape in shapes if shape is not None] or [(1, 28, 28)]
            channels = max(shape[0] for shape in known)
            height, width = np.median([shape[1:] for shape in known], axis=0)
        scale = min(1.0, MAX_SIDE / max(height, width))
        return channels, max(round(height * scale), 1), max(round(width * scale), 1)

    def _decode(
        self, image_size: tuple[int, int], in_channels: int
    ) -> tuple[UInt8[Tensor, "n channels height width"], list[tuple[str, str]]]:
        """The images, and the name of each one that cannot be read, with the reason."""
        if self.images.shape[1:] == (in_channels, *image_size):
            return torch.from_numpy(np.ascontiguousarray(self.images)), []

        images = torch.empty((len(self), in_channels, *image_size), dtype=torch.uint8)

        def decode_one(row: int) -> tuple[str, str] | None:
            image = self.images[row]
            try:
                images[row] = resize_and_crop(load_image(image), image_size, in_channels)
            except ImageError as error:
                name = str(image) if isinstance(image, Path) else self.keys[row]
                return name, str(error).removeprefix(f"{name}: ")
            return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return images, [one for one in pool.map(decode_one, range(len(self))) if one]


def decode(
    splits: Mapping[Split, LabelledImages], image_size: tuple[int, int], in_channels: int
) -> dict[Split, ImageDataset]:
    """Decode all images of all splits in one size.

    Args:
        splits: The images.
        image_size: Height and width, in pixels.
        in_channels: 1 (grey) or 3 (colour); images in memory of this size may have any number.

    Raises:
        DataError: If images cannot be read; the message names all of them.
    """
    decoded: dict[Split, ImageDataset] = {}
    broken: list[tuple[str, str]] = []
    for split, part in splits.items():
        images, unreadable = part._decode(image_size, in_channels)
        labels = torch.from_numpy(part.labels)
        decoded[split] = ImageDataset(part.name, images, labels, part.class_names)
        broken += unreadable
    if broken:
        total, name = sum(map(len, splits.values())), part.name
        names: dict[str, list[str]] = {}
        for key, reason in broken[:MAX_NAMED]:
            names.setdefault(reason, []).append(key)
        shown = [f"{', '.join(keys)} ({reason})" for reason, keys in names.items()]
        shown += [f"and {len(broken) - MAX_NAMED} more"] * (len(broken) > MAX_NAMED)
        raise DataError(
            f"{len(broken)} of {total} images of {name} cannot be read: {', '.join(shown)}; repair "
            "or remove them"
        )
    return decoded


def resize_and_crop(
    image: Image.Image, image_size: tuple[int, int], in_channels: int
) -> UInt8[Tensor, "channels height width"]:
    """Scale an image until it covers the size, and crop it at its centre.

    Nothing is distorted and no pixel is invented, but the ends of a long image are lost.

    Args:
        image: A loaded image (see `load_image`).
        image_size: Height and width of the result, in pixels.
        in_channels: 1 (grey) or 3 (colour).

    Returns:
        The image as bytes.

    Raises:
        ConfigError: For another number of channels.
    """
    if in_channels not in (1, 3):
        raise ConfigError(f"pictures have 1 channel (grey) or 3 (colour), got {in_channels}")
    height, width = image_size
    plain = _grey(image) if in_channels == 1 else _coloured(image)
    fitted = ImageOps.fit(plain, (width, height), method=Image.Resampling.BICUBIC)
    array = np.array(fitted, dtype=np.uint8).reshape(height, width, in_channels)
    return torch.from_numpy(array).permute(2, 0, 1)


def _grey(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.rint(to_grey(image) * 255).astype(np.uint8))


def _coloured(image: Image.Image) -> Image.Image:
    """Three channels; transparent parts of a colour image become white."""
    if image.mode not in COLOUR_MODES:
        return _grey(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _shape(source: ImageSource) -> tuple[int, int, int] | None:
    """Channels, height and width of an image; None if it cannot be read."""
    try:
        image = load_image(source)
    except ImageError:
        return None
    width, height = image.size
    if image.mode not in COLOUR_MODES:
        return 1, height, width
    image = image.copy()
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    has_colours = bool((np.ptp(np.asarray(_coloured(image)), axis=2) > MIN_COLOUR).any())
    return 3 if has_colours else 1, height, width
