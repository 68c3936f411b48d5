"""A folder of class folders as a data set: FOLDER/CLASS/image.png, read into one tensor.

Classes are the folders' names, sorted. If FOLDER has `train` and `test` with class folders in them,
these are the splits; otherwise a fifth of each class, chosen by a hash of the file names, is the
test split.
"""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from clearhead.data.image_dataset import ImageDataset, Split, split_indices
from clearhead.data.preprocessing.image import SUFFIXES, load_image, to_grey
from clearhead.errors import DataError, ImageError

TEST_FRACTION = 0.2
COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK")


class LabelledFile(NamedTuple):
    """An image file and the index of its class."""

    path: Path
    label: int


def load_folder(
    folder: Path, split: Split, *, image_size: tuple[int, int] = (28, 28), in_channels: int = 1
) -> ImageDataset:
    """Load one split of a folder.

    Args:
        folder: The folder with the class folders.
        split: "train" or "test".
        image_size: Height and width of the images, in pixels.
        in_channels: 1 (grey) or 3 (colour).

    Returns:
        All images of the split, by class and file name.

    Raises:
        DataError: If a folder or file cannot be used; the message names it.
    """
    if in_channels not in (1, 3):
        raise DataError(f"images have 1 channel (grey) or 3 (colour), got {in_channels}")
    class_names, files = list_folder(folder, split)
    images = torch.empty((len(files), in_channels, *image_size), dtype=torch.uint8)
    for index, file in enumerate(files):
        try:
            images[index] = resize_and_crop(load_image(file.path), image_size, in_channels)
        except ImageError as error:
            raise DataError(f"{error}; repair or remove it") from error
    labels = torch.tensor([file.label for file in files], dtype=torch.int64)
    return ImageDataset(folder.resolve().name, images, labels, class_names)


def list_folder(folder: Path, split: Split) -> tuple[tuple[str, ...], list[LabelledFile]]:
    """The class names of a folder, and the files of a split, by class and name.

    A `UserWarning` names the files in the folder that are in neither split, except hidden ones.

    Raises:
        DataError: If a folder cannot be used.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name one that holds a folder for each class")
    train, test = folder / "train", folder / "test"
    if not (_subfolders(train) and _subfolders(test)):
        class_names = _class_names(folder)
        files = list(_files(folder, class_names))
        _warn_of_others(folder, files)
        return class_names, _split(files, folder, split)
    class_names = _class_names(train)
    if unknown := set(_class_names(test)) - set(class_names):
        raise DataError(f"{test} has classes that {train} lacks: {', '.join(sorted(unknown))}")
    splits = {"train": list(_files(train, class_names))}
    splits["test"] = list(_files(test, class_names, absent=True))
    _warn_of_others(folder, splits["train"] + splits["test"])
    return class_names, splits[split]


def find_files(folder: Path) -> list[Path]:
    """All files in a folder and its subfolders, sorted, without hidden ones.

    Links to folders are not followed; they count as files.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if (path.is_symlink() or not path.is_dir())
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _warn_of_others(folder: Path, files: Iterable[LabelledFile]) -> None:
    used = {file.path for file in files}
    others = [str(path.relative_to(folder)) for path in find_files(folder) if path not in used]
    if others:
        warnings.warn(
            f"{folder}: left out, as these are no images in a folder of a class: "
            + ", ".join(others),
            stacklevel=2,
        )


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
    """
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


def _split(files: list[LabelledFile], folder: Path, split: Split) -> list[LabelledFile]:
    labels = [file.label for file in files]
    keys = [file.path.relative_to(folder).as_posix() for file in files]
    kept, held_out = split_indices(labels, TEST_FRACTION, seed=0, keys=keys)
    chosen = kept if split == "train" else held_out
    if not len(chosen):
        raise DataError(f"{folder}: no class has 2 images, so there is no test split; add some")
    return [files[index] for index in chosen.tolist()]


def _files(
    folder: Path, class_names: tuple[str, ...], *, absent: bool = False
) -> Iterator[LabelledFile]:
    """The image files of all classes; with `absent`, a class may have no folder."""
    for label, name in enumerate(class_names):
        if absent and not (folder / name).is_dir():
            continue
        paths = sorted(
            path
            for path in (folder / name).iterdir()
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
        )
        if not paths:
            raise DataError(
                f"{folder / name} has no images; put some there ({' '.join(SUFFIXES)}) "
                "or remove the folder"
            )
        yield from (LabelledFile(path, label) for path in paths)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(_subfolders(folder))
    if len(names) < 2:
        found = f"only {names[0]}" if names else "none"
        raise DataError(
            f"{folder} must hold a folder of images for each of at least 2 classes, found {found}"
        )
    return names


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
