"""How a camera was held: the orientation tag of an EXIF block.

Only this tag is looked up. Reading a whole EXIF block lets a few bytes ask for gigabytes, as its
entries may all point to the same large value.
"""

import struct

ORIENTATION = 0x0112


def exif_orientation(block: bytes) -> int:
    """1 … 8; 1 (upright) where the block says nothing that makes sense.

    `block` starts with the byte order ("II" or "MM"), or with "Exif" and two zeros before it.
    """
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 10:
        return 1
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    if start + 2 > len(block):
        return 1
    (count,) = struct.unpack_from(f"{order}H", block, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, at)
        if (tag, kind) == (ORIENTATION, 3) and 1 <= value <= 8:
            return int(value)
    return 1
