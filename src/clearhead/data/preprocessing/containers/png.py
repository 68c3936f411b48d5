"""PNG: chunks of length, name, content and checksum, from IHDR to IEND (ISO/IEC 15948)."""

import struct

from clearhead.data.preprocessing.containers.container import Container, cut_short, unsupported
from clearhead.data.preprocessing.containers.exif import exif_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
MAX_CHUNKS = 10_000


def read_png(data: bytes) -> Container:
    """The walk; checksums of the chunks that are kept are left to the decoder."""
    kept, orientation, at = [SIGNATURE], 1, len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            raise cut_short("PNG")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise cut_short("PNG")
        if len(kept) == 1 and (name, length) != (b"IHDR", 13):
            raise unsupported("PNG", "does not begin with its header")
        if name in NEEDED:
            kept.append(data[at:end])
        elif name == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end - 4])
        if name == b"IEND":
            width, height = struct.unpack_from(">II", data, 16)
            return Container("PNG", b"".join(kept), width, height, orientation)
        at = end
    raise unsupported("PNG", f"has more than {MAX_CHUNKS} chunks")
