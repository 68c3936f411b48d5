"""The named data sets, listed in `datasets.toml`: their files, and where those come from."""

import tomllib
from dataclasses import dataclass
from importlib import resources


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


def _read() -> dict[str, NamedDataset]:
    tables = tomllib.loads((resources.files(__package__) / "datasets.toml").read_text("utf-8"))
    for table in tables.values():
        table["files"] = [DataFile(**file) for file in table["files"]]
        table |= {key: tuple(value) for key, value in table.items() if isinstance(value, list)}
    return {name: NamedDataset(name=name, **table) for name, table in tables.items()}


DATASETS = _read()
"""The named data sets."""
