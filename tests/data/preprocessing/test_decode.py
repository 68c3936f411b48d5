import io
import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clearhead.data.preprocessing.decode import MAX_BYTES, MODES, open_picture
from clearhead.errors import ImageError

HEIGHT, WIDTH = 11, 13
RANDOM = np.random.default_rng(0)
GREY = Image.fromarray(RANDOM.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8))
COLOUR = Image.fromarray(RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
DEEP = Image.fromarray(RANDOM.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16))
CLEAR = COLOUR.copy()
CLEAR.putalpha(GREY)
OTHER = COLOUR.transpose(Image.Transpose.ROTATE_180)


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


FILES = {
    "png": encoded(COLOUR, "PNG"),
    "png, stored": encoded(GREY, "PNG", compress_level=0),
    "png, 16 bits": encoded(DEEP, "PNG"),
    "png, 1 bit": encoded(GREY.convert("1"), "PNG"),
    "png, palette": encoded(COLOUR.quantize(7), "PNG"),
    "png, transparent": encoded(CLEAR, "PNG"),
    "jpeg": encoded(COLOUR, "JPEG"),
    "jpeg, grey": encoded(GREY, "JPEG"),
    "jpeg, progressive": encoded(COLOUR, "JPEG", progressive=True),
    "jpeg, CMYK": encoded(COLOUR.convert("CMYK"), "JPEG"),
    "gif": encoded(GREY, "GIF"),
    "gif, animated": encoded(COLOUR, "GIF", save_all=True, append_images=[OTHER]),
    "bmp": encoded(COLOUR, "BMP"),
    "bmp, grey": encoded(GREY, "BMP"),
    "tiff": encoded(COLOUR, "TIFF"),
    "tiff, LZW": encoded(COLOUR, "TIFF", compression="tiff_lzw"),
    "tiff, deflate": encoded(GREY, "TIFF", compression="tiff_adobe_deflate"),
    "tiff, PackBits": encoded(GREY, "TIFF", compression="packbits"),
    "tiff, fax": encoded(GREY.convert("1"), "TIFF", compression="group4"),
    "tiff, float": encoded(GREY.convert("F"), "TIFF"),
    "webp": encoded(COLOUR, "WEBP"),
    "webp, lossless": encoded(CLEAR, "WEBP", lossless=True),
    "webp, animated": encoded(COLOUR, "WEBP", save_all=True, append_images=[OTHER]),
    "ppm": encoded(COLOUR, "PPM"),
    "pgm, 16 bits": encoded(DEEP.convert("I"), "PPM"),
    "pbm": encoded(GREY.convert("1"), "PPM"),
    "pfm": encoded(GREY.convert("F"), "PPM"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_decodes_to_what_pillow_sees(name: str) -> None:
    with Image.open(io.BytesIO(FILES[name])) as expected:
        expected.load()
        picture = open_picture(FILES[name])
        assert (picture.mode, picture.size) == (expected.mode, (WIDTH, HEIGHT))
        assert picture.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_at_any_byte_is_an_error(name: str) -> None:
    for length in range(len(FILES[name])):
        with pytest.raises(ImageError):
            open_picture(FILES[name][:length])


def test_a_tiff_whose_second_page_is_cut_is_an_error() -> None:
    pages = encoded(COLOUR, "TIFF", save_all=True, append_images=[OTHER])
    assert open_picture(pages).tobytes() == COLOUR.tobytes()
    for length in range(len(pages) - WIDTH):  # the last row may be followed by unused bytes
        with pytest.raises(ImageError):
            open_picture(pages[:length])


def test_what_follows_the_end_of_a_jpeg_does_not_matter() -> None:
    whole = open_picture(FILES["jpeg"])
    assert open_picture(FILES["jpeg"] + b"a maker's notes").tobytes() == whole.tobytes()


def test_an_animation_gives_its_first_frame() -> None:
    first = encoded(COLOUR, "WEBP", lossless=True)
    both = encoded(COLOUR, "WEBP", lossless=True, save_all=True, append_images=[OTHER])
    assert open_picture(both).convert("RGB").tobytes() == open_picture(first).tobytes()
    assert open_picture(first).tobytes() == COLOUR.tobytes()


STORED = {  # EXIF orientation: how the camera has to store an upright picture
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def with_orientation(orientation: int, name: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = STORED[orientation]
    stored = COLOUR if turn is None else COLOUR.transpose(turn)
    options = {"lossless": True} if name == "WEBP" else {}
    return encoded(stored, name, exif=exif, **options)


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_pictures_come_upright(orientation: int, name: str) -> None:
    picture = open_picture(with_orientation(orientation, name))
    assert picture.size == (WIDTH, HEIGHT)
    assert picture.tobytes() == COLOUR.tobytes()


@pytest.mark.parametrize("orientation", STORED)
def test_jpegs_come_upright(orientation: int) -> None:
    picture = np.asarray(open_picture(with_orientation(orientation, "JPEG")), dtype=float)
    upright = np.asarray(open_picture(FILES["jpeg"]), dtype=float)
    assert picture.shape == upright.shape
    assert np.abs(picture - upright).mean() < 40 < np.abs(picture - upright[::-1]).mean()


def test_an_orientation_without_sense_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert open_picture(encoded(COLOUR, "PNG", exif=exif)).tobytes() == COLOUR.tobytes()


def png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


BOMBS = {
    "png of 81 megapixels": png(9_000, 9_000, bytes(9_001 * 9_000)),
    "png that claims to be immense": png(2**31 - 1, 2**31 - 1, b""),
    "png of one column": png(1, 30_000, bytes(60_000)),
    "png without pixels": png(0, 5, b""),
    "gif with a huge frame": FILES["gif"][:6]
    + struct.pack("<HH", 60_000, 60_000)
    + FILES["gif"][10:],
    "bmp with a huge width": FILES["bmp"][:18] + struct.pack("<i", 2**30) + FILES["bmp"][22:],
    "webp with a huge canvas": FILES["webp, animated"][:24] + b"\xff" * 6
    + FILES["webp, animated"][30:],
    "ppm with a huge header": b"P5 99999 99999 255\n" + bytes(99),
    "plain text ppm": b"P2 2 2 255\n1 2 3 4\n",
    "run lengths in a bmp": FILES["bmp, grey"][:30] + b"\1" + FILES["bmp, grey"][31:],
    "bmp with an impossible palette": FILES["bmp, grey"][:46] + b"o" + FILES["bmp, grey"][47:],
    "tiff with thousands of tags": b"II*\0\x08\0\0\0\xff\xff" + bytes(2**20),
    "jpeg of very many scans": FILES["jpeg, progressive"][:-2]
    + FILES["jpeg, progressive"][-40:-2] * 3_000,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name: str) -> None:
    start = time.process_time()
    with pytest.raises(ImageError) as refusal:
        open_picture(BOMBS[name])
    assert time.process_time() - start < 0.5
    assert "\n" not in str(refusal.value)


def exif_bomb() -> bytes:
    """An EXIF block of 5,000 entries that all point to the same 60 kB."""
    entry = struct.pack("<HHII", 0x9C9B, 1, 60_000, 8)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 5_000) + entry * 5_000 + bytes(4)


def test_metadata_never_reach_the_decoder() -> None:
    data = FILES["jpeg"]
    block = b"Exif\0\0" + exif_bomb()
    bomb = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    start = time.process_time()
    picture = open_picture(bomb)
    assert time.process_time() - start < 0.1
    assert picture.tobytes() == open_picture(data).tobytes()
    assert "exif" not in picture.info


def test_a_large_jpeg_comes_at_half_its_size() -> None:
    large = GREY.resize((2_600, 1_700))
    assert open_picture(encoded(large, "JPEG")).size == (1_300, 850)
    assert open_picture(encoded(large, "PNG")).size == (2_600, 1_700)


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7", b"\x89PNG", b"\xff\xd8", b"<svg/>"])
def test_what_is_no_picture_is_an_error(data: bytes) -> None:
    with pytest.raises(ImageError):
        open_picture(data)


def test_errors_about_files_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(FILES["png"][:-1])
    for name, reason in [
        ("cut.png", "cut short"),
        ("missing.png", "No such file"),
        ("", "not a file"),
        ("nul\0.png", "cannot be read"),
    ]:
        with pytest.raises(ImageError, match=reason) as refusal:
            open_picture(tmp_path / name)
        assert str(refusal.value).startswith(str(tmp_path))


def test_a_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a file"):
        open_picture(tmp_path / "pipe.png")


def test_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    with path.open("wb") as file:
        file.write(FILES["png"])
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ImageError, match="32 MiB"):
        open_picture(path)


CHANGES = st.lists(
    st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4
)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted(FILES)), CHANGES)
def test_a_damaged_file_is_a_picture_or_an_image_error(
    name: str, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(FILES[name])
    for at, new in changes:
        at %= len(data)
        data[at : at + len(new)] = new
    check_that_it_opens_or_fails_well(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.binary(max_size=60))
def test_any_bytes_are_a_picture_or_an_image_error(name: str, data: bytes) -> None:
    check_that_it_opens_or_fails_well(data)
    check_that_it_opens_or_fails_well(FILES[name][:12] + data)


def check_that_it_opens_or_fails_well(data: bytes) -> None:
    try:
        picture = open_picture(data)
    except ImageError:
        return
    assert picture.mode in MODES
    assert len(picture.tobytes()) > 0
