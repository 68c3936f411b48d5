"""Files of about seventy pictures of digits in many formats, always the same."""

import io
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image, ImageOps

from tests.data.preprocessing.drawings import FONTS, photographed, printed, stroke

LIGHTS = ("falling", "vignette", "shadow", "pencil", "chalk")


@cache
def pictures() -> dict[str, bytes]:
    """The files by name; the last ones show no single digit, or are no pictures."""
    return dict([*_photos(), *_drawings(), *_formats(), *_rotated(), *_odd(), *_broken()])


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _photos() -> Iterator[tuple[str, bytes]]:
    for number in range(10):
        light = LIGHTS[number % 5]
        photo = photographed(number, light, width=4 + number % 6, seed=number)
        yield f"photo of {number}, {light}, JPEG", encoded(photo, "JPEG", quality=60 + 4 * number)
    for number, light in enumerate(LIGHTS):
        photo = photographed(9 - number, light, seed=20 + number)
        red = ImageOps.colorize(photo, "navy", "wheat")
        yield f"coloured photo of {9 - number}, {light}, PNG", encoded(red)


def _drawings() -> Iterator[tuple[str, bytes]]:
    for number, font in enumerate(FONTS):
        print_ = printed(str(number), font=font)
        yield f"print of {number}, dark on light", encoded(print_)
        yield f"print of {number}, light on dark", encoded(ImageOps.invert(print_))
    for number in (5, 6, 7, 8):
        drawn = Image.fromarray(np.uint8(255 * stroke(number, width=5 + number)))
        yield (
            f"pen of {number}, off centre",
            encoded(ImageOps.expand(drawn, (30, 0, 7, 55), fill=0)),
        )
    small = printed("3").resize((28, 28), Image.Resampling.BOX)
    yield "print of 3, 28 × 28", encoded(small)
    yield "print of 2, tiny", encoded(printed("2", size=10, side=9))
    yield "print of 4, tight crop", encoded(printed("4").crop((40, 30, 95, 100)))


def _formats() -> Iterator[tuple[str, bytes]]:
    grey = photographed(6, "falling", seed=40).resize((120, 160))
    colour = ImageOps.colorize(grey, "darkgreen", "linen")
    other = colour.transpose(Image.Transpose.ROTATE_180)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    bit = grey.point(lambda value: 255 * (value > 90)).convert("1")
    clear = Image.new("RGBA", grey.size, "black")
    clear.putalpha(ImageOps.invert(printed("6", side=160).resize(grey.size)))
    white = Image.new("RGBA", grey.size, "white")
    white.putalpha(clear.getchannel("A"))
    both = {"save_all": True, "append_images": [other]}
    yield "PNG, 16 bits", encoded(deep)
    yield "PNG, 1 bit", encoded(bit)
    yield "PNG, palette", encoded(colour.quantize(16))
    yield "PNG, black on clear", encoded(clear)
    yield "PNG, white on clear", encoded(white)
    yield "PNG, grey with alpha", encoded(grey.convert("LA"))
    yield "JPEG, progressive", encoded(colour, "JPEG", progressive=True)
    yield "JPEG, CMYK", encoded(colour.convert("CMYK"), "JPEG")
    yield "JPEG, large", encoded(grey.resize((2100, 2800)), "JPEG", quality=70)
    yield "GIF", encoded(grey, "GIF")
    yield "GIF, animated", encoded(colour, "GIF", **both)
    yield "BMP", encoded(colour, "BMP")
    yield "BMP, grey", encoded(grey, "BMP")
    yield "TIFF", encoded(colour, "TIFF")
    yield "TIFF, LZW", encoded(colour, "TIFF", compression="tiff_lzw")
    yield (
        "TIFF, deflate, CMYK",
        encoded(colour.convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"),
    )
    yield "TIFF, fax", encoded(bit, "TIFF", compression="group4")
    yield "TIFF, two pages", encoded(grey, "TIFF", **both)
    yield "WebP", encoded(colour, "WEBP")
    yield "WebP, lossless with alpha", encoded(clear, "WEBP", lossless=True)
    yield "WebP, animated", encoded(colour, "WEBP", **both)
    yield "PPM", encoded(colour, "PPM")
    yield "PGM", encoded(grey, "PPM")
    yield "PGM, 16 bits", encoded(deep.convert("I"), "PPM")
    yield "PBM", encoded(bit, "PPM")


def _rotated() -> Iterator[tuple[str, bytes]]:
    """Stored rotated, with an orientation in EXIF."""
    upright = photographed(7, "falling", seed=50).resize((120, 160))
    for orientation, way in ((3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
            name = f"{kind}, orientation {orientation}"
            yield name, encoded(upright.transpose(way), kind, exif=exif)


def _odd() -> Iterator[tuple[str, bytes]]:
    """Files that give warnings."""
    yield "blank", encoded(Image.new("L", (50, 40), 200))
    yield "one pixel", encoded(Image.new("RGB", (1, 1), "red"))
    noise = np.random.default_rng(0).normal(200, 8, (200, 150)).clip(0, 255)
    yield "noise", encoded(Image.fromarray(noise.astype(np.uint8)))
    yield "two digits", encoded(printed("12", size=45))
    dot = Image.new("L", (28, 28))
    dot.paste(255, (12, 12, 14, 17))
    yield "a dot", encoded(dot)
    y, x = np.mgrid[:90, :120]
    waves = (127 + 120 * np.sin(x / 9) * np.cos(y / 7)).astype(np.uint8)
    yield "waves", encoded(Image.fromarray(waves))


def _broken() -> Iterator[tuple[str, bytes]]:
    """Files that are rejected."""
    image = printed("8")
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM"):
        file = encoded(image, kind)
        yield f"{kind}, cut in the middle", file[: len(file) // 2]
    yield "no picture", b"hello"
    yield "nothing", b""
