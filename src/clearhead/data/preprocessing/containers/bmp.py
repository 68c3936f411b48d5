"""BMP: two headers, then rows padded to four bytes (Microsoft, "Bitmap Storage")."""

import struct

from clearhead.data.preprocessing.containers.container import Container, cut_short, unsupported

SIGNATURE = b"BM"
PLAIN = (0, 3, 6)  # BI_RGB, BI_BITFIELDS, BI_ALPHABITFIELDS: no run lengths


def read_bmp(data: bytes) -> Container:
    """The headers, and whether all the rows they promise are there."""
    if len(data) < 26:
        raise cut_short("BMP")
    offset, header = struct.unpack_from("<II", data, 10)  # the file size before is often wrong
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    elif len(data) < 34:
        raise cut_short("BMP")
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression not in PLAIN:
        raise unsupported("BMP", f"is compressed (kind {compression})")
    row = (max(width, 0) * bits + 31) // 32 * 4
    if offset + row * abs(height) > len(data):
        raise cut_short("BMP")
    return Container("BMP", data, width, abs(height))
