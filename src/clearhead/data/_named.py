"""The named data sets, as `datasets.toml` lists them, and their files once fetched."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file's name, and its size in bytes and SHA-256, both without gzip."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class FetchedFile:
    """A file's verified bytes, its path, and where it came from."""

    file: DataFile
    content: bytes = field(repr=False)
    path: Path
    origin: str


@dataclass(frozen=True, kw_only=True)
class NamedDataset:
    """A data set's files (train images and labels, test images and labels), classes and sources."""

    name: str
    files: Sequence[DataFile]
    class_names: Sequence[str] = ()
    mirrors: Sequence[str] = ()
    npm: tuple[str, str] | tuple[()] = ()
    system_folders: Sequence[str] = ()
    subfolders: Sequence[str] = ()
    advice: str = ""


_LISTED = tomllib.loads((resources.files(__package__) / "datasets.toml").read_text("utf-8"))
DATASETS = {
    name: NamedDataset(name=name, **{**table, "files": [DataFile(**x) for x in table["files"]]})
    for name, table in _LISTED.items()
}
"""The named data sets, from `datasets.toml`."""
