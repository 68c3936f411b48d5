"""GIF: blocks of sub-blocks, from the screen's description to the trailer (GIF89a, CompuServe)."""

import struct

from clearhead.data.preprocessing.containers.container import Container, cut_short, unsupported

SIGNATURES = (b"GIF87a", b"GIF89a")
TRAILER, EXTENSION, IMAGE = 0x3B, 0x21, 0x2C
GRAPHIC_CONTROL = 0xF9  # tells which colour is transparent
MAX_BLOCKS = 200_000


class _Walk:
    """A place in the bytes, and how many blocks may still come."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.left = data, 0, MAX_BLOCKS

    def skip(self, length: int) -> int:
        """Move on; gives where it was."""
        before, self.at = self.at, self.at + length
        if self.at > len(self.data):
            raise cut_short("GIF")
        return before

    def byte(self) -> int:
        return self.data[self.skip(1)]

    def skip_colours(self, flags: int) -> None:
        if flags & 0x80:
            self.skip(3 << (flags & 7) + 1)

    def skip_blocks(self) -> None:
        while length := self.byte():
            self.skip(length)
            self.count()

    def count(self) -> None:
        self.left -= 1
        if not self.left:
            raise unsupported("GIF", f"has more than {MAX_BLOCKS} blocks")


def read_gif(data: bytes) -> Container:
    """The walk through all frames; only the first is kept, alone on its screen."""
    walk = _Walk(data)
    walk.skip(13)
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    walk.skip_colours(flags)
    kept, seen_image = [data[: walk.at]], False
    while (kind := walk.byte()) != TRAILER:
        walk.count()
        start = walk.at - 1
        if kind == EXTENSION:
            needed = walk.byte() == GRAPHIC_CONTROL
        elif kind == IMAGE:
            needed = True
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, walk.skip(9))
            walk.skip_colours(flags)
            walk.skip(1)
        else:
            raise unsupported("GIF", f"has an unknown block {kind}")
        walk.skip_blocks()
        if needed and not seen_image:
            kept.append(data[start : walk.at])
        if kind == IMAGE and not seen_image:
            seen_image, width, height = True, max(width, left + wide), max(height, top + high)
    if not seen_image:
        raise unsupported("GIF", "holds no picture")
    return Container("GIF", b"".join([*kept, b"\x3b"]), width, height)
