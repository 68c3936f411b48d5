"""Random pixel styles: the same shapes with other pens, resolutions, grey values and backgrounds.

In the manner of RandConv (Xu et al. 2021, "Robust and Generalizable Visual Representation Learning
via Random Convolutions") and AugMix (Hendrycks et al. 2020), for one batch at once. The steps, each
applied to some of the images: stroke width, resolution, random convolution, curves drawn over the
image, random tone curves (one inside and one outside of random regions), a smooth field, noise.

None of them is a corruption of MNIST-C, but some overlap with one: tone curves with brightness and,
inside regions, with stripe; fields with fog; noise with shot and impulse noise; resolution with the
blurs; curves with the lines; convolutions and tone curves can leave little more than edges.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor
from torch.nn import functional as F

KERNEL = 5  # side of a random convolution
TONES = 6  # knots of a tone curve
OCTAVES = (2, 4, 7, 14, 28)  # knots along one side in each octave of a smooth field
REGION_KNOTS = 4
CURVES = 2
SIDES = (7, 8, 10, 12, 14, 16, 20)  # resolutions, for images of 28 pixels


class Style(NamedTuple):
    """The random numbers of a batch: of the `k` images at `positions`, which alone are changed."""

    positions: Int64[Tensor, " k"]
    width: Float[Tensor, " k"]
    side: Int64[Tensor, " k"]
    kernel: Float[Tensor, "k 5 5"]
    curves: Float[Tensor, "k curves 8"]
    tones: Float[Tensor, "k 2 tones"]
    regions: Float[Tensor, "k knots knots"]
    field: Float[Tensor, "k values"]
    noise: Float[Tensor, "k height width"]

    def part(self, start: int, stop: int) -> "Style":
        """The style of a slice of the batch."""
        inside = (self.positions >= start) & (self.positions < stop)
        part = Style(*(numbers[inside] for numbers in self))
        return part._replace(positions=part.positions - start)


def draw_style(
    probability: float, batch: int, size: tuple[int, int], generator: Generator
) -> Style:
    """Draw the random numbers of a batch.

    Args:
        probability: The probability that an image is changed.
        batch: Number of images.
        size: Their height and width, in pixels.
        generator: A generator on the CPU.

    Returns:
        The style, on the CPU.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(k, *shape, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(k, *shape, generator=generator)

    def chosen(share: float, *shape: int) -> Tensor:
        return (torch.rand(k, *shape, generator=generator) < share).float()

    positions = (torch.rand(batch, generator=generator) < probability).nonzero()[:, 0]
    k = len(positions)
    identity = torch.zeros(KERNEL, KERNEL)
    identity[KERNEL // 2, KERNEL // 2] = 1
    random = normal(KERNEL, KERNEL) * chosen(0.5, KERNEL, KERNEL) * uniform(0.2, 1.0, 1, 1)
    edges = random - random.mean(dim=(1, 2), keepdim=True)
    kernel = torch.where(chosen(0.4, 1, 1) > 0, edges, random + identity) * chosen(0.3, 1, 1)
    terms = normal(CURVES, 6) * torch.tensor([0.5, 1.0, 1.0, 0.5, 0.5, 0.5])
    half_width = chosen(0.2, CURVES, 1) * uniform(-1.0, 1.0, CURVES, 1).exp()
    paper, contrast = uniform(0, 1, 2, 1), uniform(0.3, 1.0, 2, 1)
    contrast = torch.where(uniform(0, 1, 2, 1) < paper, -contrast, contrast)
    knots = torch.linspace(0, 1, TONES)
    tones = paper + ((paper + contrast).clamp(0, 1) - paper) * knots
    tones = tones + chosen(0.3, 1, 1) * uniform(-0.3, 0.3, 2, TONES)
    tones = torch.where(chosen(0.5, 1, 1) > 0, tones, knots)
    tones = torch.where(chosen(0.3, 1, 1) > 0, tones, tones[:, :1])
    mix = chosen(0.35) * uniform(0, 0.75)
    visible = (tones[:, :, -1] - tones[:, :, 0]).abs().amin(1) * (1 - mix)
    deviation = chosen(0.35) * uniform(0, 0.4) * visible.clamp_min(0.2)
    decay = torch.tensor(OCTAVES).pow(-uniform(0.0, 1.2, 1))
    octaves = [normal(n * n) * decay[:, [i]] for i, n in enumerate(OCTAVES)]
    field = torch.cat([mix[:, None], *octaves], dim=1) * (mix > 0)[:, None]
    return Style(
        positions=positions,
        width=chosen(0.3) * uniform(-0.6, 1.0),
        side=(chosen(0.25) * uniform(1, len(SIDES) + 1)).long(),
        kernel=kernel,
        curves=torch.cat([terms, half_width, uniform(0, 1, CURVES, 1)], dim=-1) * (half_width > 0),
        tones=tones,
        regions=normal(REGION_KNOTS, REGION_KNOTS),
        field=field,
        noise=normal(*size) * deviation[:, None, None],
    )


def apply_style(
    images: Float[Tensor, "batch channels height width"], style: Style
) -> Float[Tensor, "batch channels height width"]:
    """Change the pixels of some images.

    Args:
        images: Pixels in [0, 1], before normalisation.
        style: Random numbers for as many images.

    Returns:
        New images of the same shape, type and device, with pixels in [0, 1].
    """
    if not len(style.positions):
        return images
    channels, size, index = images.shape[1], images.shape[2:], style.positions.to(images.device)
    style = Style(*(x.to(images.device).repeat_interleave(channels, 0) for x in style))
    x = _some(images[index].flatten(0, 1), style.width, _with_width)
    down, right = (_resolutions(pixels).to(x) for pixels in size)
    x = _some(x, style.side, lambda y, side: down[side] @ y @ right[side].transpose(1, 2))
    x = _some(x, style.kernel, _convolved)
    for curve in style.curves.unbind(1):
        x = _some(x, curve, _with_curve)
    x = _toned(x, style.tones.to(x), enlarged(style.regions.to(x), size) > 0)
    x = _some(x, style.field, _with_field)
    x = (x + style.noise.to(x)).clamp(0, 1)
    return images.index_copy(0, index, x.unflatten(0, (-1, channels)))


def _some(x: Tensor, numbers: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Change the images whose numbers are not all 0; the others take no time."""
    index = numbers.view(len(x), -1).any(1).nonzero()[:, 0]
    if not len(index):
        return x
    numbers = numbers[index]
    numbers = numbers.to(x) if numbers.is_floating_point() else numbers
    return x.index_copy(0, index, change(x[index], numbers))


def _with_width(x: Tensor, width: Tensor) -> Tensor:
    """Between grey erosion (-1), no change (0) and grey dilation (1), over 3 × 3 pixels."""
    width = width[:, None, None]
    extreme = F.pad(x * width.sign(), (1, 1, 1, 1), mode="replicate")
    for axis in (1, 2):
        n = x.shape[axis]
        first, *others = (extreme.narrow(axis, start, n) for start in range(3))
        extreme = torch.maximum(torch.maximum(first, others[0]), others[1])
    return x + width.abs() * (extreme * width.sign() - x)


@cache
def _resolutions(pixels: int) -> Float[Tensor, "sides pixels pixels"]:
    """Matrices that reduce an axis to each of `SIDES` and enlarge it again; first the identity."""
    identity = torch.eye(pixels)[None]
    small = [F.adaptive_avg_pool1d(identity, max(1, side * pixels // 28)) for side in SIDES]
    large = [F.interpolate(x, pixels, mode="linear")[0].T for x in small]
    return torch.stack([identity[0], *large])


def _convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """Each image with its own kernel; the absolute value, divided by its maximum."""
    padded = F.pad(x[None], [KERNEL // 2] * 4, mode="replicate")
    x = F.conv2d(padded, kernel[:, None], groups=len(x))[0].abs()
    return x / x.amax(dim=(1, 2), keepdim=True).clamp_min(0.1)


def _with_curve(x: Tensor, curve: Tensor) -> Tensor:
    """A quadratic curve drawn over each image; its distance is |value| / |gradient|."""
    height, width = x.shape[1:]
    down = torch.linspace(-1, 1, height).to(x)[:, None].expand(height, width)
    across = torch.linspace(-1, 1, width).to(x)[None].expand(height, width)
    one, zero = torch.ones_like(down), torch.zeros_like(down)
    value = torch.stack([one, across, down, across**2, across * down, down**2])
    slope_x = torch.stack([zero, one, zero, 2 * across, down, zero])
    slope_y = torch.stack([zero, zero, one, zero, across, 2 * down])
    f, fx, fy = (torch.tensordot(curve[:, :6], y, dims=1) for y in (value, slope_x, slope_y))
    distance = f.abs() / torch.hypot(fx, fy).clamp_min(1e-3) * (min(height, width) / 2)
    half_width, tone = curve[:, 6, None, None], curve[:, 7, None, None]
    cover: Tensor = (half_width + 0.5 - distance).clamp(0, 1)
    return x + cover * (tone - x)


def _toned(x: Tensor, tones: Tensor, inside: Tensor) -> Tensor:
    """Piecewise linear curves through `tones` at equidistant values of the pixels."""
    place = (x.clamp(0, 1) * (TONES - 1)).flatten(1)
    below = place.long().clamp_max(TONES - 2)
    knot = below + TONES * inside.flatten(1)
    low, high = tones.flatten(1).gather(1, knot), tones.flatten(1).gather(1, knot + 1)
    return (low + (high - low) * (place - below)).view_as(x).clamp(0, 1)


def _with_field(x: Tensor, numbers: Tensor) -> Tensor:
    """Mixed with a sum of octaves that is scaled to [0, 1]."""
    mix, *octaves = numbers.split([1, *(n * n for n in OCTAVES)], dim=1)
    grids = [y.unflatten(1, (n, n)) for y, n in zip(octaves, OCTAVES, strict=True)]
    field = torch.stack([enlarged(grid, x.shape[1:]) for grid in grids]).sum(0)
    low, high = field.amin(dim=(1, 2), keepdim=True), field.amax(dim=(1, 2), keepdim=True)
    change: Tensor = mix[:, :, None] * ((field - low) / (high - low) - x)
    return x + change


def enlarged(
    grids: Float[Tensor, "n rows columns"], size: torch.Size
) -> Float[Tensor, "n height width"]:
    """Bilinear interpolation with the outer knots on the outer pixels."""
    knots = grids.shape[1:]
    down, right = (_interpolation(*x).to(grids) for x in zip(knots, size, strict=True))
    return down @ grids @ right.T


@cache
def _interpolation(knots: int, pixels: int) -> Float[Tensor, "pixels knots"]:
    identity = torch.eye(knots)[None]
    return F.interpolate(identity, pixels, mode="linear", align_corners=True)[0].T
