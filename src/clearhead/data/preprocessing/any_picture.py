"""Whatever a person hands over as a picture, as a Pillow image or as luminance from 0 to 1."""

from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from PIL import Image
from torch import Tensor

from clearhead.data.preprocessing.decode import MAX_PIXELS, open_picture
from clearhead.errors import ImageError

Picture = str | Path | bytes | Image.Image | ndarray | Tensor


def as_picture(source: Picture) -> Image.Image:
    """A decoded picture; arrays are (height, width), (1, …) or (3, height, width).

    Their values are bytes (0 … 255) or floats from 0 (black) to 1 (white).
    """
    match source:
        case str() | Path():
            return open_picture(Path(source))
        case bytes() | bytearray() | memoryview():
            return open_picture(bytes(source))
        case Image.Image():
            return _decoded(source)
        case Tensor():
            return _from_array(source.detach().cpu().to(_numpy_type(source)).numpy())
        case ndarray():
            return _from_array(source)
    raise ImageError(
        "a picture is a path, bytes, a Pillow image, a numpy array or a tensor, "
        f"got {type(source).__name__}"
    )


def _decoded(image: Image.Image) -> Image.Image:
    if image.width * image.height > MAX_PIXELS or 0 in image.size:
        raise ImageError(
            f"this image has {image.width} × {image.height} pixels; give 1 to {MAX_PIXELS:,}"
        )
    try:
        image.load()
    except Exception as error:  # decoders raise what they like
        raise ImageError(f"this image cannot be decoded ({error})") from error
    return image


def _numpy_type(values: Tensor) -> torch.dtype:
    """Half precision that numpy lacks (bfloat16) becomes float32."""
    return torch.float32 if values.is_floating_point() else values.dtype


def _from_array(values: ndarray) -> Image.Image:
    shape = values.shape
    if values.ndim not in (2, 3) or (values.ndim == 3 and shape[0] not in (1, 3)):
        raise ImageError(
            f"an array is (height, width), (1, height, width) or (3, height, width), got {shape}"
        )
    if not 0 < shape[-2] * shape[-1] <= MAX_PIXELS:
        raise ImageError(f"an array of shape {shape} has not 1 to {MAX_PIXELS:,} pixels")
    grey = values.ndim == 2 or shape[0] == 1
    colours = values.reshape(shape[-2:]) if grey else values.transpose(1, 2, 0)
    if values.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(colours))
    if not np.issubdtype(values.dtype, np.floating):
        raise ImageError(f"an array holds bytes (uint8) or floats from 0 to 1, got {values.dtype}")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise ImageError(f"floats of a picture lie from 0 to 1, got {low:g} to {high:g}")
    if grey:
        return Image.fromarray(np.ascontiguousarray(colours, dtype=np.float32))
    return Image.fromarray(np.rint(colours * 255).astype(np.uint8))
