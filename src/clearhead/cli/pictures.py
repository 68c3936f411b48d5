"""Pictures on the command line: the inputs of `list_pictures`, and - for stdin."""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clearhead.data import ImageSource, PictureRef

STDIN = "-"


def list_inputs(images: Iterable[str], image_column: str | None = None) -> "list[PictureRef]":
    """List the pictures; a line on stderr names each other file in a folder."""
    from clearhead.cli.output import print_remark
    from clearhead.data import list_pictures

    def report(path: str) -> None:
        print_remark(f"{path}: left out, its suffix is not that of a picture")

    return list(list_pictures(images, image_column=image_column, on_left_out=report))


def picture_reader(image_column: str | None = None) -> "Callable[[PictureRef], ImageSource]":
    """Make the function that reads listed pictures."""
    from clearhead.data import PictureReader
    from clearhead.data.preprocessing.image import MAX_BYTES

    read = PictureReader(image_column)
    return lambda ref: sys.stdin.buffer.read(MAX_BYTES + 1) if ref.name == STDIN else read(ref)
