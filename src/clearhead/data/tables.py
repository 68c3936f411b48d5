"""Labelled images in tables: CSV of pixels or of file names, Parquet, Hugging Face data sets."""

import csv
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from huggingface_hub import constants
from numpy import ndarray

from clearhead._hub import hub_is_reachable
from clearhead._paths import exists
from clearhead.data._parquet import IMAGE_COLUMNS, ParquetImages, image_in
from clearhead.data.folder import SPLIT_NAMES
from clearhead.data.image_dataset import Split
from clearhead.data.labelled import LabelledImages
from clearhead.errors import DataError, require

LABELS = ("label", "labels", "fine_label", "class", "target")
FILES = ("file", "file_name", "filename", "path", "image")
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
NO_ROWS = "has no rows; add a row for each image"
HUB = "hf:"


class Table(NamedTuple):
    """The columns of one split: images as in `LabelledImages`, labels as numbers or names."""

    images: ndarray
    labels: Sequence[Any]
    class_names: Sequence[str] | None = None


def open_tables(source: Path, suffix: str) -> dict[Split, LabelledImages]:
    """Read a CSV or Parquet file, or all of a folder.

    The files of a folder are divided into splits by the words train, val and test in their names.

    Args:
        source: The file or folder.
        suffix: ".csv", ".parquet" or ".pq".

    Raises:
        DataError: If a file has no columns of images and labels, or an invalid value.
    """
    read = _read_csv if suffix == ".csv" else _read_parquet
    if source.is_file():
        return _splits(source.name, {"train": [read(source)]})
    parts: dict[Split | None, list[Path]] = {}
    for path in sorted(source.glob("*.csv" if suffix == ".csv" else f"**/*{suffix}")):
        words = re.split(r"[^a-z]+", path.relative_to(source).as_posix().lower())
        split = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
        parts.setdefault(split, []).append(path)
    others = parts.pop(None, [])
    if "train" not in parts:
        parts["train"] = others
    tables: dict[Split, list[Table]] = {}
    for split, paths in parts.items():
        try:
            tables[cast(Split, split)] = [read(path) for path in paths]
        except DataError as error:
            if split == "train":
                raise
            warnings.warn(f"{str(error).split(';')[0]}; it is left out", stacklevel=2)
    if not tables["train"]:
        raise DataError(f"{source} has no {suffix} file of training images; name one train{suffix}")
    return _splits(source.resolve().name, tables)


def open_saved(folder: Path) -> dict[Split, LabelledImages]:
    """Read a Hugging Face data set that `save_to_disk` wrote into a folder."""
    require(str(folder), "datasets")
    from datasets import load_from_disk

    return _from_datasets(folder.resolve().name, load_from_disk(str(folder)))


def open_hub(name: str) -> dict[Split, LabelledImages]:
    """Read a data set of the Hugging Face hub.

    Args:
        name: OWNER/NAME, or OWNER/NAME:CONFIGURATION.

    Raises:
        ConfigError: If the library `datasets` is not installed.
        DataError: If the data set cannot be loaded or has no columns of images and labels.
    """
    require(f"{HUB}{name}", "datasets")
    path, _, configuration = name.partition(":")
    if not path:
        raise DataError(f"{HUB}{name} names no data set; give {HUB}OWNER/NAME or {HUB}FOLDER")
    if not (exists(path) or constants.HF_HUB_OFFLINE or hub_is_reachable()):
        raise DataError(
            f"{HUB}{name}: the Hugging Face hub cannot be reached, and there is no such folder; "
            "with HF_HUB_OFFLINE=1 a copy in the cache is used"
        )
    import datasets  # takes a second, so not before these errors

    try:
        loaded = datasets.load_dataset(path, configuration or None)
    except Exception as error:  # the library raises many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{HUB}{name} cannot be loaded ({reason}); check name and network"
        ) from error
    return _from_datasets(path.rsplit("/", 1)[-1], loaded)


def from_arrays(images: Any, labels: Any) -> LabelledImages:
    """Images and labels in memory.

    Args:
        images: An array of shape (n, height, width), (n, height, width, channels) or (n, channels,
            height, width); bytes, or floats in [0, 1].
        labels: Numbers or names, one for each image.

    Raises:
        DataError: If shape, type or number do not fit, or they cannot be converted to NumPy arrays.
    """
    try:
        pixels, labels = np.asarray(images), np.asarray(labels)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; tensors on a GPU
        reason = str(error).splitlines()[0]
        raise DataError(
            f"images and labels must be convertible to NumPy arrays ({reason})"
        ) from error
    if pixels.ndim == 4 and pixels.shape[3] in (1, 3, 4) and pixels.shape[1] not in (1, 3, 4):
        pixels = pixels.transpose(0, 3, 1, 2)
    if np.issubdtype(pixels.dtype, np.floating) and pixels.size:
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise DataError(
                f"images of floats must lie in [0, 1], got {pixels.min():g} to {pixels.max():g}"
            )
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if pixels.ndim not in (3, 4) or pixels.dtype != np.uint8 or labels.shape != pixels.shape[:1]:
        raise DataError(
            "expected images (n, height, width) or (n, channels, height, width), as bytes or "
            f"floats in [0, 1], and n labels; got {pixels.dtype} of shape {pixels.shape}, and "
            f"labels of shape {labels.shape}"
        )
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels
    return _splits("arrays", {"train": [Table(pixels, labels.tolist())]})["train"]


def _splits(name: str, tables: Mapping[Split, list[Table]]) -> dict[Split, LabelledImages]:
    """Number the classes, in the same way in all splits."""
    given = [label for table in tables["train"] for label in table.labels]
    if not given:
        raise DataError(f"{name} {NO_ROWS}")
    if missing := sum(label in (None, "") or label != label for label in given):
        raise DataError(
            f"{name}: {missing} of {len(given)} train images have no label; add it or omit them"
        )
    names = tables["train"][0].class_names
    known: Iterable[Any] = range(len(names or ()))
    if names is None:
        found = set(given)
        are_numbers = all(re.fullmatch(r"-?\d+", str(label)) for label in found)
        known = sorted(found, key=int if are_numbers else str)
        names = tuple(map(str, known))
    numbers = {label: index for index, label in enumerate(known)}
    splits: dict[Split, LabelledImages] = {}
    for split, parts in tables.items():
        labels = [label for part in parts for label in part.labels]
        if split != "train" and set(labels) <= {-1, None}:  # those of a competition's test images
            warnings.warn(f"{name}: the {split} images have no labels; left out", stacklevel=2)
            continue
        if unknown := {str(label) for label in labels if label not in numbers}:
            raise DataError(
                f"{name}: the {split} images have labels that are not those of the "
                f"{len(names)} classes: {', '.join(sorted(unknown)[:10])}"
            )
        arrays = [part.images for part in parts]
        have_one_size = len({array.shape[1:] for array in arrays}) == 1
        images = np.concatenate(arrays) if have_one_size else np.fromiter(chain(*arrays), object)
        classes = np.array([numbers[label] for label in labels], np.int64)
        keys = np.array([f"{split} image {index}" for index in range(len(labels))], object)
        splits[split] = LabelledImages(name, images, classes, tuple(names), keys)
    return splits


def _read_csv(path: Path) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            _check_first_line(path, header)
            if all(re.fullmatch(r"\d+", field) for field in header):
                return _pixels(path, 0, range(1, len(header)), skip=0)
            label = header.index(_column(path, header, LABELS, "labels"))
            names = [field.strip().lower() for field in header]
            listed = next((names.index(name) for name in FILES if name in names), None)
            if listed is None:
                pixels = [index for index in range(len(names)) if index != label]
                return _pixels(path, label, pixels, skip=1)
            named = [(path.parent / row[listed], row[label]) for row in rows if row]
            files = np.fromiter((file for file, _ in named), object)
            return Table(files, [label for _, label in named])
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not text in UTF-8 ({error.reason}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num} is not CSV ({error})") from error
    except IndexError:
        raise DataError(f"{path}: line {rows.line_num} has fewer fields than the first") from None


def _check_first_line(path: Path, header: Sequence[str]) -> None:
    if not any(map(str.strip, header)):
        problem = "begins with an empty line" if path.read_text("utf-8-sig") else "is empty"
        raise DataError(
            f"{path} {problem}; expected the names of the columns in the first line, and a row for "
            "each image below"
        )
    if len(header) == 1:
        for delimiter, name in OTHER_DELIMITERS.items():
            if delimiter in header[0]:
                raise DataError(
                    f"{path}: expected commas between the columns, got {name}; save it with commas"
                )


def _pixels(path: Path, label: int, columns: Sequence[int], skip: int) -> Table:
    """A row for each image: its label, and the pixels of a grey square, row by row."""
    side = math.isqrt(len(columns))
    if side < 2 or side * side != len(columns):
        raise DataError(
            f"{path} has no column of images; expected one of {', '.join(FILES)} with the names of "
            f"files, or a column for each pixel of a square grey image (784 for 28 × 28), got "
            f"{len(columns)} beside the labels"
        )
    layout: Any = {"delimiter": ",", "quotechar": '"', "encoding": "utf-8-sig"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a file without rows
            table = [
                np.loadtxt(path, kind, **layout, skiprows=skip, usecols=used, ndmin=2)
                for kind, used in ((np.uint8, columns), (np.str_, [label]))
            ]
    except UserWarning:
        raise DataError(f"{path} {NO_ROWS}") from None
    except ValueError as error:
        raise DataError(f"{path}: expected pixels from 0 to 255 ({error})") from error
    return Table(table[0].reshape(-1, 1, side, side), table[1][:, 0].tolist())


def _read_parquet(path: Path) -> Table:
    file = ParquetImages(path)
    schema = file.file.schema_arrow
    label = _column(path, schema.names, LABELS, "labels")
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = features.get("info", {}).get("features", {}).get(label, {})
    images = np.fromiter((image_in(x, path.parent) for x in file.read(file.column)), object)
    return Table(images, file.read(label), feature.get("names"))


def _from_datasets(name: str, loaded: Any) -> dict[Split, LabelledImages]:
    """A `Dataset`, or a `DatasetDict` of splits."""
    from datasets import Image

    parts = loaded if isinstance(loaded, dict) else {"train": loaded}
    tables: dict[Split, list[Table]] = {}
    for part, dataset in parts.items():
        if part not in SPLIT_NAMES:
            continue
        kinds = dataset.features
        label = _column(name, kinds, LABELS, "labels")
        image = next((column for column in kinds if isinstance(kinds[column], Image)), None)
        if image is not None:
            dataset = dataset.cast_column(image, Image(decode=False))
        else:
            image = _column(name, kinds, IMAGE_COLUMNS, "images")
        images = np.fromiter((image_in(value, Path()) for value in dataset[image]), object)
        names = getattr(kinds[label], "names", None)
        tables.setdefault(SPLIT_NAMES[part], []).append(Table(images, list(dataset[label]), names))
    if "train" not in tables:
        raise DataError(f"{name} has no split train; it has {', '.join(map(str, parts))}")
    return _splits(name, tables)


def _column(source: Path | str, names: Iterable[str], wanted: Sequence[str], what: str) -> str:
    """The name of the first wanted column that exists, ignoring case."""
    found = {name.strip().lower(): name for name in names}
    for name in wanted:
        if name in found:
            return found[name]
    shown = ", ".join([*list(found)[:10], *["…"] * (len(found) > 10)]) or "none"
    raise DataError(
        f"{source} has no column of {what}; expected one of {', '.join(wanted)}, got {shown}"
    )
