"""Files that survive: written whole or not at all, and checked when they are read.

A file is written under a temporary name in its own folder, flushed to the disk, renamed over
the old one, and the folder is flushed too. A kill or a full disk at any moment leaves the old
file or the new one, never a part.
"""

import hashlib
import os
from pathlib import Path

from clearhead.errors import StorageError

TEMPORARY_PREFIX = ".clearhead-tmp-"


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content` atomically; raises `StorageError` and keeps the old file."""
    temporary = path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
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


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
