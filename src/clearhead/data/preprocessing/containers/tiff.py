"""TIFF: directories of tags that point to strips or tiles (TIFF 6.0, Adobe)."""

import struct

from clearhead.data.preprocessing.containers.container import Container, cut_short, unsupported

SIGNATURES = {b"II*\0": "<", b"MM\0*": ">"}
VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
MAX_PAGES, MAX_TAGS, MAX_PIECES, MAX_VALUE_BYTES = 1_000, 500, 20_000, 500_000

WIDTH, HEIGHT, COMPRESSION = 256, 257, 259
PIECES = ((273, 279), (324, 325))  # offsets and byte counts of strips, of tiles
COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)  # none, fax, LZW, JPEG, deflate, PackBits
NEEDED = {
    *(254, WIDTH, HEIGHT, 258, COMPRESSION, 262, 277, 284, 317, 320, 338, 339),  # samples, colours
    *(273, 278, 279, 322, 323, 324, 325),  # strips and tiles
    *(266, 274),  # order of bits, orientation
    *(292, 293, 347, 529, 530, 531, 532),  # settings of fax, JPEG and YCbCr
}


Values = tuple[int, ...]


def read_tiff(data: bytes) -> Container:
    """The walk through all pages; the first is kept, with no tags but those of its pixels.

    Pillow turns the picture upright itself.
    """
    order = SIGNATURES[data[:4]]
    start: int = _unpack(f"{order}I", data, 4)[0]
    page, following = _read_page(data, order, start)
    for _ in range(MAX_PAGES):
        if not following:
            break
        _, following = _read_page(data, order, following)
    else:
        raise unsupported("TIFF", f"has more than {MAX_PAGES} pages")
    if page.get(COMPRESSION, (1,))[0] not in COMPRESSIONS:
        raise unsupported("TIFF", f"is compressed (kind {page[COMPRESSION][0]})")
    width, height = (page.get(tag, (0,))[0] for tag in (WIDTH, HEIGHT))
    return Container("TIFF", _with_needed_tags(data, order, start), width, height)


def _read_page(data: bytes, order: str, start: int) -> tuple[dict[int, Values], int]:
    """The whole numbers among the tags at a place, and where the next page is (0: none)."""
    (count,) = _unpack(f"{order}H", data, start)
    if count > MAX_TAGS:
        raise unsupported("TIFF", f"has {count} tags")
    tags, total = {}, 0
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, amount = _unpack(f"{order}HHI", data, at)
        length = VALUE_BYTES.get(kind, 1) * amount
        place = at + 8 if length <= 4 else _unpack(f"{order}I", data, at + 8)[0]
        if place + length > len(data):
            raise cut_short("TIFF")
        if tag not in NEEDED:
            continue
        total += length
        if total > MAX_VALUE_BYTES:
            raise unsupported("TIFF", "has tags that are too long")
        if kind in (3, 4) and amount:
            tags[tag] = _unpack(f"{order}{amount}{'H' if kind == 3 else 'I'}", data, place)
    _check_pieces(tags, len(data))
    (following,) = _unpack(f"{order}I", data, start + 2 + 12 * count)
    return tags, following


def _check_pieces(tags: dict[int, Values], size: int) -> None:
    """Whether every strip or tile lies inside the file."""
    for offsets, lengths in PIECES:
        if len(tags.get(offsets, ())) > MAX_PIECES:
            raise unsupported("TIFF", f"has more than {MAX_PIECES} strips or tiles")
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            if offset + length > size:
                raise cut_short("TIFF")


def _with_needed_tags(data: bytes, order: str, start: int) -> bytes:
    """One page, its directory shortened in its place, so that nothing it points to moves."""
    (count,) = _unpack(f"{order}H", data, start)
    entries = [data[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]
    kept = [entry for entry in entries if _unpack(f"{order}H", entry, 0)[0] in NEEDED]
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return b"".join([data[:start], directory, data[start + len(directory) :]])


def _unpack(layout: str, data: bytes, at: int) -> Values:
    if at + struct.calcsize(layout) > len(data):
        raise cut_short("TIFF")
    return struct.unpack_from(layout, data, at)
