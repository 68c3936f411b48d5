"""Loading data sets by name (from IDX files) or from a folder."""

import math
import struct
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from clearhead.data._fetch import DownloadProgress, FetchedFile, cache_folder, fetch
from clearhead.data._sources import DATASETS
from clearhead.data.folder import load_folder
from clearhead.data.image_dataset import ImageDataset, Split
from clearhead.errors import ConfigError, CorruptDataError, DataError, did_you_mean


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
    if not isinstance(source, str | Path):
        raise DataError(
            f"expected the name of a data set ({', '.join(DATASETS)}) or a folder, got {source!r}"
        )
    if source not in DATASETS:
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise DataError(
                f"there is no data set {str(source)!r}, and no folder of that name; expected one "
                f"of {', '.join(DATASETS)}, or name a folder that holds a folder of images for "
                f"each class{did_you_mean(str(source), DATASETS)}"
            )
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


def fetch_dataset(
    name: str,
    split: Split | None = None,
    *,
    root: Path | None = None,
    progress: DownloadProgress | None = None,
) -> list[FetchedFile]:
    """The verified files of a named data set, downloaded if needed.

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
    return fetch(dataset, files, root, progress)


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
    shape = struct.unpack(f">{axes}I", content[4:start].ljust(4 * axes, b"\0"))
    expected = start + math.prod(shape)
    if content[:4] != header:
        begin = content[:4].hex(" ") or "nothing"
        problem = f"expected an IDX header {header.hex(' ')}, got {begin}"
    elif 0 in shape:
        problem = f"it is empty or ends within its header, its shape is {shape}"
    elif len(content) != expected:
        problem = f"expected {expected} bytes by its header, got {len(content)}"
    else:
        values = torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start)
        return values.reshape(shape)
    raise CorruptDataError(f"{name}: {problem}; get the file again")
