"""Atomic writing of files, and folders that one process at a time works in.

A file is written under a temporary name in its own folder, flushed to the disk and renamed over the
old one; then the folder is flushed. A kill or a full disk at any moment leaves the old file or the
new one, never a part. Only regular files are replaced, not devices, pipes or folders; a link is
followed to its target.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from clearhead._paths import exists, is_folder
from clearhead.errors import ConfigError, StorageError

TEMPORARY_PREFIX = ".clearhead-tmp-"
LOCK = ".lock"

KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
ADVICE = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def write_atomic(path: Path, content: bytes) -> None:
    """Replace one file atomically; raises `StorageError` if it cannot be written."""
    write_all_atomic({path: content})


def write_all_atomic(contents: Mapping[Path, bytes]) -> None:
    """Replace several files shortly after one another, once all were written to the disk.

    Raises `StorageError` and keeps all old files if one cannot be written.
    """
    with ExitStack() as stack:
        for path in reversed(list(contents)):  # so that they are replaced in this order
            _write_to_disk(stack.enter_context(replaced_atomic(path)), contents[path])


def append_to_disk(path: Path, content: bytes) -> None:
    """Append to a file and flush it to disk; raises `StorageError`. A kill may leave a part."""
    try:
        _write_to_disk(path, content, "ab")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {_reason(error, path)}") from error


@contextmanager
def replaced_atomic(path: Path) -> Iterator[Path]:
    """Yields a path whose file replaces the old one at the end of the block.

    It is removed after an exception. Raises `StorageError` if it cannot be written.
    """
    target = _target(path)
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        _flush_folder(target.parent)
    except StorageError:  # of a file that is replaced together with this one
        raise
    except OSError as error:
        raise StorageError(f"cannot write {path}: {_reason(error, path)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, created if needed; raises `ConfigError` if another process works in it."""
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"another process works in {folder}; wait for it, or choose another folder"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise StorageError(f"cannot write {folder}: {_reason(error, folder / LOCK)}") from error
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()


def sha256(content: bytes) -> str:
    """SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of killed processes from `folder`."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def check_path(path: Path) -> None:
    """Raise `StorageError` if no file can be at a path, as if it is too long or within a file."""
    try:
        path.lstat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # ValueError: it has a null character
        raise StorageError(f"cannot write {path}: {_reason(error, path)}") from error


def _target(path: Path) -> Path:
    """`path` with links resolved; raises `StorageError` if it is anything but a regular file."""
    check_path(path)
    target = Path(os.path.realpath(path))
    try:
        kind = stat.S_IFMT(target.stat().st_mode)
    except OSError:  # it does not exist, or writing will fail with the reason
        return target
    if kind != stat.S_IFREG:
        raise StorageError(
            f"cannot write {path}: it is a {KINDS.get(kind, 'special file')}; name a file"
        )
    return target


def _reason(error: OSError | ValueError, path: Path) -> str:
    """The system's reason, and what to do; names a file that the path uses as a folder."""
    for parent in path.parents:
        if exists(parent) and not is_folder(parent):
            return f"{parent} is a file, not a folder; choose another folder"
    advice = ADVICE.get(getattr(error, "errno", None) or 0, "choose another folder")
    return f"{getattr(error, 'strerror', None) or error}; {advice}"


def _write_to_disk(path: Path, content: bytes, mode: Literal["wb", "ab"] = "wb") -> None:
    with path.open(mode) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
