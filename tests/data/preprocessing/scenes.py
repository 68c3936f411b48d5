"""Pictures of handwritten digits as people take them, generated from 28 × 28 digits of MNIST.

Each kind is a function of a digit and a random generator. It returns the picture, uint8 in grey.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

Generator = np.random.Generator
Scene = Callable[[ndarray, Generator], ndarray]


def enlarged(digit: ndarray, side: int, sharpness: float = 2.5) -> ndarray:
    """Coverage by the pen in [0, 1]; a 28 × 28 digit cut to its ink, `side` pixels long."""
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = side / max(ink.shape)
    size = tuple(max(2, round(length * scale)) for length in ink.shape[::-1])
    large = np.asarray(Image.fromarray(np.pad(ink, 1)).resize(size, Image.Resampling.BICUBIC)) / 255
    return np.asarray(np.clip((large - 0.5) * sharpness + 0.5, 0, 1))


def paper(height: int, width: int, rng: Generator) -> ndarray:
    """Paper under light that falls off, in [0, 1]."""
    y, x = np.mgrid[:height, :width] / max(height, width) - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    level = rng.uniform(0.7, 0.95)
    fall = rng.uniform(0, 0.25)
    return np.asarray(level * (1 - fall * (x * np.cos(angle) + y * np.sin(angle))))


def photographed(picture: ndarray, rng: Generator, noise: float | None = None) -> ndarray:
    """Blurred, with noise, as uint8."""
    blurred = ndimage.gaussian_filter(picture, rng.uniform(0.3, 1.2))
    deviation = rng.uniform(0.003, 0.02) if noise is None else noise
    noisy = blurred + rng.normal(0, deviation, picture.shape)
    return np.asarray(np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8))


def written(
    sheet: ndarray, ink: ndarray, rng: Generator, at: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Write on a sheet, in place; without a position somewhere around the middle. Returns it."""
    if at is None:
        room = [max(0, a - b) for a, b in zip(sheet.shape, ink.shape, strict=True)]
        at = (round(room[0] * rng.uniform(0.35, 0.65)), round(room[1] * rng.uniform(0.35, 0.65)))
    place = tuple(slice(a, a + length) for a, length in zip(at, ink.shape, strict=True))
    sheet[place] *= 1 - rng.uniform(0.6, 0.9) * ink
    return at


def _canvas(rng: Generator) -> ndarray:
    return paper(int(rng.integers(240, 700)), int(rng.integers(240, 700)), rng)


def on_paper(
    digit: ndarray, rng: Generator, share: tuple[float, float] = (0.3, 0.6), light: bool = False
) -> ndarray:
    sheet = _canvas(rng)
    written(sheet, enlarged(digit, round(min(sheet.shape) * rng.uniform(*share))), rng)
    return photographed(0.95 - 0.85 * sheet if light else sheet, rng)


def on_desk(digit: ndarray, rng: Generator, sides: str, level: tuple[float, float]) -> ndarray:
    """Beside the sheet a desk of this level, relative to the paper, with grain."""
    sheet = _canvas(rng)
    height, width = sheet.shape
    written(sheet, enlarged(digit, round(min(sheet.shape) * rng.uniform(0.2, 0.4))), rng)
    y, x = np.mgrid[:height, :width].astype(float)
    angle = np.radians(rng.uniform(-12, 12) if "tilted" in sides else rng.uniform(-2, 2))
    x, y = x - width / 2, y - height / 2
    across, down = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    side = min(height, width)
    margin = side * rng.uniform(0.02, 0.2, 4)
    limits = np.array([width / 2, width / 2, height / 2, height / 2]) - margin
    outside = [-across > limits[0], across > limits[1], -down > limits[2], down > limits[3]]
    chosen = {"one": [2], "two": [0, 2], "tilted": [0, 1, 2, 3], "all": [0, 1, 2, 3]}
    if sides == "corner":
        desk = across + down < -(width + height) / 2 + side * rng.uniform(0.2, 0.5)
    else:
        turn = rng.permutation(4) if sides in ("one",) else np.arange(4)
        desk = np.any([outside[turn[n]] for n in chosen[sides]], axis=0)
    grain = ndimage.gaussian_filter(rng.normal(0, 1, sheet.shape), (1, 12))
    wood = sheet.max() * rng.uniform(*level) * (1 + rng.uniform(0, 0.3) * grain)
    sheet = np.where(desk, wood, sheet)
    return photographed(sheet, rng)


def shaded(digit: ndarray, rng: Generator) -> ndarray:
    """A shadow with a soft edge over a part of the sheet."""
    sheet = _canvas(rng)
    written(sheet, enlarged(digit, round(min(sheet.shape) * rng.uniform(0.3, 0.5))), rng)
    y, x = np.mgrid[: sheet.shape[0], : sheet.shape[1]] / max(sheet.shape)
    angle, edge = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.2)
    over = (x - 0.4) * np.cos(angle) + (y - 0.4) * np.sin(angle) - edge
    shadow = rng.uniform(0.2, 0.5) / (1 + np.exp(-over * rng.uniform(15, 80)))
    return photographed(sheet * (1 - shadow), rng)


def lined(sheet: ndarray, lines: ndarray, strength: float) -> None:
    """Darken the sheet under lines, in place."""
    np.minimum(sheet, sheet * (1 - strength * lines), out=sheet)


def _drawn_lines(
    shape: tuple[int, int], segments: list[tuple[float, float, float, float]], width: float
) -> ndarray:
    """Coverage by straight lines, from 4 × 4 samples a pixel."""
    image = Image.new("L", (shape[1] * 4, shape[0] * 4))
    draw = ImageDraw.Draw(image)
    for line in segments:
        draw.line([4 * value for value in line], fill=255, width=max(1, round(4 * width)))
    return np.asarray(image.reduce(4)) / 255


def _turned(
    segments: list[tuple[float, float, float, float]], shape: tuple[int, int], degrees: float
) -> list[tuple[float, float, float, float]]:
    angle = np.radians(degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    cy, cx = shape[0] / 2, shape[1] / 2

    def turn(x: float, y: float) -> tuple[float, float]:
        x, y = x - cx, y - cy
        return x * cos - y * sin + cx, x * sin + y * cos + cy

    return [(*turn(x0, y0), *turn(x1, y1)) for x0, y0, x1, y1 in segments]


def in_box(
    digit: ndarray,
    rng: Generator,
    gap: tuple[float, float],
    thickness: tuple[float, float] = (0.01, 0.03),
    cells: int = 1,
) -> ndarray:
    """In a drawn frame; gap and thickness relative to the digit. Cells stand side by side."""
    sheet = _canvas(rng)
    side = round(min(sheet.shape) * rng.uniform(0.25, 0.45) / (1 if cells == 1 else 1.6))
    ink = enlarged(digit, side)
    top, left = written(sheet, ink, rng)
    gaps = rng.uniform(*gap, 4) * side
    x0, y0 = left - gaps[0], top - gaps[1]
    x1, y1 = left + ink.shape[1] + gaps[2], top + ink.shape[0] + gaps[3]
    segments = []
    first = int(rng.integers(cells))
    wide = x1 - x0
    edges = [x0 + (n - first) * wide for n in range(cells + 1)]
    segments = [(x, y0, x, y1) for x in edges]
    segments += [(edges[0], y, edges[-1], y) for y in (y0, y1)]
    width = max(1.0, side * rng.uniform(*thickness))
    lines = _drawn_lines(sheet.shape, _turned(segments, sheet.shape, rng.uniform(-1.5, 1.5)), width)
    lined(sheet, lines, rng.uniform(0.4, 0.9))
    return photographed(sheet, rng)


def on_lines(
    digit: ndarray,
    rng: Generator,
    *,
    pitch: tuple[float, float],
    strength: tuple[float, float],
    squares: bool = False,
    single: bool = False,
    through: bool | None = None,
    tilt: float = 2.0,
) -> ndarray:
    """On ruled or squared paper; the pitch is relative to the digit.

    A line under the digit is at its lower end; a line through it, anywhere within.
    """
    sheet = _canvas(rng)
    side = round(min(sheet.shape) * rng.uniform(0.25, 0.5))
    ink = enlarged(digit, side)
    top, left = written(sheet, ink, rng)
    height, width = sheet.shape
    step = rng.uniform(*pitch) * side
    base = top + ink.shape[0] + rng.uniform(-0.02, 0.06) * side
    if through is None:
        through = bool(rng.integers(2))
    if through:
        base -= rng.uniform(0.1, 0.9) * side
    far = 2 * max(height, width)
    segments = [(-far, base, far, base)]
    if not single:
        segments = [(-far, base + n * step, far, base + n * step) for n in range(-40, 40)]
    if squares:
        start = left + rng.uniform(0, 1) * step
        segments += [(start + n * step, -far, start + n * step, far) for n in range(-40, 40)]
    thick = max(1.0, side * rng.uniform(0.008, 0.025))
    lines = _drawn_lines(
        sheet.shape, _turned(segments, sheet.shape, rng.uniform(-tilt, tilt)), thick
    )
    lined(sheet, lines, rng.uniform(*strength))
    return photographed(sheet, rng)


def crop(
    digit: ndarray,
    rng: Generator,
    side: int = 20,
    scale: float = 1,
    pen: int = 0,
    light: bool | None = None,
    binary: bool = False,
) -> ndarray:
    """Cut to a square of `side` pixels around the ink, enlarged; thickened by a pen."""
    if pen:
        digit = np.pad(digit, pen)
        digit = ndimage.grey_dilation(digit, footprint=_disc(pen))
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    room = max(ink.shape)
    square = np.zeros((room, room), np.uint8)
    at = [(room - length) // 2 for length in ink.shape]
    square[at[0] : at[0] + ink.shape[0], at[1] : at[1] + ink.shape[1]] = ink
    small = Image.fromarray(square).resize(
        (side, side), Image.Resampling.BOX if side < room else Image.Resampling.BICUBIC
    )
    if binary:
        small = small.point(lambda value: 255 * (value > 100))
    if scale != 1:
        small = small.resize((round(side * scale),) * 2, Image.Resampling.BICUBIC)
    values = np.asarray(small)
    light = bool(rng.integers(2)) if light is None else light
    return values if light else 255 - values


def _disc(diameter: int) -> ndarray:
    y, x = np.mgrid[: diameter + 1, : diameter + 1] - diameter / 2
    return np.asarray(y**2 + x**2 <= (diameter / 2) ** 2 + 0.3)


def mnist(digit: ndarray, _: Generator) -> ndarray:
    return digit


def old_scan(digit: ndarray, rng: Generator) -> ndarray:
    """28 × 28 cut from stained paper, off centre, with remains of neighbours or rules."""
    shift = [int(value) for value in rng.integers(-2, 3, 2)]
    ink = ndimage.shift(digit / 255.0, shift, order=1)
    stains = ndimage.gaussian_filter(rng.normal(0, 1, (28, 28)), 3) * rng.uniform(0, 0.25)
    sheet = rng.uniform(0.55, 0.85) + stains + rng.normal(0, 0.02, (28, 28))
    seen = sheet * (1 - rng.uniform(0.4, 0.8) * ink)
    return np.asarray(np.rint(np.clip(seen, 0, 1) * 255).astype(np.uint8))


def form_cell(digit: ndarray, rng: Generator) -> ndarray:
    """A cell of a printed form, cut a little too large: remains of its frame at the edges."""
    side = int(rng.integers(32, 90))
    sheet = np.full((side, side), rng.uniform(0.8, 1.0))
    written(sheet, enlarged(digit, round(side * rng.uniform(0.5, 0.75))), rng)
    width = max(1, round(side * rng.uniform(0.015, 0.05)))
    dark = rng.uniform(0.1, 0.5)
    for number in rng.permutation(4)[: int(rng.integers(1, 5))]:
        inset = int(rng.integers(0, max(1, side // 20) + 1))
        edge = [np.s_[inset : inset + width], np.s_[side - inset - width : side - inset]][
            number % 2
        ]
        sheet[(edge, np.s_[:]) if number < 2 else (np.s_[:], edge)] = dark
    return photographed(sheet, rng, noise=0.01)


def broken(digit: ndarray, rng: Generator) -> ndarray:
    """A stroke interrupted by a straight gap."""
    sheet = _canvas(rng)
    side = round(min(sheet.shape) * rng.uniform(0.3, 0.6))
    ink = enlarged(digit, side)
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]
    angle = rng.uniform(0, np.pi)
    middle = [length * rng.uniform(0.3, 0.7) for length in ink.shape]
    across = (x - middle[1]) * np.cos(angle) + (y - middle[0]) * np.sin(angle)
    ink = ink * (np.abs(across) > side * rng.uniform(0.015, 0.04))
    written(sheet, ink, rng)
    return photographed(sheet, rng)


def large_photo(digit: ndarray, rng: Generator) -> ndarray:
    """A small digit on a large sheet."""
    sheet = paper(int(rng.integers(900, 1500)), int(rng.integers(900, 1500)), rng)
    written(sheet, enlarged(digit, round(min(sheet.shape) * rng.uniform(0.04, 0.12))), rng)
    return photographed(sheet, rng)


DARK, BROWN, LIGHT = (0.15, 0.35), (0.4, 0.6), (0.65, 0.85)
SCENES: dict[str, Scene] = {
    "MNIST": mnist,
    "on paper": on_paper,
    "light on dark": partial(on_paper, light=True),
    "small on a large sheet": large_photo,
    "filling the picture": partial(on_paper, share=(0.75, 0.98)),
    "shadow": shaded,
    "dark desk, one side": partial(on_desk, sides="one", level=DARK),
    "dark desk, two sides": partial(on_desk, sides="two", level=DARK),
    "dark desk, all sides": partial(on_desk, sides="all", level=DARK),
    "dark desk, corner": partial(on_desk, sides="corner", level=DARK),
    "dark desk, tilted": partial(on_desk, sides="tilted", level=DARK),
    "brown desk, one side": partial(on_desk, sides="one", level=BROWN),
    "brown desk, all sides": partial(on_desk, sides="all", level=BROWN),
    "brown desk, tilted": partial(on_desk, sides="tilted", level=BROWN),
    "light desk, one side": partial(on_desk, sides="one", level=LIGHT),
    "light desk, all sides": partial(on_desk, sides="all", level=LIGHT),
    "light desk, tilted": partial(on_desk, sides="tilted", level=LIGHT),
    "white desk, all sides": partial(on_desk, sides="all", level=(1.1, 1.25)),
    "box, far": partial(in_box, gap=(0.3, 0.7)),
    "box, near": partial(in_box, gap=(0.04, 0.25)),
    "box, thick": partial(in_box, gap=(0.05, 0.4), thickness=(0.05, 0.1)),
    "box, touching": partial(in_box, gap=(-0.05, 0.03)),
    "form cells": partial(in_box, gap=(0.05, 0.3), cells=5),
    "one rule under": partial(
        on_lines, pitch=(1, 1), strength=(0.4, 0.9), single=True, through=False
    ),
    "one rule through": partial(
        on_lines, pitch=(1, 1), strength=(0.4, 0.9), single=True, through=True
    ),
    "ruled, faint": partial(on_lines, pitch=(0.6, 1.4), strength=(0.05, 0.2)),
    "ruled, strong": partial(on_lines, pitch=(0.6, 1.4), strength=(0.4, 0.9)),
    "squared, faint": partial(on_lines, pitch=(0.25, 0.9), strength=(0.05, 0.2), squares=True),
    "squared, strong": partial(on_lines, pitch=(0.25, 0.9), strength=(0.4, 0.9), squares=True),
    "squared, strong, tilted": partial(
        on_lines, pitch=(0.3, 0.9), strength=(0.4, 0.9), squares=True, tilt=8.0
    ),
    "crop 20 × 20": crop,
    "crop 20 × 20, thick": partial(crop, pen=2),
    "crop 20 × 20, very thick": partial(crop, pen=3),
    "crop 28 × 28, thick": partial(crop, side=28, pen=2),
    "crop enlarged": partial(crop, side=28, scale=8),
    "crop enlarged, thick": partial(crop, side=28, scale=8, pen=2),
    "scan 16 × 16": partial(crop, side=16),
    "scan 16 × 16, binary": partial(crop, side=16, binary=True),
    "scan 8 × 8": partial(crop, side=8),
    "scan 8 × 8 enlarged": partial(crop, side=8, scale=10),
    "old scan 28 × 28": old_scan,
    "printed form cell": form_cell,
    "broken strokes": broken,
}


def _blank(_: ndarray, rng: Generator) -> ndarray:
    return photographed(_canvas(rng), rng)


def _unwritten(scene: Scene) -> Scene:
    """The same scene with an empty digit."""

    def draw(digit: ndarray, rng: Generator) -> ndarray:
        dot = np.zeros_like(digit)
        dot[4:24, 8:20] = 1  # a rectangle of hardly any ink, for the size
        return scene(dot, rng)

    return draw


def _texture(_: ndarray, rng: Generator) -> ndarray:
    """Noise with a spectrum as in photos (1 / f)."""
    height, width = (int(value) for value in rng.integers(60, 400, 2))
    y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    spectrum = np.fft.fft2(rng.normal(size=(height, width))) / np.maximum(np.hypot(y, x), 1e-3)
    values = np.real(np.fft.ifft2(spectrum))
    values = (values - values.mean()) / values.std() * rng.uniform(0.1, 0.25) + 0.5
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))


def _blob(_: ndarray, rng: Generator) -> ndarray:
    """A solid patch."""
    sheet = _canvas(rng)
    side = min(sheet.shape) * rng.uniform(0.3, 0.6)
    image = Image.new("L", sheet.shape[::-1])
    draw = ImageDraw.Draw(image)
    cx, cy = sheet.shape[1] / 2, sheet.shape[0] / 2
    rx, ry = side / 2, side / 2 * rng.uniform(0.6, 1)
    (draw.ellipse if rng.integers(2) else draw.rectangle)(
        (cx - rx, cy - ry, cx + rx, cy + ry), fill=255
    )
    soft = image.filter(ImageFilter.GaussianBlur(1))
    sheet *= 1 - 0.7 * np.asarray(soft) / 255
    return photographed(sheet, rng)


NO_DIGITS: dict[str, Scene] = {
    "blank paper": _blank,
    "blank desk and sheet": _unwritten(partial(on_desk, sides="all", level=DARK)),
    "blank ruled paper": _unwritten(SCENES["ruled, strong"]),
    "blank ruled paper, faint": _unwritten(SCENES["ruled, faint"]),
    "blank squared paper": _unwritten(SCENES["squared, strong"]),
    "blank squared paper, faint": _unwritten(SCENES["squared, faint"]),
    "empty box": _unwritten(SCENES["box, far"]),
    "empty form cells": _unwritten(SCENES["form cells"]),
    "empty printed cell": _unwritten(form_cell),
    "texture": _texture,
    "solid patch": _blob,
}
