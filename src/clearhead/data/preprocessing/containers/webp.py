"""WebP: a RIFF file with one VP8, VP8L or VP8X chunk first (RFC 9649)."""

import struct

from clearhead.data.preprocessing.containers.container import Container, cut_short, unsupported
from clearhead.data.preprocessing.containers.exif import exif_orientation

MAX_CHUNKS = 10_000


def is_webp(data: bytes) -> bool:
    """Whether bytes begin like a WebP file."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read_webp(data: bytes) -> Container:
    """The walk through the chunks; Pillow decodes the first frame alone."""
    (riff_size,) = struct.unpack_from("<I", data, 4)
    end = riff_size + 8
    if end > len(data) or len(data) < 30:
        raise cut_short("WebP")
    width, height = _size(data)
    orientation, at = 1, 12
    for _ in range(MAX_CHUNKS):
        if at >= end:
            return Container("WEBP", data[:end], width, height, orientation)
        if at + 8 > end:
            raise cut_short("WebP")
        name, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise cut_short("WebP")
        if name == b"EXIF":
            orientation = exif_orientation(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    raise unsupported("WebP", f"has more than {MAX_CHUNKS} chunks")


def _size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas, from the first chunk."""
    name = data[12:16]
    if name == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if name == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise unsupported("WebP", f"begins with an unknown chunk {name!r}")
