"""A folder of class folders as a data set: FOLDER/CLASS/image.png.

Classes are the folders' names, sorted. If FOLDER has the folder `train` with class folders in it,
that is the train split, and the folders `val` and `test` are the others.
"""

import os
import re
import warnings
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

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
        The splits that have folders of their own; all images as "train" if there are none.

    Raises:
        DataError: If a folder cannot be used; the message names it.
    """
    train = folder / "train" if _subfolders(folder / "train") else folder
    class_names = _class_names(train)
    splits: dict[Split, LabelledImages] = {}
    splits["train"] = _images(folder, train, class_names, class_names)
    for name, split in SPLIT_NAMES.items() if train != folder else ():
        part = folder / name
        if split == "train" or not (found := _subfolders(part)):
            continue
        if unknown := set(found) - set(class_names):
            raise DataError(f"{part} has classes that {train} lacks: {', '.join(sorted(unknown))}")
        splits[split] = _images(folder, part, class_names, found)
    _warn_of_others(folder, (images.keys for images in splits.values()))
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


def _warn_of_others(folder: Path, keys: Iterable[Iterable[str]]) -> None:
    used = {key for part in keys for key in part}
    unreadable: list[OSError] = []
    paths = [*find_files(folder, unreadable.append), *(error.filename for error in unreadable)]
    found = (Path(path).relative_to(folder).as_posix() for path in paths)
    if others := [name for name in found if name not in used]:
        warnings.warn(
            f"{folder}: left out, as these are not images in the folder of a class: "
            + ", ".join(others),
            stacklevel=2,
        )


def _images(
    folder: Path, part: Path, class_names: tuple[str, ...], present: Container[str]
) -> LabelledImages:
    """The images of the classes that have a folder in this part."""
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        if name not in present:
            continue
        found = [path for path in _entries(part / name) if path.suffix.lower() in SUFFIXES]
        if not found:
            raise DataError(
                f"{part / name} has no images; put some there ({' '.join(SUFFIXES)}) "
                "or remove the folder"
            )
        paths += found
        labels += [label] * len(found)
    keys = [path.relative_to(folder).as_posix() for path in paths]
    return LabelledImages(folder.resolve().name, paths, labels, class_names, keys)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(_subfolders(folder))
    if len(names) < 2:
        found = f"only {names[0]}" if names else "none"
        raise DataError(
            f"{folder} must hold a folder of images for each of at least 2 classes, found {found}"
        )
    return names


def _subfolders(folder: Path) -> list[str]:
    return [path.name for path in _entries(folder, folders=True)] if is_folder(folder) else []


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
