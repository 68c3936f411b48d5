"""A folder of class folders as a data set: FOLDER/CLASS/image.png.

Classes are the folders' names, sorted. If FOLDER has the folder `train` with class folders in it,
that is the train split, and the folders `val` and `test` are the others.
"""

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain
from pathlib import Path

import numpy as np

from clearhead._paths import is_folder
from clearhead.data.image_dataset import Split
from clearhead.data.labelled import LabelledImages
from clearhead.data.preprocessing.image import SUFFIXES
from clearhead.errors import DataError

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""How data sets name their splits"""


def open_folder(folder: Path) -> dict[Split, LabelledImages]:
    """List the images of a folder, by class and name.

    A `UserWarning` names the files in the folder that are in no split, except hidden ones.

    Args:
        folder: The folder with the class folders.

    Returns:
        The splits that have folders of their own; without such folders, all images as "train".

    Raises:
        DataError: If a folder cannot be used; the message names it.
    """
    parts: dict[Split, Path] = {"train": folder}
    if _subfolders(folder / "train"):
        named = {name: folder / name for name in SPLIT_NAMES if _subfolders(folder / name)}
        parts = {SPLIT_NAMES[name]: part for name, part in named.items()}
    train = parts["train"]
    classes = {found.name: number for number, found in enumerate(_subfolders(train))}
    if len(classes) < 2:
        raise DataError(
            f"{train} must hold a folder of images for each of at least 2 classes, found "
            f"{' '.join(('only', *classes)) if classes else 'none'}"
        )
    splits: dict[Split, LabelledImages] = {}
    for split, part in parts.items():
        found = _subfolders(part)
        if unknown := [one.name for one in found if one.name not in classes]:
            raise DataError(f"{part} has classes that {train} lacks: {', '.join(unknown)}")
        paths = [path for one in found for path in _images(one)]
        splits[split] = LabelledImages(
            name=folder.resolve().name,
            images=np.array(paths, object),
            labels=np.array([classes[path.parent.name] for path in paths], np.int64),
            class_names=tuple(classes),
            keys=np.array([path.relative_to(folder).as_posix() for path in paths], object),
        )
    _warn_of_others(folder, chain.from_iterable(images.keys for images in splits.values()))
    return splits


def find_files(folder: str | Path, on_error: Callable[[OSError], None]) -> Iterator[str]:
    """All files in a folder and its subfolders, in natural order, without hidden ones.

    Links to folders are not followed; they count as files. `on_error` is called for a folder that
    cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = {
                entry.name: entry.is_dir(follow_symlinks=False)
                for entry in entries
                if not entry.name.startswith(".")
            }
    except OSError as error:
        on_error(error)
        return
    for name in sorted(found, key=natural_order):
        path = os.path.join(folder, name)  # noqa: PTH118 - a Path would take longer than the rest
        if found[name]:
            yield from find_files(path, on_error)
        else:
            yield path


def natural_order(name: str) -> tuple[list[str | int], str]:
    """A key to sort names with numbers in them by the numbers: 2.png before 10.png."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _warn_of_others(folder: Path, keys: Iterable[str]) -> None:
    # `find_files` lists a link to a folder as a file, so folders of used images count as used, too.
    used = {path for key in keys for path in accumulate(key.split("/"), "{}/{}".format)}
    unreadable: list[OSError] = []
    paths = [*find_files(folder, unreadable.append), *(error.filename for error in unreadable)]
    found = (Path(path).relative_to(folder).as_posix() for path in paths)
    if others := [name for name in found if name not in used]:
        warnings.warn(
            f"{folder}: left out, as these are not images in the folder of a class: "
            + ", ".join(others),
            stacklevel=2,
        )


def _images(folder: Path) -> list[Path]:
    """The images in the folder of a class; `DataError` if there are none."""
    found = [path for path in _entries(folder) if path.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(
            f"{folder} has no images; put some there ({' '.join(SUFFIXES)}) or remove the folder"
        )
    return found


def _subfolders(folder: Path) -> list[Path]:
    return _entries(folder, folders=True) if is_folder(folder) else []


def _entries(folder: Path, *, folders: bool = False) -> list[Path]:
    """The files in a folder, or the folders, by name and without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
            return sorted(Path(x) for x in found if (x.is_dir() if folders else x.is_file()))
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}); change its permissions, or remove it"
        ) from error
