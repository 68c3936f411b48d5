"""Generated images that show no digit, or more than one, for outlier exposure.

A classifier trained to give them the uniform distribution (Hendrycks et al. 2019, "Deep Anomaly
Detection with Outlier Exposure") has a low confidence on images unlike its training data.
Characters that look like a digit in some handwriting (O, l, S, Z, B, g, q, …) are left out.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import ImageFont
from torch import Generator, Tensor
from torch.nn import functional as F

from clearhead.data.drawn import draw_curves, draw_forms, spline
from clearhead.data.image_dataset import ImageDataset
from clearhead.data.preprocessing.scaling import CENTRE, INK_SIDE, SIDE
from clearhead.data.styles import enlarged

FORMS = """
09 40 99 / 25 75 | 10 19 / 10 80 / 15 65 / 19 89 | 10 19 / 10 80 / 15 65 | 10 19 / 80 89 / 15 85 |
10 19 / 80 14 / 14 89 | 10 19 99 | 09 10 55 80 99 | 09 10 / 10 89 / 89 80 |
10 19 / 10 60 82 64 14 | 10 19 / 10 60 82 64 14 / 44 89 | 00 90 / 50 59 | 10 17 49 87 80 |
00 49 90 | 00 29 40 69 90 | 00 99 / 90 09 | 00 45 90 / 45 49 | 82 50 11 05 18 59 87 |
80 87 59 27 / 50 99 | 83 50 13 17 59 87 / 82 88 99 |
80 89 / 85 54 26 39 69 87 | 15 85 73 43 15 28 59 88 | 50 30 29 / 04 64 | 10 19 / 15 54 75 79 |
10 19 / 75 16 / 36 79 | 04 09 / 05 24 49 / 45 64 84 99 | 13 19 / 15 43 74 79 |
13 19 / 14 54 76 58 17 | 13 19 / 15 43 74 | 40 48 69 / 14 74 | 13 17 48 77 / 73 79 | 13 49 83 |
13 89 / 83 19 | 40 49 / 05 95 | 05 95 | 03 93 / 07 97 | 20 19 / 60 59 / 03 93 / 06 96 |
04 37 90 | 41 49 / 10 99 / 09 90 | 00 90 / 90 99 / 99 09 / 09 00 | 00 09 / 09 99 / 99 90 |
00 09 / 00 90 | 90 99 / 09 99 | 40 99 / 99 09 / 09 40 | 01 91 / 05 95 / 09 99 |
10 19 / 50 59 / 90 99 / 01 91 / 05 95 | 30 39 / 70 79 / 02 92 / 07 97 | 02 92 / 07 97 |
20 29 / 70 79 | 12 30 62 54 46 / 48 49 | 49 03 20 43 70 93 49 |
05 95 / 62 95 68 | 50 59 / 13 50 83 | 00 90 99 09 00 / 05 95 | 03 23 50 53 / 53 93 / 93 99 |
00 20 09 29 / 70 90 79 99
""".split("|")
"""Letters, symbols, boxes and rules as skeletons (see `drawn.DIGITS`)."""
CHARACTERS = (
    'ACDEFHJKLMNPQRTUVWXYacdefhijkmnprtuvwxy#$%&@*+=?<>{}[]~^-:;"ÄÉÑÜßäéñ£€§¶ΓΔΘΛΞΠΣΦΨΩβδλμπφψω'
)
FONTS = (
    "DejaVuSans DejaVuSerif DejaVuSansMono STIXGeneral STIXGeneralItalic STIXGeneralBol "
    "DejaVuSans-Bold DejaVuSans-Oblique DejaVuSerif-Bold DejaVuSerif-Italic DejaVuSansMono-Bold"
).split()
"""Characters and fonts of printed examples; the fonts come with Matplotlib."""

MAX_DOWN = 4  # of one of two digits that touch, in pixels
SQUARE = torch.Size((SIDE, SIDE))

Images = Float[Tensor, "n 1 28 28"]


def non_digits(count: int, digits: ImageDataset, seed: int = 0) -> UInt8[Tensor, "n 1 28 28"]:
    """Generate images without a digit, or with several.

    Args:
        count: Number of images, about as many of each kind: drawn letters, symbols and rules;
            printed characters; scribbles; several digits, apart and touching; parts of digits, and
            digits upside down; textures; filled shapes.
        digits: Digits of 28 × 28 pixels, for those kinds that are made from them.
        seed: Another seed gives other images.

    Returns:
        `count` images in random order, with pixels from 0 (black) to 255.
    """
    generator = torch.Generator().manual_seed(seed)
    shares = [count * (n + 1) // len(KINDS) - count * n // len(KINDS) for n in range(len(KINDS))]
    parts = [kind(n, digits, generator) for kind, n in zip(KINDS, shares, strict=True) if n]
    images = torch.cat(parts or [torch.empty(0, 1, SIDE, SIDE)])
    return (images * 255).round().to(torch.uint8)[torch.randperm(count, generator=generator)]


def placed(images: Float[Tensor, "n 1 height width"]) -> Images:
    """Images placed by MNIST's rule: a box of 20 pixels, the centre of mass in the middle."""
    height, width = images.shape[2:]
    size = torch.tensor([width, height])
    ink = [(images > 0.15).any(axis)[:, 0].float() for axis in (2, 3)]
    low = torch.stack([x.argmax(1) for x in ink], 1)
    high = size - torch.stack([x.flip(1).argmax(1) for x in ink], 1)
    mass = [images.sum(axis)[:, 0] + 1e-6 for axis in (2, 3)]
    middle = torch.stack([(x @ torch.arange(float(x.shape[1]))) / x.sum(1) for x in mass], 1)
    scale = (high - low).amax(1, keepdim=True) / INK_SIDE
    first = middle - scale * CENTRE  # what becomes the first pixel
    first = torch.minimum(torch.maximum(first, high - 1 - scale * (SIDE - 1)), low)
    centre = (first + scale * (SIDE - 1) / 2 + 0.5) * 2 / size - 1
    theta = torch.zeros(len(images), 2, 3)
    theta[:, [0, 1], [0, 1]] = scale * SIDE / size
    theta[:, :, 2] = centre
    reduced = F.avg_pool2d(images, 2) if min(height, width) >= 2 * SIDE else images
    grid = F.affine_grid(theta, [len(images), 1, SIDE, SIDE], align_corners=False)
    return F.grid_sample(reduced, grid, align_corners=False)


def _forms(count: int, digits: ImageDataset, generator: Generator) -> Images:
    return draw_forms(FORMS, _any(len(FORMS), count, generator), generator) / 255


def _printed(count: int, digits: ImageDataset, generator: Generator) -> Images:
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [ImageFont.truetype(str(folder / f"{name}.ttf"), 40) for name in FONTS]
    canvas = np.zeros((count, 1, 2 * SIDE, 2 * SIDE), dtype=np.float32)
    picks = torch.randint(0, len(fonts) * len(CHARACTERS), (count,), generator=generator)
    for image, pick in zip(canvas, picks.tolist(), strict=True):
        mask = fonts[pick % len(fonts)].getmask(CHARACTERS[pick // len(fonts)], "L")
        glyph = np.asarray(mask, dtype=np.float32).reshape(mask.size[::-1])[: 2 * SIDE, : 2 * SIDE]
        image[0, : glyph.shape[0], : glyph.shape[1]] = glyph / 255
    return placed(torch.from_numpy(canvas))


def _scribbles(count: int, digits: ImageDataset, generator: Generator) -> Images:
    images = []
    for number, part in enumerate(torch.arange(count).tensor_split(8)):
        controls = 5 + 2 * number
        points = 9 * torch.rand(len(part), controls, 2, generator=generator)
        if number % 2:  # neighbouring points are near to each other
            points = (points - 4.5).cumsum(1)
        curve = spline([range(controls)], 4 * torch.randn(controls, 2, generator=generator))
        images.append(draw_curves(torch.einsum("pc,ncd->npd", curve, points), generator) / 255)
    return torch.cat(images)


def _several(count: int, digits: ImageDataset, generator: Generator) -> Images:
    """Two digits side by side, one above the other, or overlapping; three side by side."""
    chosen = digits.images[_any(len(digits), 3 * count, generator)].view(3, count, SIDE, SIDE) / 255
    canvas = torch.zeros(count, 1, 3 * SIDE, 3 * SIDE)
    steps = torch.randint(20, 26, (count, 2), generator=generator)
    kind = torch.randint(0, 5, (count,), generator=generator)
    for index, (across, down) in enumerate(steps.tolist()):
        x, y = ((across, 0), (0, down), (across, down // 4), (across // 2, down // 2), (0, down))[
            int(kind[index])
        ]
        for number in range(3 if kind[index] == 0 else 2):
            area = canvas[index, 0, y * number : y * number + SIDE, x * number : x * number + SIDE]
            torch.maximum(area, chosen[number, index], out=area)
    return placed(canvas)


def _touching(count: int, digits: ImageDataset, generator: Generator) -> Images:
    """Two digits side by side, moved together until their ink touches or overlaps a little."""
    chosen = digits.images[_any(len(digits), 2 * count, generator)].view(2, count, SIDE, SIDE) / 255
    downs = torch.randint(0, 2 * MAX_DOWN + 1, (count,), generator=generator).tolist()
    overlaps = torch.randint(0, 4, (count,), generator=generator)
    lefts, rights = chosen.new_zeros(2, count, SIDE + 2 * MAX_DOWN, SIDE)
    lefts[:, MAX_DOWN:-MAX_DOWN] = chosen[0]
    for right, digit, down in zip(rights, chosen[1], downs, strict=True):
        right[down : down + SIDE] = digit
    columns = torch.arange(SIDE)
    lasts = torch.where(lefts > 0.4, columns, -SIDE).amax(2)
    firsts = torch.where(rights > 0.4, columns, 2 * SIDE).amin(2)
    steps = ((lasts - firsts).amax(1) + 1 - overlaps).clamp(0, SIDE).tolist()
    canvas = F.pad(lefts, (0, SIDE))
    for area, right, step in zip(canvas, rights, steps, strict=True):
        torch.maximum(area[:, step : step + SIDE], right, out=area[:, step : step + SIDE])
    return placed(canvas[:, None])


def _parts(count: int, digits: ImageDataset, generator: Generator) -> Images:
    """Sections of enlarged digits, and 3 and 4 upside down."""
    turned = count // 3
    these = (digits.labels[:, None] == torch.tensor([3, 4])).any(1).nonzero()[:, 0]
    upside_down = digits.images[these[_any(len(these), turned, generator)]].flip(2, 3) / 255
    images = digits.images[_any(len(digits), count - turned, generator)] / 255
    zoom = 0.25 + 0.2 * torch.rand(len(images), 1, generator=generator)
    centre = 0.9 * torch.rand(len(images), 2, generator=generator) - 0.45
    theta = torch.cat([zoom[:, :, None] * torch.eye(2), centre[:, :, None]], 2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return torch.cat([F.grid_sample(images, grid, align_corners=False), upside_down])


def _textures(count: int, digits: ImageDataset, generator: Generator) -> Images:
    """Smooth fields, blots and gratings, half of them placed as a digit would be."""
    knots = (3, 5, 8, 14, 28)
    parts = torch.arange(count).tensor_split(len(knots))
    grids = [
        torch.randn(len(p), n, n, generator=generator) for p, n in zip(parts, knots, strict=True)
    ]
    fields = torch.cat([enlarged(grid, SQUARE) for grid in grids])
    gain, kind, offset, across, down = torch.randn(5, count, 1, 1, generator=generator)
    axis = 12 * torch.linspace(-1, 1, SIDE)
    gratings = (across * axis + down * axis[:, None]).sin()
    images = (gain.exp() * torch.where(kind > 0.5, gratings, fields) + offset).sigmoid()[:, None]
    return torch.cat([images[::2], placed(images[1::2])])


def _shapes(count: int, digits: ImageDataset, generator: Generator) -> Images:
    """Filled regions between two random curves, shaded; some cut in two, as trousers and shoes."""
    edge, other = 0.15 + 0.8 * enlarged(
        torch.rand(2 * count, 6, 1, generator=generator), torch.Size((SIDE, 1))
    ).unflatten(0, (2, count))
    symmetric, cut, tone, turned = torch.rand(4, count, 1, 1, generator=generator)
    across, down = torch.linspace(-1, 1, SIDE), torch.linspace(0, 1, SIDE)[:, None]
    inside = (across < edge) & (across > -torch.where(symmetric < 0.6, edge, other))
    inside &= (cut > 0.3) | (across.abs() > 0.1) | (down < 0.3)
    shade = 0.6 + 0.4 * enlarged(torch.rand(count, 7, 7, generator=generator), SQUARE)
    images = inside * (0.35 + 0.65 * tone) * shade
    return placed(torch.where(turned < 0.4, images.transpose(1, 2), images)[:, None])


def _any(total: int, count: int, generator: Generator) -> Tensor:
    return torch.randint(0, total, (count,), generator=generator)


KINDS = (*(_forms, _printed, _several, _touching) * 2, _scribbles, _parts, _textures, _shapes)
