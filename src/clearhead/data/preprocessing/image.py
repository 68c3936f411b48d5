"""Images from files, bytes, arrays and tensors, and their luminance.

Pillow decodes. Limits hold for hostile files too: sizes are checked between reading the header and
decoding the pixels, and the number of reads and scans is bounded, because time can grow with these
instead of with the size.
"""

import re
import stat
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from clearhead.data.preprocessing.pixels import Grey
from clearhead.data.preprocessing.resolution import at_original_size
from clearhead.errors import ImageError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif"),
    *(".heic", ".heif", ".pbm", ".pgm", ".ppm", ".pfm"),
)
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

MAX_BYTES = 2**25
# Decoding takes at most 300 MB: a JPEG is reduced while it is decoded, HEIC and AVIF take 10 bytes
# for a pixel, WebP 15. Images in memory (format None) are decoded already.
MAX_PIXELS = 16_000_000
MAX_PIXELS_OF = {"JPEG": 65_000_000, "MPO": 65_000_000, None: 65_000_000}
MAX_PIXELS_OF |= {"HEIF": 25_000_000, "AVIF": 25_000_000}
MAX_SIDE = 20_000
MAX_SCANNED_PIXELS = 650_000_000  # each scan of a progressive JPEG goes over all pixels
MAX_COEFFICIENTS = 120_000_000  # which a JPEG of several scans holds in memory, 2 bytes each
MAX_READS = 500_000  # of blocks and tags, which are decoded one by one in Python
DRAFT_PIXELS = 4_000_000
REDUCED_BY = "reduced_by"  # in the `info` of an image that was decoded at a fraction of its size
GREY_SIDE = 1024  # larger images are averaged down by a whole factor when they become grey
MAX_UNIFORM_STD = 0.1  # standard deviation below which the visible part counts as one colour

_BIT_DEPTH_16 = ("I;16", "I;16L", "I;16B", "I;16N")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "F", "I", *_BIT_DEPTH_16)
# A marker that has a length or ends the image; not fill bytes, stuffed zeros or restart markers.
_JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_SIMPLER_MODE = {"La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}

ImageSource = str | Path | bytes | Image.Image | ndarray | Tensor
"""What `load_image` accepts."""


def load_image(source: ImageSource) -> Image.Image:
    """Load an image, upright by its EXIF orientation; of an animation, the first frame.

    A JPEG of more than 4 megapixels is decoded at a half, a quarter or an eighth of its size;
    `info["reduced_by"]` has the factor.

    Args:
        source: A path, the bytes of a file, a Pillow image, an array or a tensor. Files may be
            JPEG (at most 65 megapixels), AVIF, HEIC if pillow-heif is installed (25 megapixels),
            PNG, GIF, BMP, TIFF, WebP, PPM, PGM and PBM (16 megapixels), of at most 32 MiB. Arrays
            and tensors have the shape (height, width), or 1, 3 or 4 channels (grey, RGB, RGBA) on
            the first axis or, where that has another size, on the last. Their values are bool;
            integers of any type from 0 to 255, of uint16 (and grey files and images of 16 or 32
            bits) up to 65535 if one exceeds 255; or floats in [0, 1].

    Returns:
        A decoded image in one of `MODES`.

    Raises:
        ImageError: If it is not an image, or is damaged, truncated or too large.
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
                raise ImageError(f"this image cannot be decoded ({_reason(error)})") from error
            return _in_simple_mode(source)
        case Tensor():
            return _from_array(_numpy(source))
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
    try:
        with warnings.catch_warnings():
            # Only those of Pillow, about metadata and sizes; the size is checked below.
            warnings.filterwarnings("ignore", module=r"PIL\b")
            image: Image.Image = Image.open(_BoundedReader(data), formats=formats)
            _check_limits(image)
            if isinstance(image, JpegImageFile):
                _check_scans(image, data)
                _draft(image)
            if image.format == "PNG":
                image.verify()  # checksums up to the last chunk; the image must be opened again
                image = Image.open(_BoundedReader(data), formats=formats)
            ImageOps.exif_transpose(image, in_place=True)
            return _in_simple_mode(image)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"this image has more than {MAX_PIXELS // 10**6} megapixels: resize it first"
        ) from error
    except ImageError:
        raise
    except Exception as error:  # decoders raise exceptions of any type, MemoryError too
        unknown = isinstance(error, UnidentifiedImageError)
        kind = _format(data, formats)
        if unknown and not kind:
            raise ImageError(
                f"this is not an image that can be read; formats are {', '.join(formats)}"
            ) from error
        reason = "" if unknown else f" ({_reason(error)})"
        raise ImageError(f"this {kind} is damaged or truncated{reason}; copy it again") from error


def _format(data: bytes, formats: tuple[str, ...]) -> str:
    """The format that the file's signature names; "" for an unknown one."""
    accepts = ((name, Image.OPEN[name][1]) for name in formats)
    return next((name for name, check in accepts if check and check(data[:16]) is True), "")


def _reason(error: Exception) -> str:
    """The first line of an error's text, without the address of a file in memory."""
    text = re.sub(r"\s*<[^<>]* object at 0x[^<>]*>", "", str(error)).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _with_heif() -> tuple[str, ...]:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(
            "this is a HEIC image: pip install pillow-heif, or save it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()
    return ("HEIF", *FORMATS)


def _check_limits(image: Image.Image) -> None:
    width, height = image.size
    limit = MAX_PIXELS_OF.get(image.format, MAX_PIXELS)
    if width * height > limit or max(width, height) > MAX_SIDE or 0 in image.size:
        raise ImageError(
            f"this {image.format or 'image'} has {width} × {height} pixels; expected 1 to "
            f"{MAX_SIDE:,} pixels on a side and at most {limit // 10**6} megapixels: "
            "resize it first"
        )


def _check_scans(image: JpegImageFile, data: bytes) -> None:
    pixels, scans = image.width * image.height, _count_scans(data)
    sampling = [(across, down) for _, across, down, _ in image.layer]
    finest = max(x for x, _ in sampling) * max(y for _, y in sampling)
    coefficients = pixels * sum(across * down for across, down in sampling) // finest
    if scans > 1 and max(pixels * scans / MAX_SCANNED_PIXELS, coefficients / MAX_COEFFICIENTS) > 1:
        raise ImageError(
            f"this JPEG has {scans} scans, too many for {image.width} × {image.height} pixels: "
            "save it again as an ordinary JPEG, not a progressive one"
        )


def _count_scans(data: bytes) -> int:
    """The scans of the first image; previews, and images and films after it, have their own."""
    scans, at = 0, 2
    while (match := _JPEG_MARKER.search(data, at)) and match[0][1] != _JPEG_END:
        scans += match[0][1] == _JPEG_SCAN
        at = match.end() + max(2, int.from_bytes(data[match.end() : match.end() + 2]))
    return scans


def _draft(image: JpegImageFile) -> None:
    """Decode at a half, a quarter or an eighth of the size what exceeds 4 megapixels."""
    pixels = image.width * image.height
    factor = next(n for n in (1, 2, 4, 8) if pixels <= n * n * DRAFT_PIXELS)
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))
        image.info[REDUCED_BY] = factor


def _in_simple_mode(image: Image.Image) -> Image.Image:
    """One of `MODES`, which can all be made grey or coloured."""
    if image.mode in _SIMPLER_MODE:
        image = image.convert(_SIMPLER_MODE[image.mode])
    if image.mode == "LAB":
        to_rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, *to_rgb, outputMode="RGB") or image
    if image.mode not in MODES:
        raise ImageError(f"its colours are {image.mode}: save it again as an ordinary PNG")
    return image


def _numpy(tensor: Tensor) -> ndarray:
    try:
        values = tensor.detach().cpu()  # numpy lacks bfloat16
        return (values.float() if values.is_floating_point() else values).numpy()
    except (RuntimeError, TypeError) as error:  # sparse, nested, quantized, or on "meta"
        kind = f"one of layout {tensor.layout} and dtype {tensor.dtype} on {tensor.device}"
        kind = "a nested one" if tensor.is_nested else kind
        raise ImageError(
            f"an image needs a dense tensor with values, got {kind}; convert it first"
        ) from error


def _from_array(values: ndarray) -> Image.Image:
    pixels = _channels_last(values)
    if not 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS_OF[None]:
        raise ImageError(
            f"expected an array of 1 to {MAX_PIXELS_OF[None]:,} pixels, got shape {values.shape}"
        )
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    if pixels.dtype == bool:
        return Image.fromarray(pixels.astype(np.uint8) * 255)
    is_integer = np.issubdtype(pixels.dtype, np.integer)
    if not is_integer and not np.issubdtype(pixels.dtype, np.floating):
        raise ImageError(f"an array holds bool, integers or floats, got {pixels.dtype}")
    low, high = float(pixels.min()), float(pixels.max())
    if is_integer:
        if high > 255 and pixels.dtype == np.uint16:
            return Image.fromarray(pixels if pixels.ndim == 2 else _bytes(pixels / 65535))
        if low < 0 or high > 255:
            raise ImageError(f"integers of an image lie in 0 … 255, got {low:.0f} to {high:.0f}")
        return Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise ImageError(f"floats of an image lie in [0, 1], got {low:g} to {high:g}")
    return Image.fromarray(pixels.astype(np.float32) if pixels.ndim == 2 else _bytes(pixels))


def _channels_last(values: ndarray) -> ndarray:
    """The shape (height, width), or (height, width, 3 or 4)."""
    channels = (1, 3, 4)
    if values.ndim == 3 and values.shape[0] in channels:
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] in channels:
        return values[..., 0] if values.shape[2] == 1 else values
    if values.ndim == 2:
        return values
    raise ImageError(
        "an array is (height, width), or has 1, 3 or 4 channels on its first or last axis, "
        f"got the shape {values.shape}"
    )


def _bytes(values: ndarray) -> ndarray:
    return np.asarray(np.rint(values * 255), dtype=np.uint8)


def to_grey(image: Image.Image) -> Grey:
    """Luminance of an image (ITU-R BT.601, with Pillow's weights).

    A transparent image is composited on black or white, whichever its visible part differs from.

    Args:
        image: A loaded image in one of the modes that `load_image` returns.

    Returns:
        float32 in [0, 1], at most 2047 pixels on a side: larger images are averaged down. A scan of
        at most 32 pixels that was enlarged is reduced to its original size.

    Raises:
        ImageError: If pixels are NaN or infinite.
    """
    return at_original_size(_luminance(image))


def _luminance(image: Image.Image) -> Grey:
    if image.mode == "I" or image.mode in _BIT_DEPTH_16:
        values = _reduced(image)
        return _stretched(values / (65535 if values.max() > 255 else 255))  # as in arrays
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
