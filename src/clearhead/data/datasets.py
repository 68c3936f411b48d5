"""Loading data sets: by name (from IDX files), from folders, tables, the hub, or arrays."""

import math
import struct
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from clearhead._paths import exists, expanded, is_file, is_folder
from clearhead.data._fetch import DownloadProgress, cache_folder, fetch
from clearhead.data._named import DATASETS, FetchedFile
from clearhead.data._parquet import PARQUET_SUFFIXES
from clearhead.data.folder import open_folder
from clearhead.data.image_dataset import ImageDataset, Split
from clearhead.data.labelled import LabelledImages, decode
from clearhead.data.tables import HUB, from_arrays, open_hub, open_saved, open_tables
from clearhead.errors import ConfigError, CorruptDataError, DataError, did_you_mean, similar_folder

Source = str | Path | ImageDataset | tuple[Any, Any]
"""What `load_dataset` accepts."""


def load_dataset(
    source: Source,
    split: Split = "train",
    *,
    root: Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    progress: DownloadProgress | None = None,
) -> ImageDataset:
    """Load one split of a data set.

    Args:
        source: "mnist" or "fashion-mnist"; a folder with a folder of images for each class; a CSV
            file of pixels or of file names; a Parquet file, or a folder of them; a folder that
            `save_to_disk` of the library `datasets` wrote; "hf:OWNER/NAME", a data set of the
            Hugging Face hub; images and labels as arrays; or an `ImageDataset`. Where it has no
            test split, a fifth of each class becomes it.
        split: "train", "val" or "test".
        root: A folder with the files of a named data set; without it, they are downloaded.
        image_size: Side, or height and width, in pixels; None: the median of the images, with at
            most 96 pixels on the longer side.
        in_channels: 1 (grey) or 3 (colour); None: 3 if the images have colours.
        progress: Called during a download with the name of the file and the bytes received.

    Returns:
        The images and labels.

    Raises:
        DataError: If there is no such data set or split, it cannot be downloaded, or it is damaged.
        ConfigError: If a library is missing, or split, size or channels are not available.
    """
    if split not in ("train", "val", "test"):
        raise ConfigError(f'split must be "train", "val" or "test", got {split!r}')
    splits = open_dataset(source, split, root=root, progress=progress)
    check_split(splits, split)
    channels, *size = (splits.get("train") or splits[split]).usual_shape()
    if image_size is not None:
        size = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
        if len(size) != 2 or min(size) < 1:
            raise ConfigError(f"image_size must be pixels or (height, width), got {image_size}")
    chosen = {split: splits[split]}
    return decode(chosen, (size[0], size[1]), in_channels or channels)[split]


def open_dataset(
    source: Source,
    split: Split | None = None,
    *,
    root: Path | None = None,
    progress: DownloadProgress | None = None,
) -> dict[Split, LabelledImages]:
    """The splits of a data set, not decoded yet; see `load_dataset`.

    Args:
        source: Where the images are.
        split: The only split that is needed.
        root: A folder with the files of a named data set.
        progress: Called during a download.

    Returns:
        Train and test, and val where the source has it; of a named data set, those needed.

    Raises:
        DataError: As in `load_dataset`.
        ConfigError: As in `load_dataset`.
    """
    splits: dict[Split, LabelledImages]
    match source:
        case str() if source in DATASETS:
            needed = [part for part in ("train", "test") if part == split] or ["train", "test"]
            parts = {part: _named(source, part, root, progress) for part in needed}
            return {part: LabelledImages.from_dataset(data) for part, data in parts.items()}
        case ImageDataset():
            splits = {"train": LabelledImages.from_dataset(source)}
        case (images, labels):
            splits = {"train": from_arrays(images, labels)}
        case str() if source.startswith(HUB):
            splits = open_hub(source.removeprefix(HUB))
        case str() | Path():
            splits = _open_path(expanded(source))
        case _:
            raise DataError(
                f"expected the name of a data set ({', '.join(DATASETS)}), a file or folder, an "
                f"ImageDataset or arrays (images, labels), got {type(source).__name__}"
            )
    return splits if "test" in splits else splits | splits["train"].with_test_split()


def check_split(splits: dict[Split, LabelledImages], split: Split) -> None:
    """Raise `DataError` if there is no such split."""
    if split not in splits:
        advice = f"; it has {' and '.join(splits)}"
        if split == "test":
            advice = ", as no class has 2 images; add some"
        raise DataError(f"{splits['train'].name} has no {split} split{advice}")


def _open_path(path: Path) -> dict[Split, LabelledImages]:
    if is_file(path):
        if (suffix := path.suffix.lower()) in (".csv", *PARQUET_SUFFIXES):
            return open_tables(path, suffix)
        raise DataError(f"{path}: expected a folder, or a file .csv or .parquet; unpack archives")
    if not is_folder(path):
        near = did_you_mean(str(path), DATASETS) or similar_folder(str(path))
        raise DataError(
            f"there is no data set {str(path)!r}, and no file or folder of that name; expected one "
            f"of {', '.join(DATASETS)}, {HUB}OWNER/NAME, a .csv or .parquet file, or a folder that "
            f"holds a folder of images for each class{near}"
        )
    if exists(path / "dataset_dict.json") or exists(path / "state.json"):
        return open_saved(path)
    if any(path.rglob("*.parquet")):
        return open_tables(path, ".parquet")
    tables = [file.stem.lower() for file in path.glob("*.csv")]
    folders = sum(map(is_folder, path.glob("*")))
    if any("train" in name for name in tables) or (tables and folders < 2):
        return open_tables(path, ".csv")
    return open_folder(path)


def _named(
    name: str, split: Split, root: Path | None, progress: DownloadProgress | None
) -> ImageDataset:
    files = fetch_dataset(name, split, root=root, progress=progress)
    images, labels = (
        parse_idx(file.content, axes, str(file.path))
        for file, axes in zip(files, (3, 1), strict=True)
    )
    class_names = tuple(DATASETS[name].class_names)
    return ImageDataset(name, images[:, None], labels.long(), class_names)


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
        ConfigError: If there is no such data set or split.
        FetchError: If no source has the files.
        CorruptDataError: If a file in `root` has other content.
        StorageError: If a file cannot be read or written.
    """
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise ConfigError(f"expected one of {known}, got {name!r}{did_you_mean(name, DATASETS)}")
    dataset = DATASETS[name]
    files = {"train": dataset.files[:2], "test": dataset.files[2:], None: dataset.files}
    if split not in files:
        raise ConfigError(f"{name} has the splits train and test, got {split!r}")
    return fetch(dataset, files[split], root, progress or (lambda *_: None))


def is_cached(name: str) -> bool:
    """Whether all files of a named data set are in the cache, without reading them.

    Args:
        name: A key of `DATASETS`.

    Returns:
        True if every file is there and has the right size.
    """
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
