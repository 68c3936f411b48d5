"""Pictures on the command line: files, folders, and - for stdin."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clearhead.errors import ImageError

STDIN = "-"


def named_pictures(images: Iterable[str]) -> Iterator[str | Path]:
    """Replace folders by the pictures in them and in their subfolders.

    A line on stderr names each other file in a folder, except hidden ones.
    """
    from clearhead.cli.output import print_remark
    from clearhead.data.folder import find_files
    from clearhead.data.preprocessing.image import SUFFIXES

    for name in images:
        path = Path(name)
        if name == STDIN or not path.is_dir():
            yield name if name == STDIN else path
            continue
        files = [Path(file) for file in find_files(path)]
        pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
        for other in sorted(set(files) - set(pictures)):
            print_remark(f"{other}: left out, its suffix is not that of a picture")
        yield from pictures or [path]


def source_of(name: str | Path) -> Path | bytes:
    """The path of a file, or the content of stdin."""
    from clearhead.data.preprocessing.image import MAX_BYTES

    return sys.stdin.buffer.read(MAX_BYTES + 1) if name == STDIN else Path(name)


def reason_of(error: "ImageError", name: str | Path) -> str:
    """Why a picture cannot be read, without its name."""
    if Path(name).is_dir():  # `named_pictures` leaves a folder as it is if no picture is in it
        return "this folder has no pictures in it; give another, or picture files"
    return str(error).removeprefix(f"{name}: ")
