"""The named data sets, listed in `datasets.toml`: their files, and where those come from."""

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file's name, and its size in bytes and SHA-256, both without gzip."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class NamedDataset:
    """A data set's files (train images and labels, test images and labels), classes and sources."""

    name: str
    files: tuple[DataFile, ...]
    class_names: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    npm: tuple[str, str] | None = None
    system_folders: tuple[str, ...] = ()
    subfolders: tuple[str, ...] = ()
    advice: str = ""


def _named(name: str, table: dict[str, Any]) -> NamedDataset:
    table["files"] = [DataFile(**file) for file in table["files"]]
    plain: dict[str, Any] = {
        key: tuple(x) if isinstance(x, list) else x for key, x in table.items()
    }
    return NamedDataset(name=name, **plain)


_LISTED = tomllib.loads((resources.files(__package__) / "datasets.toml").read_text("utf-8"))
DATASETS = {name: _named(name, table) for name, table in _LISTED.items()}
"""The named data sets."""
