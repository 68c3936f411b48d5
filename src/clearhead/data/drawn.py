"""Digits drawn from stroke skeletons, in the forms of several countries and pens.

MNIST has hardly any European 1 with an upstroke, 7 with a bar, open 4, flat-topped 3 or 9 with a
straight stem. Here each form is a skeleton of control points; a drawing moves them at random,
interpolates them by Catmull-Rom splines (Catmull & Rom 1974), draws with a random round pen, and is
placed by MNIST's rule: a box of 20 pixels, its centre of mass in the middle.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Generator, Tensor

from clearhead.data.image_dataset import ImageDataset
from clearhead.data.preprocessing.scaling import CENTRE, INK_SIDE, SIDE

JITTER = 0.35  # standard deviation of the control points, in units of a skeleton
CHUNK = 128  # drawings at once
SPACING = 0.25  # of the discs that make up a line, in units of a skeleton
CATMULL_ROM = ((0.0, 2, 0, 0), (-1, 0, 1, 0), (2, -5, 4, -1), (-1, 3, -3, 1))
"""Twice the coefficients of 1, t, t² and t³, for the four control points around a piece"""

DIGITS = [
    digit.split("|")
    for digit in """
50 21 05 28 59 78 95 71 50 | 70 30 05 29 69 95 80 40 | 50 05 59 95 50 / 81 18 ;
50 54 59 | 50 54 49 | 13 60 / 60 59 | 05 60 / 60 59 | 32 50 / 50 59 / 29 89 |
    14 60 / 60 59 / 29 99 | 32 50 / 50 59 | 23 50 / 50 59 | 22 50 / 50 59 | 12 50 / 50 59 |
    22 42 50 / 50 59 | 12 41 50 / 50 59 / 29 79 ;
13 30 70 82 64 19 / 19 99 | 13 41 81 74 47 18 / 18 48 99 | 13 41 81 74 38 18 07 26 48 98 ;
12 40 80 83 44 / 44 86 88 49 17 | 10 80 / 80 44 / 44 85 87 59 18 | 10 80 / 80 45 75 87 59 19 ;
20 05 / 05 95 / 72 79 | 20 13 15 95 / 80 79 | 60 06 / 06 96 / 60 69 | 70 06 / 06 96 / 70 79 |
    10 14 36 75 / 80 79 | 05 60 / 05 95 / 60 69 ;
90 20 / 20 14 / 14 54 86 78 49 18 | 20 14 / 14 54 86 78 49 18 / 20 90 | 80 30 12 34 65 87 59 18 ;
70 32 06 28 59 87 75 45 16 | 60 15 28 59 87 65 35 16 | 70 17 / 17 35 75 87 59 28 17 |
    82 60 30 12 05 18 49 69 87 85 64 44 15 ;
00 90 / 90 39 | 01 90 63 39 | 00 90 / 90 39 / 25 75 | 02 00 / 00 90 / 90 39 |
    02 00 / 00 90 63 49 / 25 85 ;
80 40 12 34 65 87 59 28 16 44 82 80 | 50 22 44 72 50 / 44 16 59 86 44 |
    82 50 12 34 76 78 49 17 35 82 ;
82 50 12 24 55 82 / 82 79 | 82 50 12 24 55 82 86 59 28 | 82 50 12 24 55 82 / 82 49 |
    81 40 12 24 54 81 / 81 77 59 18 | 17 39 69 87 94 81 50 30 12 14 35 55 84
""".split(";")
]
"""The forms of each digit: strokes separated by "/", each a row of points "xy", 0 … 9 from the top
left. Strokes that share a point stay joined there."""


def drawn_digits(count: int, seed: int = 0) -> ImageDataset:
    """Draw digits with random forms, pens and writers.

    Args:
        count: Number of images; labels and forms are drawn uniformly.
        seed: Another seed gives other images.

    Returns:
        Images of 28 × 28 pixels as in MNIST, and their labels.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (count,), generator=generator)
    numbers = torch.tensor([len(forms) for forms in DIGITS])
    chosen = (torch.rand(count, generator=generator) * numbers[labels]).long()
    chosen += (numbers.cumsum(0) - numbers)[labels]
    images = draw_forms([form for forms in DIGITS for form in forms], chosen, generator)
    return ImageDataset("drawn digits", images, labels, tuple("0123456789"))


def draw_forms(
    forms: Sequence[str], chosen: Int64[Tensor, " n"], generator: Generator
) -> UInt8[Tensor, "n 1 28 28"]:
    """Draw the forms with the numbers in `chosen`, written as in `DIGITS`, each in its own way."""
    images = torch.zeros(len(chosen), 1, SIDE, SIDE, dtype=torch.uint8)
    for number in chosen.unique().tolist():
        here = (chosen == number).nonzero()[:, 0]
        images[here] = _drawn(forms[number], len(here), generator)
    return images


def _drawn(form: str, count: int, generator: Generator) -> UInt8[Tensor, "count 1 28 28"]:
    strokes = [stroke.split() for stroke in form.split("/")]
    names = sorted({name for stroke in strokes for name in stroke})
    points = torch.tensor([[float(name[0]), float(name[1])] for name in names])
    curve = spline([[names.index(name) for name in stroke] for stroke in strokes], points)
    moved = points + JITTER * torch.randn(count, *points.shape, generator=generator)
    slant, turn = (torch.randn(count, 1, generator=generator) * sd for sd in (0.22, 0.1))
    stretch = torch.exp(0.2 * torch.randn(count, 1, generator=generator) - 0.25)
    x, y = moved.sub(4.5).unbind(-1)
    x = stretch * x - (slant + 0.1) * y
    turned = torch.stack([x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos()], -1)
    return draw_curves(torch.einsum("pc,ncd->npd", curve, turned), generator)


def spline(
    strokes: Sequence[Sequence[int]], points: Float[Tensor, "controls 2"]
) -> Float[Tensor, "discs controls"]:
    """A matrix from control points to equally many points on every unit of the curves.

    Args:
        strokes: The numbers of each stroke's control points.
        points: Where the control points usually are.
    """
    rows = []
    for stroke in strokes:
        for number in range(len(stroke) - 1):
            ends = [stroke[max(number - 1, 0)], *stroke[number : number + 2]]
            ends.append(stroke[min(number + 2, len(stroke) - 1)])
            length = float((points[ends[2]] - points[ends[1]]).norm())
            t = torch.arange(0, 1, SPACING / max(length, SPACING))[:, None]
            weights = t.pow(torch.arange(4)) @ torch.tensor(CATMULL_ROM) / 2
            row = torch.zeros(len(t), len(points))
            rows.append(row.index_add(1, torch.tensor(ends), weights))
        rows.append(torch.eye(len(points))[stroke[-1:]])
    return torch.cat(rows)


def draw_curves(
    curves: Float[Tensor, "count discs 2"], generator: Generator
) -> UInt8[Tensor, "count 1 28 28"]:
    """Draw curves with random pens, placed by MNIST's rule.

    Args:
        curves: Points (x, y) on the curves, dense and in any unit.
        generator: The source of all random numbers.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(len(curves), *shape, generator=generator)

    radius = (1.15 * torch.exp(0.35 * normal(1))).clamp(0.45, 2.6)
    low, high = curves.amin(1), curves.amax(1)
    scale = (INK_SIDE - 2 * radius) / (high - low).amax(1, keepdim=True).clamp_min(1e-3)
    shift = CENTRE - scale * curves.mean(1)
    shift = torch.maximum(shift, radius - scale * low)
    shift = torch.minimum(shift, SIDE - 1 - radius - scale * high)
    curves = curves * scale[:, None] + shift[:, None]
    wave = torch.linspace(0, 6, curves.shape[1]) * torch.rand(len(curves), 1, generator=generator)
    radii = radius * (1 + 0.2 * (wave + 6 * normal(1)).sin())
    softness = 0.7 + 0.5 * torch.rand(len(curves), 1, 1, 1, generator=generator)
    peak = 1 - 0.25 * torch.rand(len(curves), 1, 1, 1, generator=generator) ** 2
    parts = zip(*(x.split(CHUNK) for x in (curves, radii)), strict=True)
    ratio = torch.cat([_nearest(*part) for part in parts])
    ink = ((1 - ratio) * radius[:, :, None, None] / softness + 0.5).clamp(0, 1) * peak
    return (ink * 255).round().to(torch.uint8)


def _nearest(
    curves: Float[Tensor, "count discs 2"], radii: Float[Tensor, "count discs"]
) -> Float[Tensor, "count 1 28 28"]:
    """Each pixel's smallest distance from a disc's centre, in units of the disc's radius."""
    axis = torch.arange(float(SIDE))
    pixels = torch.cartesian_prod(axis, axis).flip(1)
    square = (pixels**2).sum(1, keepdim=True)
    left = torch.cat([square, pixels, torch.ones_like(square)], dim=1)
    right = torch.cat(
        [torch.ones_like(radii)[..., None], -2 * curves, (curves**2).sum(-1, keepdim=True)], dim=-1
    )
    distance = left @ (right / radii[..., None] ** 2).transpose(1, 2)
    return distance.amin(-1).clamp_min(0).sqrt().view(-1, 1, SIDE, SIDE)
