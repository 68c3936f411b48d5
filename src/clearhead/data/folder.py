"""A folder of class folders as a data set: FOLDER/CLASS/picture.png, read into one tensor.

Classes are the folders' names, sorted. If FOLDER holds `train` and `test` with class folders in
them, these are the two parts; otherwise a fifth of each class is the test part, chosen by the
pictures' names (see `splits`), the same one everywhere.

Every picture is scaled until it covers the image size and cut at its centre: nothing is distorted
and no pixel is invented, but the ends of a long picture are lost.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from clearhead.data.images import ImageDataset
from clearhead.data.preprocessing.decode import SUFFIXES, open_picture
from clearhead.data.preprocessing.grey import to_grey
from clearhead.data.splits import split_indices
from clearhead.errors import DataError, ImageError

Split = Literal["train", "test"]
TEST_FRACTION = 0.2
COLOURED = ("RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV")


class Picture(NamedTuple):
    """A picture's file and the place of its class."""

    path: Path
    label: int


def load_folder(
    folder: Path, split: Split, *, image_size: tuple[int, int] = (28, 28), in_channels: int = 1
) -> ImageDataset:
    """The train or test part of a folder, grey (`in_channels` 1) or coloured (3).

    Raises `DataError`, naming the folder or the file, for anything that cannot be used.
    """
    if in_channels not in (1, 3):
        raise DataError(f"pictures have 1 channel (grey) or 3 (colour), got {in_channels}")
    class_names, pictures = list_pictures(folder, split)
    images = torch.empty((len(pictures), in_channels, *image_size), dtype=torch.uint8)
    for place, picture in enumerate(pictures):
        images[place] = _read(picture.path, image_size, in_channels)
    labels = torch.tensor([picture.label for picture in pictures], dtype=torch.int64)
    return ImageDataset(folder.resolve().name, images, labels, class_names)


def list_pictures(folder: Path, split: Split) -> tuple[tuple[str, ...], list[Picture]]:
    """The names of the classes, and the files of a part, by class and name."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name one that holds a folder for each class")
    train, test = folder / "train", folder / "test"
    if not (_subfolders(train) and _subfolders(test)):
        class_names = _class_names(folder)
        return class_names, _split(list(_pictures(folder, class_names)), folder, split)
    class_names = _class_names(train)
    if unknown := set(_class_names(test)) - set(class_names):
        raise DataError(f"{test} has classes that {train} lacks: {', '.join(sorted(unknown))}")
    part = train if split == "train" else test
    present = {name: label for label, name in enumerate(class_names) if (part / name).is_dir()}
    return class_names, list(_pictures(part, tuple(present), tuple(present.values())))


def to_image(
    picture: Image.Image, image_size: tuple[int, int], in_channels: int
) -> UInt8[Tensor, "channels height width"]:
    """One picture as `load_folder` takes it in: grey or coloured, scaled, cut at its centre."""
    height, width = image_size
    plain = _grey(picture) if in_channels == 1 else _coloured(picture)
    fitted = ImageOps.fit(plain, (width, height), method=Image.Resampling.BICUBIC)
    array = np.array(fitted, dtype=np.uint8).reshape(height, width, in_channels)
    return torch.from_numpy(array).permute(2, 0, 1)


def _grey(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.rint(to_grey(picture) * 255).astype(np.uint8))


def _coloured(picture: Image.Image) -> Image.Image:
    """Three channels; transparent parts of a coloured picture become white."""
    if picture.mode not in COLOURED:
        return _grey(picture).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _read(
    path: Path, image_size: tuple[int, int], in_channels: int
) -> UInt8[Tensor, "channels height width"]:
    try:
        return to_image(open_picture(path), image_size, in_channels)
    except ImageError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DataError(f"{path}: {reason}; repair or remove it") from error


def _split(pictures: list[Picture], folder: Path, split: Split) -> list[Picture]:
    labels = [picture.label for picture in pictures]
    keys = [picture.path.relative_to(folder).as_posix() for picture in pictures]
    kept, held_out = split_indices(labels, TEST_FRACTION, seed=0, keys=keys)
    chosen = kept if split == "train" else held_out
    if not len(chosen):
        raise DataError(f"{folder}: no class has 2 pictures, so there is no test part; add some")
    return [pictures[place] for place in chosen.tolist()]


def _pictures(
    folder: Path, class_names: tuple[str, ...], labels: tuple[int, ...] | None = None
) -> Iterator[Picture]:
    for label, name in zip(labels or range(len(class_names)), class_names, strict=True):
        files = sorted(
            path
            for path in (folder / name).iterdir()
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
        )
        if not files:
            raise DataError(
                f"{folder / name} has no pictures; put some there ({' '.join(SUFFIXES)}) "
                "or remove the folder"
            )
        yield from (Picture(path, label) for path in files)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(_subfolders(folder))
    if len(names) < 2:
        found = f"only {names[0]}" if names else "none"
        raise DataError(
            f"{folder} must hold a folder of pictures for each of at least 2 classes, found {found}"
        )
    return names


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
