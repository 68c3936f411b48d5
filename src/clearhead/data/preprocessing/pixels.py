"""Arithmetic on the pixels of an image and on masks."""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import ndimage

Grey = Float[ndarray, "height width"]
Mask = Bool[ndarray, "height width"]

MIN_SHARE = 0.375  # of `side` in `downsample`, for the shorter side
EIGHT = np.ones((3, 3), dtype=bool)  # neighbours of a pixel


def stroke_width(mask: Mask) -> float:
    """The mean width of the strokes in a mask."""
    # In a band of width w, the mean distance to the nearest pixel outside is (w + 2) / 4.
    return 4 * float(ndimage.distance_transform_edt(mask)[mask].mean()) - 2


def closing(
    grey: Float[ndarray, "*images height width"], share: float
) -> Float[ndarray, "*images height width"]:
    """The grey closing by a square. Pixels beyond the border count as dark."""
    window = max(3, round(share * max(grey.shape[-2:])) | 1)
    closed = padded(grey, window - 1)
    for ufunc in (np.maximum, np.minimum):
        closed = in_square(closed, window, ufunc)
    return closed


def near(mask: Mask, reach: int) -> Mask:
    """What is at most `reach` pixels away along each axis (dilation by a square)."""
    return in_square(padded(mask, reach), 2 * reach + 1, np.logical_or)


def padded(values: ndarray, width: int) -> ndarray:
    """The values with zeros around the last two axes; `np.pad` takes several times as long."""
    *images, high, wide = values.shape
    larger = np.zeros((*images, high + 2 * width, wide + 2 * width), dtype=values.dtype)
    larger[..., width:-width, width:-width] = values
    return larger


def in_square(values: ndarray, window: int, ufunc: np.ufunc) -> ndarray:
    """The extremum in each square of `window` × `window` pixels."""
    across = sliding(values, window, ufunc).swapaxes(-1, -2)
    return sliding(across, window, ufunc).swapaxes(-1, -2)


def sliding(values: ndarray, window: int, ufunc: np.ufunc) -> ndarray:
    """The extremum of each `window` successive columns, from windows of 1, 2, 4, … columns."""
    size = 1
    while size < window:
        step = min(size, window - size)
        values = ufunc(values[..., :-step], values[..., step:])
        size += step
    return values


def quantile(ordered: Float[ndarray, " pixels"], share: float) -> float:
    """A quantile of sorted values, without interpolation."""
    return float(ordered[round(share * (len(ordered) - 1))])


def reduction(shape: tuple[int, ...], side: int) -> int:
    """The factor by which `downsample` reduces an image of this shape."""
    return max(1, min(max(shape) // side, int(min(shape) / (MIN_SHARE * side))))


def downsample(values: Grey, side: int) -> Grey:
    """Averages over squares of pixels, so that the longer side is `side` to twice that.

    It remains longer if the shorter side would have too few pixels, as in a line of text.
    """
    factor = reduction(values.shape, side)
    if factor == 1:
        return values
    pad = [(0, -length % factor) for length in values.shape]
    padded = np.pad(values, pad, mode="edge") if any(map(any, pad)) else values
    high, wide = (length // factor for length in padded.shape)
    rows = padded.reshape(high, factor, wide * factor).sum(axis=1)
    return np.asarray(rows.reshape(high, wide, factor).sum(axis=2) / np.float32(factor**2))


def median(values: Float[ndarray, " values"] | Int[ndarray, " values"]) -> float:
    """The median; NumPy's takes several times as long for few values."""
    ordered = np.sort(values)
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


def side_length(side: slice) -> int:
    """The length of one side of a box."""
    return int(side.stop - side.start)


def cropped(values: ndarray) -> ndarray:
    """The values within the bounding box of all that is not 0."""
    return values[box_of(values)]


def box_of(values: ndarray) -> tuple[slice, slice]:
    """Rows and columns of the bounding box of all that is not 0."""
    filled = values if values.dtype == bool else values != 0
    rows, columns = (np.asarray(filled.any(axis=axis)) for axis in (1, 0))
    return _span(rows), _span(columns)


def _span(filled: Bool[ndarray, " length"]) -> slice:
    return slice(int(filled.argmax()), len(filled) - int(filled[::-1].argmax()))
