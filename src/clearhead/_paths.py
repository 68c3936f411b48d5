"""What is at a path. Unlike `pathlib`, no error for one that nothing can be at, as if too long."""

import os
from pathlib import Path


def exists(path: str | Path) -> bool:
    """Whether there is a file or a folder."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | Path) -> bool:
    """Whether there is a file."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder."""
    return os.path.isdir(path)  # noqa: PTH112


def expanded(path: str | Path) -> Path:
    """With the home folder of a known user in place of `~` or `~user`."""
    return Path(os.path.expanduser(path))  # noqa: PTH111
