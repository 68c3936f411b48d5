import io
import os
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from torch import Tensor

from clearhead.data import load_image, to_grey
from clearhead.data.preprocessing.image import MAX_BYTES, MODES, SUFFIXES
from clearhead.errors import ImageError

pillow_heif.register_heif_opener()  # to write the files

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


TOP_DOWN = encoded(GREY, "BMP")
FILES = {
    "png": encoded(COLOUR, "PNG"),
    "png, stored": encoded(GREY, "PNG", compress_level=0),
    "png, 16 bits": encoded(DEEP, "PNG"),
    "png, 1 bit": encoded(GREY.convert("1"), "PNG"),
    "png, palette": encoded(COLOUR.quantize(7), "PNG"),
    "png, transparent": encoded(CLEAR, "PNG"),
    "jpeg": encoded(COLOUR, "JPEG"),
    "jpeg, progressive": encoded(COLOUR, "JPEG", progressive=True),
    "jpeg, CMYK": encoded(COLOUR.convert("CMYK"), "JPEG"),
    "gif": encoded(GREY, "GIF"),
    "bmp": encoded(COLOUR, "BMP"),
    "bmp, grey": encoded(GREY, "BMP"),
    "bmp, top down": TOP_DOWN[:22] + struct.pack("<i", -HEIGHT) + TOP_DOWN[26:],
    "tiff": encoded(COLOUR, "TIFF"),
    "tiff, 64 bits": encoded(COLOUR, "TIFF", big_tiff=True),
    "tiff, LZW": encoded(COLOUR, "TIFF", compression="tiff_lzw"),
    "tiff, deflate": encoded(GREY, "TIFF", compression="tiff_adobe_deflate"),
    "tiff, JPEG": encoded(COLOUR, "TIFF", compression="jpeg"),
    "tiff, fax": encoded(GREY.convert("1"), "TIFF", compression="group4"),
    "tiff, float": encoded(GREY.convert("F"), "TIFF"),
    "webp": encoded(COLOUR, "WEBP"),
    "webp, lossless": encoded(CLEAR, "WEBP", lossless=True),
    "webp, animated": encoded(COLOUR, "WEBP", save_all=True, append_images=[OTHER]),
    "avif": encoded(COLOUR, "AVIF"),
    "heic": encoded(COLOUR.resize((64, 64)), "HEIF"),
    "ppm": encoded(COLOUR, "PPM"),
    "pgm, 16 bits": encoded(DEEP.convert("I"), "PPM"),
    "pbm": encoded(GREY.convert("1"), "PPM"),
    "pbm, plain text": b"P1 3 2\n1 0 1 0 1 1\n",
    "pfm": encoded(GREY.convert("F"), "PPM"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_decodes_as_in_pillow(name: str) -> None:
    with Image.open(io.BytesIO(FILES[name])) as expected:
        expected.load()
        image = load_image(FILES[name])
        assert (image.mode, image.size) == (expected.mode, expected.size)
        assert image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_an_error_unless_all_pixels_are_there(name: str) -> None:
    """Pillow does not need what follows the pixels: padding, or the mark of the end."""
    content, whole = FILES[name], load_image(FILES[name]).tobytes()
    for length in (*range(0, len(content), 29), *range(len(content) - 9, len(content))):
        try:
            image = load_image(content[:length])
        except ImageError:
            continue
        assert image.tobytes() == whole
        assert length >= len(content) - 4


@pytest.mark.parametrize("name", ["GIF", "TIFF"])
def test_later_frames_and_pages_are_not_needed(name: str) -> None:
    one = encoded(COLOUR.quantize(), name)
    both = encoded(COLOUR.quantize(), name, save_all=True, append_images=[OTHER.quantize()])
    assert load_image(both).tobytes() == load_image(one).tobytes()
    assert load_image(both[:-100]).tobytes() == load_image(one).tobytes()


def test_bytes_after_the_end_of_a_jpeg_are_ignored() -> None:
    whole = load_image(FILES["jpeg"])
    assert load_image(FILES["jpeg"] + b"maker notes").tobytes() == whole.tobytes()


STORED = {  # EXIF orientation: how a camera stores an upright image
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
    77: None,  # not defined
}
LOSSLESS: dict[str, dict[str, object]] = {
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 100, "subsampling": 0},
}


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", STORED)
def test_images_are_rotated_upright(orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = STORED[orientation]
    stored = COLOUR if turn is None else COLOUR.transpose(turn)
    image = load_image(encoded(stored, name, exif=exif, **LOSSLESS.get(name, {})))
    assert image.size == (WIDTH, HEIGHT)
    difference = np.abs(np.asarray(image, float) - np.asarray(COLOUR, float))
    assert difference.mean() <= (3 if name == "JPEG" else 0)


def png(width: int, height: int, rows: bytes, chunks: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + data


def tiff_tags(count: int) -> bytes:
    """Tags that all claim the same bytes."""
    return b"".join(struct.pack("<HHII", tag, 1, 2**20, 8) for tag in range(count))


def changed(name: str, at: int, new: bytes) -> bytes:
    return FILES[name][:at] + new + FILES[name][at + len(new) :]


EMPTY_CHUNK = struct.pack(">I4sI", 0, b"abCd", zlib.crc32(b"abCd"))
SCANS = encoded(GREY.resize((800, 600)), "JPEG", progressive=True)[:-2]
BOMBS: dict[str, Callable[[], bytes]] = {  # made when needed, they are large
    "png of 81 megapixels": lambda: png(9_000, 9_000, bytes(9_001 * 9_000)),
    "png of 200 megapixels": lambda: png(20_000, 10_000, b""),
    "png that claims to be immense": lambda: png(2**31 - 1, 2**31 - 1, b""),
    "png of one column": lambda: png(1, 30_000, bytes(60_000)),
    "png without pixels": lambda: png(0, 5, b""),
    "png of a million chunks": lambda: png(5, 5, bytes(30), EMPTY_CHUNK * 10**6),
    "gif with a huge frame": lambda: changed("gif", 6, struct.pack("<HH", 60_000, 60_000)),
    "bmp with a huge width": lambda: changed("bmp", 18, struct.pack("<i", 2**30)),
    "bmp with an impossible palette": lambda: changed("bmp, grey", 46, b"o"),
    "webp with a huge canvas": lambda: changed("webp, animated", 24, b"\xff\x3f\0\xff\x3f\0"),
    "ppm with a huge header": lambda: b"P5 99999 99999 255\n" + bytes(99),
    "pgm whose pixels are read one by one": lambda: b"P5 3000 3000 254\n" + bytes(9_000_000),
    "tiff of tags that overlap": lambda: (
        b"II*\0\x08\0\0\0\x60\xea" + tiff_tags(60_000) + bytes(2**20)
    ),
    "jpeg of very many scans": lambda: SCANS + FILES["jpeg, progressive"][-40:-2] * 3_000,
}


# The blocks of each are counted in the same way.
COUNTED = ("png of a million chunks", "tiff of tags that overlap")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in COUNTED)) for name in BOMBS]
)
def test_a_file_that_would_take_much_time_or_memory_is_an_error_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = BOMBS[name]()
    if name not in COUNTED:
        monkeypatch.setattr("clearhead.data.preprocessing.image.MAX_READS", 20_000)
    start, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError) as refusal:
        load_image(bomb)
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300_000  # kB
    assert "\n" not in str(refusal.value)


def test_exif_entries_that_overlap_take_no_memory() -> None:
    entries = b"".join(struct.pack("<HHII", tag, 1, 60_000, 8) for tag in range(5_000))
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5_000) + entries + bytes(4)
    data = FILES["jpeg"]
    bomb = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert load_image(bomb).tobytes() == load_image(data).tobytes()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50_000  # kB


def test_a_large_jpeg_is_decoded_at_half_its_size() -> None:
    large = GREY.resize((2_600, 1_700), Image.Resampling.NEAREST)
    assert load_image(encoded(large, "JPEG", quality=30)).size == (1_300, 850)
    assert load_image(encoded(large, "PNG", compress_level=1)).size == (2_600, 1_700)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "factor"),
    [
        ("JPEG", (9_248, 6_936), 8),
        ("JPEG, progressive", (5_712, 4_284), 4),
        ("JPEG, turned", (4_284, 5_712), 4),
        ("HEIF", (4_032, 3_024), 1),
        ("AVIF", (4_032, 3_024), 1),
    ],
)
def test_photos_of_phones_take_little_memory(
    name: str, size: tuple[int, int], factor: int, tmp_path: Path
) -> None:
    photo = Image.new("L", size, 222)
    photo.paste(30, (size[0] // 3, size[1] // 3, size[0] // 2, size[1] // 2))
    exif = Image.Exif()
    exif[0x0112] = 6 if "turned" in name else 1
    kind, _, how = name.partition(", ")
    stored = photo.transpose(Image.Transpose.ROTATE_90) if how == "turned" else photo
    fast = {"speed": 10} if kind == "AVIF" else {}
    path = tmp_path / "photo"
    path.write_bytes(encoded(stored, kind, exif=exif, progressive=how == "progressive", **fast))
    del photo, stored
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image = load_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300_000  # kB
    assert image.info.get("reduced_by", 1) == factor
    assert image.size == (size[0] // factor, -(-size[1] // factor))
    grey = to_grey(image)
    for place, level in (((0.2, 0.4), 222), ((0.4, 0.4), 30)):
        pixel = grey[int(place[0] * len(grey)), int(place[1] * len(grey[0]))]
        assert pixel == pytest.approx(level / 255, abs=0.02)


def test_the_images_behind_the_first_do_not_count_as_its_scans() -> None:
    """Motion photos have a film behind the photo, with any bytes in it."""
    whole = load_image(FILES["jpeg"])
    film = FILES["jpeg"] + b"\xff\xda" * 10_000_000
    assert load_image(film).tobytes() == whole.tobytes()


def test_a_jpeg_of_several_scans_with_too_many_coefficients_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clearhead.data.preprocessing.image.MAX_COEFFICIENTS", 2 * WIDTH * HEIGHT)
    for progressive, subsampling in ((True, "4:2:0"), (False, "4:4:4")):
        load_image(encoded(COLOUR, "JPEG", progressive=progressive, subsampling=subsampling))
    with pytest.raises(ImageError, match="not a progressive one"):
        load_image(encoded(COLOUR, "JPEG", progressive=True, subsampling="4:4:4"))


def test_every_scan_of_a_jpeg_counts_all_of_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearhead.data.preprocessing.image.MAX_SCANNED_PIXELS", 8 * WIDTH * HEIGHT)
    load_image(encoded(GREY, "JPEG", progressive=True))  # 6 scans, of which each has all pixels
    with pytest.raises(ImageError, match="this JPEG has 10 scans, too many"):
        load_image(encoded(COLOUR, "JPEG", progressive=True))


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX", "RGBa"])
def test_other_colour_spaces_in_memory_become_rgb(mode: str) -> None:
    opaque = COLOUR.convert("RGBA") if mode == "RGBa" else COLOUR
    found = load_image(opaque.convert(mode)).convert("RGB")
    assert np.abs(np.asarray(found, float) - np.asarray(COLOUR, float)).mean() < 2


def test_colours_in_lab_are_converted() -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    muted = COLOUR.point(lambda level: 100 + level // 4)
    lab = ImageCms.profileToProfile(muted, *profiles, outputMode="LAB")
    assert lab is not None
    found = np.asarray(load_image(encoded(lab, "TIFF")), dtype=float)
    np.testing.assert_allclose(found, np.asarray(muted, dtype=float), atol=6)


def test_the_error_for_a_truncated_file_names_its_format_and_no_object_in_memory() -> None:
    for name in ("png", "jpeg", "tiff", "tiff, LZW", "tiff, fax", "bmp", "webp", "gif", "avif"):
        for length in (20, len(FILES[name]) - 25):
            with pytest.raises(ImageError) as refusal:
                load_image(FILES[name][:length])
            assert name.split(",")[0].upper() in str(refusal.value)
            assert " object at " not in str(refusal.value)
    lazy = Image.open(io.BytesIO(FILES["png"][:-40]))
    with pytest.raises(ImageError) as refusal:
        load_image(lazy)
    assert " object at " not in str(refusal.value)


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7", b"\x89PNG", b"\xff\xd8", b"<svg/>"])
def test_bytes_that_are_not_an_image_are_an_error(data: bytes) -> None:
    with pytest.raises(ImageError):
        load_image(data)


def test_without_pillow_heif_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="pip install pillow-heif"):
        load_image(FILES["heic"])
    assert {".heic", ".avif"} < set(SUFFIXES)


def test_errors_about_files_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(FILES["png"][:-30])
    with (tmp_path / "long.png").open("wb") as file:
        file.write(FILES["png"])
        file.truncate(MAX_BYTES + 1)
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in [
        ("cut.png", "damaged or truncated"),
        ("missing.png", "No such file"),
        ("", "not a file"),
        ("pipe.png", "not a file"),
        ("nul\0.png", "cannot be read"),
        ("long.png", "32 MiB"),
    ]:
        with pytest.raises(ImageError, match=reason) as refusal:
            load_image(tmp_path / name)
        assert str(refusal.value).startswith(str(tmp_path))


CHANGES = st.lists(
    st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(FILES)), CHANGES, st.binary(max_size=60))
def test_damaged_files_and_random_bytes_are_an_image_or_an_image_error(
    name: str, changes: list[tuple[int, bytes]], tail: bytes
) -> None:
    damaged = bytearray(FILES[name])
    for at, new in changes:
        at %= len(damaged)
        damaged[at : at + len(new)] = new
    for data in (bytes(damaged), tail, FILES[name][:12] + tail):
        try:
            image = load_image(data)
        except ImageError:
            continue
        assert image.mode in MODES
        assert len(image.tobytes()) > 0


PIXELS = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
FLOATS = (PIXELS / 255).astype(np.float32)


def test_every_kind_of_input_gives_the_same_pixels(tmp_path: Path) -> None:
    image, path = Image.fromarray(PIXELS), tmp_path / "image.png"
    image.save(path)
    sources: list[Any] = [
        *(path, str(path), path.read_bytes(), bytearray(path.read_bytes()), image),
        *(PIXELS, PIXELS[None], FLOATS, FLOATS.astype(np.float64)[None], PIXELS[::-1][::-1]),
        *(torch.from_numpy(PIXELS), torch.from_numpy(PIXELS)[None], torch.from_numpy(FLOATS)),
        torch.from_numpy(FLOATS).requires_grad_(),
        Image.open(io.BytesIO(path.read_bytes())),
    ]
    for source in sources:
        np.testing.assert_allclose(to_grey(load_image(source)), PIXELS / 255, atol=1e-6)
    for dtype in (torch.float16, torch.bfloat16):
        half = load_image(torch.from_numpy(FLOATS).to(dtype))
        np.testing.assert_allclose(to_grey(half), FLOATS, atol=0.01)


@given(
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list("?BbHhiIlLefd")),
)
def test_arrays_and_tensors_of_every_layout_and_type_give_the_same_pixels(
    channels: tuple[int, ...], first: bool, as_tensor: bool, code: str
) -> None:
    dtype = np.dtype(code)
    levels = 2 if code == "?" else 128 if code == "b" else 256
    pixels = np.random.default_rng(0).integers(0, levels, (5, 7, *channels))
    floats = np.issubdtype(dtype, np.floating)
    source = (pixels / 255 if floats else pixels).astype(dtype)
    source = source.transpose(2, 0, 1) if channels and first else source
    image = load_image(torch.from_numpy(source.copy()) if as_tensor else source)
    assert image.mode == {1: "F" if floats else "L", 3: "RGB", 4: "RGBA"}[(*channels, 1)[0]]
    expected = (pixels[..., 0] if channels == (1,) else pixels) * (255 if code == "?" else 1)
    found = np.asarray(image) * (255 if image.mode == "F" else 1)
    np.testing.assert_allclose(found, expected, atol=0.1 if code == "e" else 1e-4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_values_of_uint16_above_255_have_16_bits(order: str) -> None:
    deep = np.asarray(DEEP).astype(f"{order}u2")
    np.testing.assert_allclose(to_grey(load_image(deep)), deep / 65535, atol=1e-6)
    colours = np.stack([deep, deep // 2, deep // 3])
    np.testing.assert_allclose(
        np.asarray(load_image(colours)).transpose(2, 0, 1), colours / 257, atol=0.51
    )


def test_an_array_that_fits_both_layouts_has_its_channels_in_front() -> None:
    colours = RANDOM.integers(0, 256, (3, 5, 4), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(load_image(colours)).transpose(2, 0, 1), colours)


@pytest.mark.parametrize(
    "source",
    [
        *(np.zeros(5), np.zeros((2, 5, 7)), np.zeros((5, 7, 2), dtype=np.uint8)),
        *(np.zeros((1, 1, 5, 7)), np.zeros((0, 7)), np.full((5, 7), 256, dtype=np.int64)),
        *(np.full((5, 7), -1), np.zeros((5, 7), dtype=complex), np.full((5, 7), 255.0)),
        *(np.full((5, 7), -0.1), np.full((5, 7), np.nan), np.full((5, 7), np.inf)),
        *(torch.full((5, 7), float("nan")), torch.full((5, 7), -1)),
        *(np.broadcast_to(np.uint8(0), (1_000_000, 9_000_000)), Image.new("1", (9_000, 9_000))),
        *(Image.open(io.BytesIO(b"P5 7 5 255\n cut")), None, 7, [[0, 1], [1, 0]]),
    ],
    ids=lambda source: f"{type(source).__name__} {getattr(source, 'dtype', '')}",
)
def test_other_inputs_are_an_error(source: Any) -> None:
    with pytest.raises(ImageError) as refusal:
        load_image(source)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "kind",
    ["sparse", "csr", "meta", "nested", pytest.param("jagged", marks=pytest.mark.slow)],
)
@pytest.mark.filterwarnings("ignore:.*prototype:UserWarning", "ignore:.*beta:UserWarning")
def test_a_tensor_without_dense_values_is_refused_in_one_line(kind: str) -> None:
    dense, pieces = torch.ones(5, 7), [torch.ones(5, 7), torch.ones(3, 7)]
    makers: dict[str, Callable[[], Tensor]] = {
        "sparse": dense.to_sparse,
        "csr": dense.to_sparse_csr,
        "meta": lambda: dense.to("meta"),
        "nested": lambda: torch.nested.nested_tensor(pieces),
        "jagged": lambda: torch.nested.nested_tensor(pieces, layout=torch.jagged),
    }
    unfit = makers[kind]()
    with pytest.raises(ImageError, match="needs a dense tensor") as error:
        load_image(unfit)
    assert "\n" not in str(error.value)
