"""What a walk through a picture file finds."""

from dataclasses import dataclass

from clearhead.errors import ImageError


@dataclass(frozen=True)
class Container:
    """A whole picture file: Pillow's name of its format, and what its pixels need.

    `data` decodes to the first picture, without metadata. `orientation` is EXIF's (1 … 8), 1 where
    the decoder turns the picture itself. `passes` tells how often decoding goes over the pixels.
    """

    format: str
    data: bytes
    width: int
    height: int
    orientation: int = 1
    passes: int = 1


def cut_short(format_name: str) -> ImageError:
    """The error for a file that ends before its format says so."""
    return ImageError(f"this {format_name} is cut short: copy or download the whole file again")


def unsupported(format_name: str, what: str) -> ImageError:
    """The error for a whole file of a kind that is not read."""
    return ImageError(f"this {format_name} {what}: save it again as an ordinary PNG")
