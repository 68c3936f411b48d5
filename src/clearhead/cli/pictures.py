"""Pictures on the command line: files, folders, and - for stdin."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

STDIN = "-"


def named_pictures(images: Iterable[str]) -> Iterator[str | Path]:
    """Replace folders by the pictures in them and in their subfolders."""
    from clearhead.data.preprocessing.image import SUFFIXES

    for name in images:
        path = Path(name)
        if name == STDIN or not path.is_dir():
            yield name if name == STDIN else path
            continue
        pictures = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in SUFFIXES
            and file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        yield from pictures or [path]


def read_picture(name: str | Path) -> Path | bytes:
    """The path of a file, or the content of stdin; `ImageError` for a folder without pictures."""
    from clearhead.data.preprocessing.image import MAX_BYTES
    from clearhead.errors import ImageError

    if name == STDIN:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    if Path(name).is_dir():  # `named_pictures` leaves a folder as it is if no picture is in it
        raise ImageError("this folder has no pictures in it; give another, or picture files")
    return Path(name)
