"""Files that survive: written whole or not at all, and checked when they are read.

A file is written under a temporary name in its own folder, flushed to the disk, renamed over
the old one, and the folder is flushed too. A kill or a full disk at any moment leaves the old
file or the new one, never a part.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from clearhead.errors import StorageError

TEMPORARY_PREFIX = ".clearhead-tmp-"


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content` atomically; raises `StorageError` and keeps the old file."""
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Replace several files; not one of them, unless all could be written to the disk first.

    Each file is replaced atomically; between two of them lies the moment of a renaming.
    """
    temporaries = {
        path: path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}" for path in contents
    }
    path = next(iter(contents))
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_to_disk(temporaries[path], content)
        for path in contents:
            temporaries[path].replace(path)
        for folder in {path.parent for path in contents}:
            _flush_folder(folder)
    except OSError as error:
        for temporary in temporaries.values():
            with suppress(OSError):
                temporary.unlink()
        reason = error.strerror or str(error)
        raise StorageError(
            f"cannot write {path}: {reason}; free some space or choose another folder"
        ) from error


def sha256(content: bytes) -> str:
    """SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed writer left behind in `folder`."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def _write_to_disk(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
