"""Netpbm's raw kinds: PBM (P4), PGM (P5), PPM (P6) and PFM (Pf); plain text kinds are not read."""

import re

from clearhead.data.preprocessing.containers.container import Container, cut_short, unsupported

SIGNATURES = (b"P4", b"P5", b"P6", b"Pf")
MAX_HEADER = 1_000

_gap = rb"(?:\s|#[^\n]*\n)+"
_header = re.compile(
    rb"P(?:4%b(\d{1,9})%b(\d{1,9})|[56f]%b(\d{1,9})%b(\d{1,9})%b(-?[\d.]{1,9}))\s"
    % (_gap, _gap, _gap, _gap, _gap)
)


def read_netpbm(data: bytes) -> Container:
    """The header, and whether all the rows it promises are there."""
    header = _header.match(data[:MAX_HEADER])
    if header is None:
        raise cut_short("Netpbm picture")
    width, height = (
        int(one or other)
        for one, other in zip(header.groups()[:2], header.groups()[2:4], strict=True)
    )
    row = _row_bytes(data[:2], width, header[5])
    if header.end() + row * height > len(data):
        raise cut_short("Netpbm picture")
    return Container("PPM", data, width, height)


def _row_bytes(kind: bytes, width: int, largest: bytes | None) -> int:
    """Bytes of a row; `largest` is the value of white (or PFM's scale)."""
    if kind == b"P4":
        return (width + 7) // 8
    if kind == b"Pf":
        return 4 * width
    if (kind, largest) == (b"P5", b"65535"):
        return 2 * width
    if largest != b"255":
        raise unsupported("Netpbm picture", "has a largest value other than 255")
    return width if kind == b"P5" else 3 * width
