"""Images from files, bytes, arrays and tensors, and their luminance.

Pillow decodes. Limits hold for hostile files too: sizes are checked between reading the header and
decoding the pixels, and the number of reads and scans is bounded, because time can grow with these
instead of with the size.
"""

import stat
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from clearhead.errors import ImageError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif"),
    *(".heic", ".heif", ".pbm", ".pgm", ".ppm", ".pfm"),
)
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

MAX_BYTES = 2**25
MAX_PIXELS = 16_000_000
MAX_SIDE = 20_000
MAX_SCANNED_PIXELS = 240_000_000  # each scan of a progressive JPEG goes over all pixels
MAX_READS = 500_000  # of blocks and tags, which are decoded one by one in Python
DRAFT_PIXELS = 4_000_000
GREY_SIDE = 1024  # larger images are averaged down by a whole factor when they become grey
MAX_UNIFORM_STD = 0.1  # standard deviation below which the visible part counts as one colour

_BIT_DEPTH_16 = ("I;16", "I;16L", "I;16B", "I;16N")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "F", "I", *_BIT_DEPTH_16)
_SIMPLER_MODE = {"La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}

Grey = Float[ndarray, "height width"]
ImageSource = str | Path | bytes | Image.Image | ndarray | Tensor
"""What `load_image` accepts."""


def load_image(source: ImageSource) -> Image.Image:
    """Load an image, upright by its EXIF orientation; of an animation, the first frame.

    A JPEG of more than 4 megapixels is decoded at half its size or less.

    Args:
        source: A path, the bytes of a file, a Pillow image, or an array or tensor of shape (height,
            width), (1, height, width) or (3, height, width) with bytes 0 … 255 or floats in [0, 1].
            Files may be PNG, JPEG, GIF, BMP, TIFF, WebP, AVIF, PPM, PGM, PBM, and HEIC if
            pillow-heif is installed; at most 16 megapixels and 32 MiB.

    Returns:
        A decoded image in one of `MODES`.

    Raises:
        ImageError: If it is no image, damaged, cut, or too large.
    """
    match source:
        case str() | Path():
            try:
                return _decode(_read(Path(source)))
            except ImageError as error:
                raise ImageError(f"{source}: {error}") from error
        case bytes() | bytearray() | memoryview():
            return _decode(bytes(source))
        case Image.Image():
            _check_limits(source)
            try:
                source.load()
            except Exception as error:  # decoders raise exceptions of any type
                raise ImageError(f"this image cannot be decoded ({error})") from error
            return _in_simple_mode(source)
        case Tensor():  # numpy lacks bfloat16
            values = source.detach().cpu()
            return _from_array(
                values.to(torch.float32).numpy() if values.is_floating_point() else values.numpy()
            )
        case ndarray():
            return _from_array(source)
    raise ImageError(
        "an image is a path, bytes, a Pillow image, a numpy array or a tensor, "
        f"got {type(source).__name__}"
    )


def _read(path: Path) -> bytes:
    try:
        if stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may never end
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read ({getattr(error, 'strerror', error)})") from error
    raise ImageError("this is not a file; give an image file")


class _BoundedReader(BytesIO):
    """A file in memory that can be read `MAX_READS` times."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise ImageError(f"it has more than {MAX_READS:,} blocks")
        return super().read(size)


def _decode(data: bytes) -> Image.Image:
    if not data:
        raise ImageError("this file is empty; give an image file")
    if len(data) > MAX_BYTES:
        raise ImageError(f"this file has more than {MAX_BYTES >> 20} MiB; make it smaller first")
    formats: tuple[str, ...] = FORMATS
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        formats = _with_heif()
    kind = "image"
    try:
        with warnings.catch_warnings():
            # Only those of Pillow, about metadata and sizes; the size is checked below.
            warnings.filterwarnings("ignore", module=r"PIL\b")
            image: Image.Image = Image.open(_BoundedReader(data), formats=formats)
            kind = image.format or kind
            _check_limits(image, data)
            if kind == "PNG":
                image.verify()  # checksums up to the last chunk; the image must be opened again
                image = Image.open(_BoundedReader(data), formats=formats)
            if image.width * image.height > DRAFT_PIXELS:
                image.draft(None, (image.width // 2, image.height // 2))
            return _in_simple_mode(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise ImageError(
            f"this is not an image that can be read; formats are {', '.join(formats)}"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"this image has more than {MAX_PIXELS // 10**6} megapixels: resize it first"
        ) from error
    except ImageError:
        raise
    except Exception as error:  # decoders raise exceptions of any type, MemoryError too
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"this {kind} is damaged or cut ({reason}); copy it again") from error


def _with_heif() -> tuple[str, ...]:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(
            "this is a HEIC image: pip install pillow-heif, or save it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()
    return ("HEIF", *FORMATS)


def _check_limits(image: Image.Image, data: bytes = b"") -> None:
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE or 0 in image.size:
        raise ImageError(
            f"this {image.format or 'image'} has {width} × {height} pixels; expected 1 to "
            f"{MAX_SIDE:,} pixels on a side and at most {MAX_PIXELS // 10**6} megapixels: "
            "resize it first"
        )
    scans = data.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 1
    if width * height * scans > MAX_SCANNED_PIXELS:
        raise ImageError(
            f"this JPEG has {scans} scans, too many for {width} × {height} pixels: "
            "save it again as an ordinary JPEG"
        )


def _in_simple_mode(image: Image.Image) -> Image.Image:
    """One of `MODES`, which can all be made grey or coloured."""
    if image.mode in _SIMPLER_MODE:
        image = image.convert(_SIMPLER_MODE[image.mode])
    if image.mode not in MODES:
        raise ImageError(f"its colours are {image.mode}: save it again as an ordinary PNG")
    return image


def _from_array(values: ndarray) -> Image.Image:
    shape = values.shape
    if values.ndim not in (2, 3) or (values.ndim == 3 and shape[0] not in (1, 3)):
        raise ImageError(
            f"an array is (height, width), (1, height, width) or (3, height, width), got {shape}"
        )
    if not 0 < shape[-2] * shape[-1] <= MAX_PIXELS:
        raise ImageError(f"expected an array of 1 to {MAX_PIXELS:,} pixels, got shape {shape}")
    grey = values.ndim == 2 or shape[0] == 1
    pixels = values.reshape(shape[-2:]) if grey else values.transpose(1, 2, 0)
    if values.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(pixels))
    if not np.issubdtype(values.dtype, np.floating):
        raise ImageError(f"an array holds bytes (uint8) or floats in [0, 1], got {values.dtype}")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise ImageError(f"floats of an image lie in [0, 1], got {low:g} to {high:g}")
    if grey:
        return Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))


def to_grey(image: Image.Image) -> Grey:
    """Luminance of an image (ITU-R BT.601, with Pillow's weights).

    A transparent image is composited on black or white, whichever its visible part differs from.

    Args:
        image: A loaded image in one of the modes that `load_image` returns.

    Returns:
        float32 in [0, 1], at most 2047 pixels on a side: larger images are averaged down.

    Raises:
        ImageError: If pixels are NaN or infinite.
    """
    if image.mode in _BIT_DEPTH_16:
        return np.asarray(_reduced(image) / 65535, dtype=np.float32)
    if image.mode == "I":
        return _stretched(_reduced(image) / 65535)
    if image.mode == "F":
        return _stretched(_reduced(image))
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        grey, alpha = _array(_shrunk(image).convert("LA")).transpose(2, 0, 1) / 255
        return _composited(grey, alpha)
    if image.mode in ("1", "P", "PA"):  # averaging indices would make no sense
        image = image.convert("RGB" if image.mode == "P" else "L")
    return np.asarray(_array(_shrunk(image).convert("L")) / np.float32(255))


def _composited(grey: Grey, alpha: Grey) -> Grey:
    """A transparent image on an opaque background.

    If the visible part has one colour, its outline is the digit: the background is black or white,
    whichever differs more. If not, the digit is drawn within it: the background continues its
    median colour.
    """
    visible = alpha > 0.5
    if not visible.any():
        return np.ones_like(grey)
    shown = grey[visible]
    if shown.std() < MAX_UNIFORM_STD or alpha.mean() < MAX_UNIFORM_STD:
        background = 1.0 if shown.mean() < 0.5 else 0.0
    else:
        background = float(np.median(shown))
    return np.asarray(grey * alpha + background * (1 - alpha), dtype=np.float32)


def _stretched(values: Grey) -> Grey:
    """Values of files without a fixed range, stretched to [0, 1] where they exceed it."""
    if not np.isfinite(values).all():
        raise ImageError("this image has pixels that are not numbers (NaN or infinite)")
    low = min(0.0, float(values.min()))
    high = max(1.0, float(np.quantile(values, 0.995)))
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), dtype=np.float32)


def _shrunk(image: Image.Image) -> Image.Image:
    """Averages over squares of pixels."""
    factor = max(image.size) // GREY_SIDE
    return image.reduce(factor) if factor > 1 else image


def _reduced(image: Image.Image) -> Grey:
    """Averages over squares of pixels, for the modes that Pillow cannot reduce."""
    values: ndarray = np.asarray(image)
    factor = max(1, min(max(values.shape) // GREY_SIDE, *values.shape))
    high, wide = (side // factor for side in values.shape)
    blocks = values[: high * factor, : wide * factor].reshape(high, factor, wide, factor)
    with np.errstate(invalid="ignore", over="ignore"):  # checked by `_stretched`
        return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64))


def _array(image: Image.Image) -> ndarray:
    return np.asarray(image).astype(np.float32)
