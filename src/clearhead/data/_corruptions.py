"""Fifteen corruptions of digits in the manner of MNIST-C, each for a whole batch at once.

Definitions and strengths follow Mu & Gilmer 2019, "MNIST-C: A Robustness Benchmark for Computer
Vision", arXiv 1906.02337 (several go back to Hendrycks & Dietterich 2019, arXiv 1903.12261). The
implementation is our own, so pixels differ from the published files: resampling is torch's bilinear
one, and where a definition depends on a library (motion blur, edges, fog) the docstring describes
the replacement. All random numbers come from the given generator.

Two follow the paper where the published files (github.com/google-research/mnist-c) do not. Glass
blur smooths both axes; the files were smoothed along columns only, because
`skimage.filters.gaussian` was called with `multichannel=True`. Shear keeps the height;
`skimage.transform.AffineTransform` of that time also stretched it by 1/cos(0.4) = 1.086.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy import ndimage
from torch import Generator, Tensor
from torch.nn import functional as F

from clearhead.errors import InputError, check_one_of

SIDE = 28
LINE_REACH = 2.3  # distance from its middle at which a line has faded out, in pixels
MAX_COUNT = 24  # a Poisson variable with a mean of 3 is larger with a probability of 1e-14
MAP_SIDE = 256  # of a plasma fractal
WINDOWS = 25  # images that share a plasma fractal

Images = Float[Tensor, "batch 1 28 28"]
"""Pixels from 0 (paper) to 1 (ink)"""


def corrupt(
    images: UInt8[Tensor, "batch 1 28 28"], name: str, generator: Generator
) -> UInt8[Tensor, "batch 1 28 28"]:
    """Corrupt a batch of digits.

    Args:
        images: Digits as bytes, light on dark.
        name: A key of `CORRUPTIONS`.
        generator: The source of all random numbers; the same seed gives the same images.

    Returns:
        New images.

    Raises:
        ConfigError: If there is no such corruption.
        InputError: If images have another type or shape.
    """
    check_one_of("a corruption", name, tuple(CORRUPTIONS))
    if images.dtype != torch.uint8 or images.shape[1:] != (1, SIDE, SIDE):
        raise InputError(
            f"corruptions are for bytes of shape (batch, 1, {SIDE}, {SIDE}), got {images.dtype} "
            f"of shape {tuple(images.shape)}"
        )
    corrupted = CORRUPTIONS[name](images.float() / 255, generator).clamp(0, 1)
    return (corrupted * 255).round().to(torch.uint8)


def shot_noise(images: Images, generator: Generator) -> Images:
    """Poisson counts with a mean of 3 for white.

    Found by inverting the distribution function, as `torch.poisson` draws more random numbers for
    brighter images, on which those of the next image would depend.
    """
    drawn, mean = torch.rand(images.shape, generator=generator), images * 3.0
    counts, term, below = torch.zeros_like(images), torch.exp(-mean), torch.zeros_like(images)
    for count in range(1, MAX_COUNT):
        below, term = below + term, term * mean / count
        counts += drawn >= below
    return counts / 3.0


def impulse_noise(images: Images, generator: Generator) -> Images:
    """17 % of all pixels set to black or white with equal probability."""
    drawn = torch.rand(images.shape, generator=generator)
    noisy = torch.where(drawn < 0.085, 1.0, images)
    return torch.where((drawn >= 0.085) & (drawn < 0.17), 0.0, noisy)


def glass_blur(images: Images, generator: Generator) -> Images:
    """Blurred, then half of the pixels swapped with one above and to the left, blurred again.

    That one is 0 or 1 pixels away on each axis. Pixels are visited from the last to the first, so
    that ink can travel; twice.
    """
    count = len(images)
    pixels = gaussian_blur(images, 0.7)[:, 0]
    every = torch.arange(count)
    for _ in range(2):
        steps = torch.randint(0, 2, (SIDE, SIDE, 2, count), generator=generator)
        moving = torch.rand(SIDE, SIDE, count, generator=generator) < 0.5
        for row in range(SIDE - 1, 0, -1):
            for column in range(SIDE - 1, 0, -1):
                up, left = steps[row, column] * moving[row, column]
                here = pixels[:, row, column].clone()
                pixels[:, row, column] = pixels[every, row - up, column - left]
                pixels[every, row - up, column - left] = here
    return gaussian_blur(pixels[:, None], 0.7)


def motion_blur(images: Images, generator: Generator) -> Images:
    """A mean along a line from each pixel at a random angle, weighted by half a Gaussian.

    The line has 21 samples, one pixel apart, as in ImageMagick.
    """
    angles = math.radians(45.0) * (2 * torch.rand(len(images), generator=generator) - 1)
    weights = torch.exp(-0.5 * (torch.arange(21) / 3.0) ** 2)
    blurred = torch.zeros_like(images)
    for step, weight in enumerate(weights / weights.sum()):
        shift = step * angles.cos(), step * angles.sin()
        blurred += weight * _warped(images, _affine(1.0, 0.0, 0.0, 1.0, shift))
    return blurred


def shear(images: Images, generator: Generator) -> Images:
    """Each row shifted by 0.4 pixels per row from the middle, to a random side."""
    return _warped(images, _affine(1.0, 0.4 * _signs(len(images), generator), 0.0, 1.0))


def scale(images: Images, generator: Generator) -> Images:
    """Shrunk to 0.7 about the middle; not random."""
    return _warped(images, _affine(torch.full((len(images),), 1 / 0.7), 0.0, 0.0, 1 / 0.7))


def rotate(images: Images, generator: Generator) -> Images:
    """Rotated about the middle by 0.4 radians in a random direction."""
    angles = 0.4 * _signs(len(images), generator)
    return _warped(images, _affine(angles.cos(), -angles.sin(), angles.sin(), angles.cos()))


def brightness(images: Images, generator: Generator) -> Images:
    """0.5 added to every pixel; not random."""
    return images + 0.5


def translate(images: Images, generator: Generator) -> Images:
    """Shifted by 3 pixels along both axes in random directions."""
    shift = 3.0 * _signs(len(images), generator), 3.0 * _signs(len(images), generator)
    return _warped(images, _affine(1.0, 0.0, 0.0, 1.0, shift))


def stripe(images: Images, generator: Generator) -> Images:
    """Inverted in a stripe of 7 columns on the left and one on the right; not random."""
    corrupted = images.clone()
    for columns in (slice(None, 7), slice(SIDE - 7, None)):
        corrupted[..., columns] = 1 - corrupted[..., columns]
    return corrupted


def fog(images: Images, generator: Generator) -> Images:
    """A plasma fractal times 3 added, then rescaled to [0, 1].

    Each image gets its own window of a periodic map of 256 × 256; `WINDOWS` images share a map,
    where the published files have a map for each.
    """
    count = len(images)
    maps = diamond_square(-(-count // WINDOWS), generator)[torch.arange(count) // WINDOWS]
    corners = torch.randint(0, MAP_SIDE, (count, 2, 1), generator=generator)
    rows, columns = ((corners + torch.arange(SIDE)) % MAP_SIDE).unbind(1)
    windows = maps[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    return (images + 3.0 * windows[:, None]) * brightest / (brightest + 3.0)


def spatter(images: Images, generator: Generator) -> Images:
    """Drops of mud: dark grey where smoothed noise exceeds a threshold."""
    liquid = 0.65 + 0.3 * torch.randn(images.shape, generator=generator)
    drops = (gaussian_blur(liquid, 1.0) > 0.65).float()
    mud = gaussian_blur(drops, 1.5)
    mud = torch.where(mud < 0.8, 0.0, mud)
    return images * (1 - mud) + 63 / 255 * mud


def dotted_line(images: Images, generator: Generator) -> Images:
    """A dashed line from edge to edge, two columns on and two off."""
    ends = torch.randint(0, SIDE - 1, (2, len(images)), generator=generator).float()
    first, last = torch.zeros(len(images)), torch.full((len(images),), SIDE - 1.0)
    line = _segment(first, ends[0], last, ends[1])
    return images + (line * (torch.arange(SIDE) // 2 % 2 == 1))[:, None]


def zigzag(images: Images, generator: Generator) -> Images:
    """A zigzag of six peaks, 2 pixels high and wide, along a nearly horizontal line."""
    count, size, left, right = len(images), 2.0, 2.0, 25.0
    start = torch.randint(0, SIDE - 1, (count,), generator=generator).float()
    angles = (torch.randint(-5, 5, (count,), generator=generator).float() / (right - left)).arctan()
    peaks = torch.arange(int(((right - left) - size) // (2 * size)) + 1)[:, None]
    ends = torch.zeros(1, count), ((right - left) / angles.cos())[None]
    along = torch.cat([ends[0], ((2 * peaks + 1) * size).expand(-1, count), ends[1]])
    away = torch.cat([ends[0], ((-1.0) ** peaks * size).expand(-1, count), ends[0]])
    columns = left + along * angles.cos() - away * angles.sin()
    rows = start + along * angles.sin() + away * angles.cos()
    for line in zip(columns, rows, columns[1:], rows[1:], strict=False):
        images = (images + _segment(*line)[:, None]).clamp(0, 1)
    return images


def canny_edges(images: Images, generator: Generator) -> Images:
    """The edges alone (Canny 1986, "A Computational Approach to Edge Detection"), one pixel wide.

    Gaussian, Sobel, non-maximum suppression in four directions, and hysteresis between 0.1 and 0.2;
    not random.
    """
    smooth = gaussian_blur(images, 1.0)[:, 0].double().numpy()
    down, across = _sobel(smooth, 1, 2), _sobel(smooth, 2, 1)
    strength = np.hypot(down, across)
    thin = np.where(_local_maxima(strength, down, across), strength, 0.0)
    neighbours = np.ones((1, 3, 3), dtype=bool)
    edges = ndimage.binary_propagation(thin > 0.2, structure=neighbours, mask=thin > 0.1)
    return torch.from_numpy(edges).float()[:, None]


_FUNCTIONS = (
    *(shot_noise, impulse_noise, glass_blur, motion_blur, shear, scale, rotate, brightness),
    *(translate, stripe, fog, spatter, dotted_line, zigzag, canny_edges),
)
CORRUPTIONS: Mapping[str, Callable[[Images, Generator], Images]] = MappingProxyType(
    {function.__name__.replace("_", " "): function for function in _FUNCTIONS}
)


def gaussian_blur(images: Images, sigma: float) -> Images:
    """Each image convolved with a Gaussian of `sigma` pixels; the border is repeated outside."""
    blurred = ndimage.gaussian_filter(images.double().numpy(), (0, 0, sigma, sigma), mode="nearest")
    return torch.from_numpy(blurred).to(images)


def diamond_square(count: int, generator: Generator) -> Float[Tensor, "count 256 256"]:
    """Periodic plasma fractals in [0, 1] (Fournier, Fussell & Carpenter 1982).

    The middle of every square and then of every diamond is the mean of its four neighbours plus
    uniform noise of ± roughness, which is divided by 1.4² whenever squares are halved (squared,
    because the published files apply the decay of 1.4 both to the noise and to its factor).
    """
    heights = torch.zeros(count, MAP_SIDE, MAP_SIDE)
    step, roughness = MAP_SIDE, 1.0

    def middle(*neighbours: Tensor) -> Tensor:
        noise = 2 * torch.rand(neighbours[0].shape, generator=generator) - 1
        return torch.stack(neighbours).mean(dim=0) + roughness * noise

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        below, right = corners.roll(-1, 1), corners.roll(-1, 2)
        centres = middle(corners, below, right, below.roll(-1, 2))
        heights[:, half::step, half::step] = centres
        heights[:, ::step, half::step] = middle(corners, right, centres, centres.roll(1, 1))
        heights[:, half::step, ::step] = middle(corners, below, centres, centres.roll(1, 2))
        step, roughness = half, roughness / 1.4**2
    lowest, highest = heights.amin(dim=(1, 2), keepdim=True), heights.amax((1, 2), keepdim=True)
    return (heights - lowest) / (highest - lowest)


def _signs(count: int, generator: Generator) -> Float[Tensor, " batch"]:
    return 2.0 * torch.randint(0, 2, (count,), generator=generator) - 1.0


def _affine(
    xx: Tensor | float,
    xy: Tensor | float,
    yx: Tensor | float,
    yy: Tensor | float,
    shift: tuple[Tensor | float, Tensor | float] = (0.0, 0.0),
) -> Float[Tensor, "batch 2 3"]:
    """Source coordinates of each pixel, about the middle; shifts (right, down) in pixels."""
    numbers = (xx, xy, 2 / SIDE * shift[0], yx, yy, 2 / SIDE * shift[1])
    flat = torch.broadcast_tensors(*map(torch.as_tensor, numbers))
    return torch.stack(flat, dim=1).view(-1, 2, 3)


def _warped(images: Images, affine: Float[Tensor, "batch 2 3"]) -> Images:
    grid = F.affine_grid(affine.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _segment(
    left: Tensor, start: Tensor, right: Tensor, end: Tensor
) -> Float[Tensor, "batch 28 28"]:
    """A line between two points (columns and rows); ink 1 + ln(1 - d / reach) at distance d."""
    places = torch.arange(SIDE, dtype=start.dtype)
    slope = (end - start) / (right - left)
    heights = start[:, None] + slope[:, None] * (places - left[:, None])
    apart = (places[:, None] - heights[:, None, :]).abs().clamp_max(LINE_REACH - 1e-6)
    ink = (1 + torch.log1p(-apart / LINE_REACH)).clamp(0, 1)
    inside = (places >= left.floor()[:, None]) & (places < right.ceil()[:, None])
    return ink * inside[:, None, :]


def _sobel(images: np.ndarray, axis: int, other: int) -> np.ndarray:
    """The derivative along an axis; `ndimage.sobel` would also smooth along the batch."""
    change = ndimage.correlate1d(images, (-1, 0, 1), axis, mode="constant")
    return np.asarray(ndimage.correlate1d(change, (1, 2, 1), other, mode="constant"))


def _local_maxima(strength: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Non-maximum suppression: gradients no smaller than both neighbours' along their direction."""
    eighth = np.round(np.arctan2(down, across) / (np.pi / 4)).astype(int) % 4
    ridge = np.zeros(strength.shape, dtype=bool)
    for direction, (row, column) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = ndimage.shift(strength, (0, -row, -column), order=0, mode="constant")
        behind = ndimage.shift(strength, (0, row, column), order=0, mode="constant")
        ridge |= (eighth == direction) & (strength >= ahead) & (strength >= behind)
    return ridge
