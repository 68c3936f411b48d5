"""JPEG: marker segments and entropy-coded scans, from SOI to EOI (ITU-T T.81, annex B)."""

import re
import struct

from clearhead.data.preprocessing.containers.container import Container, cut_short, unsupported
from clearhead.data.preprocessing.containers.exif import exif_orientation

SIGNATURE = b"\xff\xd8\xff"
MAX_SEGMENTS = 2_000
SOS, EOI, COM, EXIF = 0xDA, 0xD9, 0xFE, 0xE1
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 … SOF15
UNNEEDED = frozenset(range(0xE1, 0xF0)) - {0xEE} | {COM}  # APP0 and APP14 tell the colour space

# Inside a scan FF is followed by 00 (a data byte FF) or by RST0 … RST7.
_marker_after_scan = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")


def read_jpeg(data: bytes) -> Container:
    """The walk; what follows EOI (a second picture, a maker's notes) is left out."""
    kept, at, orientation, scans, size = [data[:2]], 2, 1, 0, (0, 0)
    for _ in range(MAX_SEGMENTS):
        marker, at = _next_marker(data, at)
        if marker == EOI:
            kept.append(b"\xff\xd9")
            return Container("JPEG", b"".join(kept), *size, orientation, passes=scans)
        start, end = at, _segment_end(data, at)
        if marker == EXIF and data.startswith(b"Exif\0\0", at + 2):
            orientation = exif_orientation(data[at + 2 : end])
        elif marker in FRAMES and end - at >= 7:
            size = struct.unpack_from(">HH", data, at + 3)[::-1]
        elif marker == SOS:
            scans += 1
            end = _scan_end(data, end)
        at = end
        if marker not in UNNEEDED:
            kept.append(data[start - 2 : end])
    raise unsupported("JPEG", f"has more than {MAX_SEGMENTS} segments")


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """The marker at a place, and where it ends; it may be filled with any number of FF."""
    if at + 2 > len(data):
        raise cut_short("JPEG")
    if data[at] != 0xFF:
        raise unsupported("JPEG", f"has no marker at byte {at}")
    while at < len(data) and data[at] == 0xFF:
        at += 1
    if at == len(data):
        raise cut_short("JPEG")
    return data[at], at + 1


def _segment_end(data: bytes, at: int) -> int:
    if at + 2 > len(data):
        raise cut_short("JPEG")
    length = int.from_bytes(data[at : at + 2], "big")
    if at + length > len(data):
        raise cut_short("JPEG")
    if length < 2:
        raise unsupported("JPEG", "has a segment without a length")
    return at + length


def _scan_end(data: bytes, at: int) -> int:
    found = _marker_after_scan.search(data, at)
    if found is None:
        raise cut_short("JPEG")
    return found.start()
