"""Labelled images in memory, and how they get there: named data sets (IDX files) and folders."""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from clearhead.data._catalog import DATASETS
from clearhead.data._fetch import DownloadProgress, FetchedFile, cache_folder, fetch
from clearhead.errors import ConfigError, CorruptDataError, DataError, InputError, did_you_mean

Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False, repr=False)
class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Images and their labels in memory; also a map-style data set for torch's `DataLoader`.

    Args:
        name: For messages and titles.
        images: All images as one tensor of bytes.
        labels: The index of each image's class.
        class_names: The names of the classes.

    Raises:
        InputError: If types or shapes are wrong, or a label has no class name.
    """

    name: str
    images: UInt8[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise InputError(
                "the images of a data set are bytes (uint8) of shape (n, channels, height, width), "
                f"got {self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise InputError(
                f"{len(self.images)} images need as many labels of type int64, "
                f"got {self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        if len(self) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise InputError(
                f"labels must be 0 … {len(self.class_names) - 1}, one for each class name, "
                f"got {int(self.labels.min())} … {int(self.labels.max())}"
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "channels height width"], int]:
        """One image and its label."""
        return self.images[index], int(self.labels[index])

    def __iter__(self) -> Iterator[tuple[UInt8[Tensor, "channels height width"], int]]:
        return zip(self.images, self.labels.tolist(), strict=True)

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.images.shape[1:]))
        return (
            f"{type(self).__name__}({self.name!r}: {len(self):,} images of {shape}, "
            f"{len(self.class_names)} classes)"
        )

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of images of each class."""
        return tuple(torch.bincount(self.labels, minlength=len(self.class_names)).tolist())

    def to(self, device: torch.device | str) -> "ImageDataset":
        """The same data set on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def load_dataset(
    source: str | Path,
    split: Split = "train",
    *,
    root: Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    progress: DownloadProgress | None = None,
) -> ImageDataset:
    """Load one split of a named data set, or of a folder with a folder of images for each class.

    Args:
        source: "mnist", "fashion-mnist" or a folder.
        split: "train" or "test".
        root: A folder with the files of a named data set; without it, they are downloaded.
        image_size: Side, or height and width, in pixels, of the images of a folder (28 by
            default); named data sets have 28 × 28.
        in_channels: 1 (grey, the default) or 3 (colour) for a folder; named data sets have 1.
        progress: Called during a download with the name of the file and the bytes received.

    Returns:
        The images and labels.

    Raises:
        DataError: If there is no such data set, it cannot be downloaded, or it is damaged.
        ConfigError: If split, size or channels are not available.
    """
    if split not in ("train", "test"):
        raise ConfigError(f'split must be "train" or "test", got {split!r}')
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if source not in DATASETS:
        from clearhead.data.folder import load_folder

        folder = _folder(source)
        return load_folder(folder, split, image_size=size or (28, 28), in_channels=in_channels or 1)
    if size not in (None, (28, 28)) or in_channels not in (None, 1):
        raise ConfigError(
            f"{source} has images of 28 × 28 pixels and 1 channel; set image_size and in_channels "
            f"so, instead of {image_size} and {in_channels}"
        )
    files = fetch_dataset(str(source), split, root=root, progress=progress)
    images, labels = (
        parse_idx(file.content, axes, str(file.path))
        for file, axes in zip(files, (3, 1), strict=True)
    )
    if len(images) != len(labels):
        raise CorruptDataError(f"{files[0].path} has {len(images)} images, {len(labels)} labels")
    class_names = DATASETS[str(source)].class_names
    return ImageDataset(str(source), images.unsqueeze(1), labels.to(torch.int64), class_names)


def _folder(source: str | Path) -> Path:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"there is no data set {str(source)!r}, and no folder of that name; known are "
            f"{', '.join(DATASETS)}, or name a folder that holds a folder of images for each class"
            f"{did_you_mean(str(source), DATASETS)}"
        )
    return folder


def fetch_dataset(
    name: str,
    split: Split | None = None,
    *,
    root: Path | None = None,
    progress: DownloadProgress | None = None,
) -> list[FetchedFile]:
    """The verified files of a named data set, downloaded if need be.

    Args:
        name: One of `DATASETS`.
        split: The files of one split; None for all.
        root: A folder with the files.
        progress: Called during a download with the name of the file and the bytes received.

    Returns:
        Images and labels of the train split, then of the test split.

    Raises:
        FetchError: If no source has the files.
        CorruptDataError: If a file in `root` has other content.
        StorageError: If a file cannot be read or written.
    """
    dataset = DATASETS[name]
    files = {"train": dataset.files[:2], "test": dataset.files[2:], None: dataset.files}[split]
    return fetch(dataset, files, root=root, progress=progress)


def is_cached(name: str) -> bool:
    """Whether the cache has all files of a named data set in their size (content is not read)."""
    paths = {file: cache_folder() / name / file.name for file in DATASETS[name].files}
    return all(path.is_file() and path.stat().st_size == file.size for file, path in paths.items())


def parse_idx(content: bytes, axes: int, name: str = "IDX file") -> UInt8[Tensor, "..."]:
    """The array in an IDX file of bytes, the format of MNIST.

    Format: two zero bytes, the type (0x08: bytes), the number of axes, their sizes (32-bit
    big-endian), the values (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten
    digits").

    Args:
        content: The file.
        axes: The number of axes that it must have.
        name: For error messages.

    Returns:
        The values, in memory of their own.

    Raises:
        CorruptDataError: Unless header and length are exactly right.
    """
    header, start = bytes((0, 0, 8, axes)), 4 + 4 * axes
    if content[:4] != header:
        raise CorruptDataError(
            f"{name}: an IDX file of bytes with {axes} axes begins with {header.hex(' ')}, "
            f"this one with {content[:4].hex(' ') or 'nothing'}; get the file again"
        )
    if len(content) < start:
        raise CorruptDataError(f"{name}: it ends within its header; get the file again")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    if 0 in shape:
        raise CorruptDataError(f"{name}: it is empty, its shape is {shape}; get the file again")
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise CorruptDataError(
            f"{name}: expected {expected} bytes by its header, got {len(content)}; "
            "get the file again"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def split_dataset(
    dataset: ImageDataset, fraction: float = 0.1, seed: int = 0
) -> tuple[ImageDataset, ImageDataset]:
    """Hold out a share of each class for validation (see `split_indices`).

    Args:
        dataset: The data set to divide.
        fraction: The share of each class to hold out.
        seed: Another seed gives another division.

    Returns:
        What is left, and what is held out.

    Raises:
        ConfigError: If the fraction is not between 0 and 1.
    """
    kept, held_out = (
        replace(dataset, images=dataset.images[indices], labels=dataset.labels[indices])
        for indices in split_indices(dataset.labels.tolist(), fraction, seed)
    )
    return kept, held_out


def split_indices(
    labels: Sequence[int], fraction: float, seed: int, keys: Sequence[str] | None = None
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held_out"]]:
    """Divide examples, stratified by class, in the same way on every machine and torch version.

    The examples of a class are ranked by the BLAKE2 hash of seed and key, and the first ones held
    out. With names as keys, another example changes hardly any of the others.

    Args:
        labels: The class of each example.
        fraction: The share of each class to hold out, rounded; at least one example and not all.
        seed: Another seed gives another division.
        keys: What identifies each example; its index by default.

    Returns:
        The indices of the examples kept and held out, each in ascending order. A class with a
        single example keeps it.

    Raises:
        ConfigError: If the fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the fraction held out must be between 0 and 1, got {fraction}")

    def rank(index: int) -> bytes:
        return blake2b(f"{seed}:{keys[index] if keys else index}".encode(), digest_size=16).digest()

    classes: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        classes.setdefault(label, []).append(index)
    held_out: set[int] = set()
    for members in classes.values():
        count = min(max(int(len(members) * fraction + 0.5), 1), len(members) - 1)
        held_out.update(sorted(members, key=rank)[:count])
    kept = [index for index in range(len(labels)) if index not in held_out]
    return torch.tensor(kept, dtype=torch.int64), torch.tensor(sorted(held_out), dtype=torch.int64)
