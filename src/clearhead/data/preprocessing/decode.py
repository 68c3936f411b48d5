"""Open any picture safely: a loaded image, or one clear `ImageError`.

The file is walked to its end first (`containers`), its size is checked, and only then decoded: so
neither a cut file nor one that unfolds to gigabytes reaches the decoder.
"""

import stat
from io import BytesIO
from pathlib import Path

from PIL import Image

from clearhead.data.preprocessing.containers.container import Container
from clearhead.data.preprocessing.containers.read import read_container
from clearhead.errors import ImageError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"),
    *(".pbm", ".pgm", ".ppm", ".pfm"),
)
MAX_BYTES = 2**25
MAX_PIXELS = 16_000_000
MAX_PIXELS_OF = {"WEBP": 8_000_000}  # its decoder holds three copies
MAX_SIDE = 20_000
MAX_PASSES_PIXELS = 200_000_000  # progressive JPEGs go over all pixels several times
DRAFT_PIXELS = 4_000_000

MODES = {
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK"),
    *("F", "I", "I;16", "I;16L", "I;16B", "I;16N"),
}
_PLAINER = {"La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}

_Turn = Image.Transpose
_UPRIGHT = {
    2: _Turn.FLIP_LEFT_RIGHT,
    3: _Turn.ROTATE_180,
    4: _Turn.FLIP_TOP_BOTTOM,
    5: _Turn.TRANSPOSE,
    6: _Turn.ROTATE_270,
    7: _Turn.TRANSVERSE,
    8: _Turn.ROTATE_90,
}


def open_picture(source: Path | bytes) -> Image.Image:
    """The picture in a file or in bytes, decoded and upright; an animation gives its first frame.

    JPEGs of more than 4 megapixels come at half their size or less, which the format can do fast.
    Raises `ImageError` for anything but a whole picture of at most 16 megapixels (WebP: 8) and
    32 MiB.
    """
    try:
        return _decode(_check(read_container(_read(source))))
    except ImageError as error:
        if isinstance(source, Path):
            raise ImageError(f"{source}: {error}") from error
        raise


def _read(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        try:
            if not stat.S_ISREG(source.stat().st_mode):  # a pipe or a device may never end
                raise ImageError("this is not a file; give a picture")
            with source.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            if isinstance(error, ImageError):
                raise
            raise ImageError(f"cannot be read ({getattr(error, 'strerror', error)})") from error
    if len(data) > MAX_BYTES:
        raise ImageError(f"this file has more than {MAX_BYTES >> 20} MiB; make it smaller first")
    return data


def _check(container: Container) -> Container:
    width, height = container.width, container.height
    if min(width, height) < 1:
        raise ImageError(f"this {container.format} is {width} × {height} pixels: nothing to see")
    most = MAX_PIXELS_OF.get(container.format, MAX_PIXELS)
    if width * height > most or max(width, height) > MAX_SIDE:
        raise ImageError(
            f"this {container.format} is {width} × {height} pixels; at most "
            f"{most // 1_000_000} megapixels and {MAX_SIDE} a side are read: make it smaller"
        )
    if width * height * container.passes > MAX_PASSES_PIXELS:
        raise ImageError(
            f"this {container.format} of {width} × {height} pixels has {container.passes} scans, "
            "too many for its size: save it again as an ordinary JPEG"
        )
    return container


def _decode(container: Container) -> Image.Image:
    try:
        image: Image.Image = Image.open(BytesIO(container.data), formats=(container.format,))
        if image.width * image.height > MAX_PIXELS:
            raise ImageError("its parts disagree about its size")
        if container.width * container.height > DRAFT_PIXELS:
            image.draft(None, (image.width // 2, image.height // 2))
        image.load()
        image = _in_plain_mode(image)
        turn = _UPRIGHT.get(container.orientation)
        # Not the decoder's own object, which keeps the whole file.
        return image.transpose(turn) if turn is not None else image.copy()
    except Exception as error:  # decoders raise what they like, MemoryError too
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"this {container.format} is damaged ({reason})") from error


def _in_plain_mode(image: Image.Image) -> Image.Image:
    """One of `MODES`, which all can be made grey or coloured."""
    if image.mode in _PLAINER:
        image = image.convert(_PLAINER[image.mode])
    if image.mode not in MODES:
        raise ImageError(f"its colours are {image.mode}: save it again as an ordinary PNG")
    return image
