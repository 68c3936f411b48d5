"""Kinds of pictures that the page and Python preprocess alike; uint8 in grey.

Each is a function of a digit of MNIST and a random generator, as in the scenes.
"""

from functools import partial

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from tests.data.preprocessing.drawings import FONTS, load_font
from tests.data.preprocessing.scenes import NO_DIGITS, SCENES, Scene, crop, enlarged, paper, written

SEGMENTS = {
    "a": (0, 0, 1, 0),
    "b": (1, 0, 1, 1),
    "c": (1, 1, 1, 2),
    "d": (0, 2, 1, 2),
    "e": (0, 1, 0, 2),
    "f": (0, 0, 0, 1),
    "g": (0, 1, 1, 1),
}
SHOWN = "abcdef bc abged abgcd fgbc afgcd afgedc abc abcdefg abcdfg".split()


def _printed(
    _: ndarray, random: Generator, *, lines: int, length: int, tight: bool = False, marks: str = ""
) -> ndarray:
    """Lines of digits and marks, tight or with a margin, dark or light, of any size."""
    characters = [*map(str, range(10)), *marks]
    rows = ("".join(random.choice(characters, length)) for _ in range(lines))
    font = load_font(str(random.choice(FONTS)), int(random.integers(24, 90)))
    image = Image.new("L", (100 * length, 130 * lines))
    ImageDraw.Draw(image).text((20, 10), "\n".join(rows), 235, font)
    box = image.getbbox() or (0, 0, 40, 40)
    margin = 0 if tight else int(random.integers(8, 40))
    image = ImageOps.expand(image.crop(box), margin)
    factor = random.uniform(0.4, 2.5)
    image = image.resize([max(9, round(side * factor)) for side in image.size])
    return np.asarray(image if random.integers(2) else ImageOps.invert(image))


def _display(_: ndarray, random: Generator) -> ndarray:
    """A digit of seven segments with gaps."""
    unit, width = int(random.integers(30, 80)), int(random.integers(8, 18))
    gap = int(random.integers(1, width))
    image = Image.new("L", (3 * unit, 4 * unit), 230)
    for name in random.choice(SHOWN):
        x0, y0, x1, y1 = (unit * (1 + value) for value in SEGMENTS[name])
        along, across = gap, width // 2
        dx, dy = (along, -across) if y0 == y1 else (-across, along)
        if min(x1 - x0 - 2 * dx, y1 - y0 - 2 * dy) > 0:
            ImageDraw.Draw(image).rectangle((x0 + dx, y0 + dy, x1 - dx, y1 - dy), 30)
    return np.asarray(image)


def _dots(digit: ndarray, random: Generator) -> ndarray:
    """A dot matrix."""
    step, size = int(random.integers(9, 20)), random.uniform(0.6, 0.95)
    image = Image.new("L", (14 * step, 14 * step), 240)
    small = np.asarray(Image.fromarray(digit).reduce(3))
    for y, x in np.argwhere(small > 110):
        box = [(2 + value) * step for value in (x, y, x + size, y + size)]
        ImageDraw.Draw(image).ellipse(box, 20)
    return np.asarray(image)


def _polygon(_: ndarray, random: Generator) -> ndarray:
    count, size = int(random.integers(3, 7)), random.uniform(50, 100)
    angles = random.uniform(0, 7) + 2 * np.pi * np.arange(count + 2) / count
    corners = [(125 + size * np.cos(a), 125 + size * np.sin(a) * 1.1) for a in angles]
    image = Image.new("L", (250, 250), 255)
    ImageDraw.Draw(image).line(corners, 0, int(random.integers(3, 16)), joint="curve")
    return np.asarray(image)


def _curve(_: ndarray, random: Generator) -> ndarray:
    """One bent stroke, perhaps with a dot above: a slash, a bracket, an i, …"""
    image = Image.new("L", (200, 200), 255)
    draw, width = ImageDraw.Draw(image), int(random.integers(5, 16))
    start, middle, end = random.uniform(60, 140, (3, 2)) + np.array([[0, -40], [0, 0], [0, 40]])
    t = np.linspace(0, 1, 30)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
    draw.line([tuple(point) for point in points], 0, width)
    if random.integers(2):
        x, y = start[0], start[1] - random.uniform(1, 3) * width
        draw.ellipse((x - width / 2, y - width, x + width / 2, y), 0)
    return np.asarray(image)


def _rings(_: ndarray, random: Generator) -> ndarray:
    """A chain of four or five rings."""
    image = Image.new("L", (300, 200), 255)
    for n in range(int(random.integers(4, 6))):
        ImageDraw.Draw(image).ellipse([20 + 50 * n, 60, 74 + 50 * n, 140], outline=0, width=8)
    return np.asarray(image)


def _slash(_: ndarray, random: Generator) -> ndarray:
    image = Image.new("L", (200, 200), 255)
    ends = [*random.uniform(20, 50, 2), *random.uniform(140, 180, 2)]
    ImageDraw.Draw(image).line(ends, 0, int(random.integers(6, 14)))
    return np.asarray(image)


def _tiny(_: ndarray, random: Generator) -> ndarray:
    """Very little ink."""
    sheet = np.full((150, 160), 250, np.uint8)
    high, wide = random.integers(4, 6, 2)
    sheet[90 : 90 + high, 80 : 80 + wide] = 10
    return sheet


def _touching(digit: ndarray, random: Generator, *, light: bool = False) -> ndarray:
    """Two to four digits, written into each other."""
    side = int(random.integers(60, 120))
    sheet, x = np.zeros((side + 40, 5 * side)), 20
    for _ in range(int(random.integers(2, 5))):
        ink = enlarged(digit, side)
        area = sheet[20 : 20 + ink.shape[0], x : x + ink.shape[1]]
        np.maximum(area, ink, out=area)
        x += ink.shape[1] - int(random.integers(-3, side // 6))
    sheet = 0.9 * sheet[:, : x + 40]
    return np.asarray(255 * (sheet if light else 1 - sheet), np.uint8)


def _two(digit: ndarray, random: Generator, *, below: bool) -> ndarray:
    sheet = paper(500, 400, random)
    places = [(40, 60), (270, 70) if below else (60, 230)]
    for place in places:
        written(sheet, enlarged(digit, int(random.integers(90, 150))), random, place)
    return np.asarray(255 * sheet, np.uint8)


def _framed(digit: ndarray, random: Generator) -> ndarray:
    """A small scan with remains of a frame at its border."""
    side, width = int(random.integers(30, 70)), int(random.integers(1, 4))
    sheet = np.ones((side, side))
    written(sheet, enlarged(digit, side - 2 * width - 6), random)
    for edge in random.permutation(4)[: int(random.integers(1, 5))]:
        turned = np.rot90(sheet, edge)
        turned[:width] = 0.3
    return np.asarray(255 * sheet, np.uint8)


def _cells(digit: ndarray, random: Generator) -> ndarray:
    """Digits in cells with gaps between every two, in light that falls off."""
    side = int(random.integers(50, 90))
    image = Image.new("L", (9 * side, 2 * side), 230)
    for number in range(6):
        left = round(side * (0.6 + number + number // 2 / 2))
        box = (left, side // 2, left + side, side // 2 + side)
        ImageDraw.Draw(image).rectangle(box, outline=90, width=2)
    sheet = np.asarray(image) / 255 * np.linspace(1, random.uniform(0.4, 0.8), 9 * side)
    for number in range(6):
        place = int(0.65 * side), round(side * (0.75 + number + number // 2 / 2))
        written(
            sheet, enlarged(digit, int(random.integers(side // 2, 3 * side // 4))), random, place
        )
    return np.asarray(255 * sheet, np.uint8)


def _ring(digit: ndarray, random: Generator) -> ndarray:
    """A digit in a ring."""
    image = Image.new("L", (300, 260), 235)
    size = random.uniform(70, 100)
    ring = (150 - size, 130 - size, 150 + size, 130 + size)
    ImageDraw.Draw(image).ellipse(ring, outline=60, width=int(random.integers(3, 12)))
    sheet = np.asarray(image) / 255
    ink = enlarged(digit, int(random.integers(80, 105)))
    written(sheet, ink, random, (130 - ink.shape[0] // 2, 150 - ink.shape[1] // 2))
    return np.asarray(255 * sheet, np.uint8)


def _sloped(digit: ndarray, random: Generator) -> ndarray:
    """A scan in light that falls off."""
    side = int(random.integers(24, 48))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    light = 0.5 * (1 + random.uniform(-0.3, 0.3) * x + random.uniform(-0.3, 0.3) * y)
    written(light, enlarged(digit, side - 8), random)
    light += random.normal(0, 0.004, light.shape)
    return np.asarray(255 * np.clip(light, 0, 1), np.uint8)


def _smudged(digit: ndarray, random: Generator) -> ndarray:
    """A digit in JPEG-like blur, beside specks and a shadow's edge."""
    sheet = paper(300, 420, random)
    written(sheet, enlarged(digit, 140), random)
    sheet[random.integers(0, 300, 30), random.integers(0, 420, 30)] = 0.2
    sheet[:, : int(random.integers(20, 150))] *= 0.7
    image = Image.fromarray(np.uint8(255 * np.clip(sheet, 0, 1)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 2))))


def _repeated(digit: ndarray, random: Generator) -> ndarray:
    """A coarse scan, enlarged by repeating each pixel."""
    small = crop(digit, random, side=int(random.integers(8, 20)))
    return small.repeat(step := int(random.integers(2, 12)), 0).repeat(step, 1)


def _interpolated(digit: ndarray, random: Generator) -> ndarray:
    """A coarse scan, enlarged by any factor and filter."""
    small = Image.fromarray(crop(digit, random, side=int(random.integers(8, 24))))
    factor, resampling = random.uniform(2, 12), int(random.integers(0, 4))
    size = (round(factor * small.width), round(factor * small.height))
    return np.asarray(small.resize(size, Image.Resampling(resampling)))


DRAWN: dict[str, Scene] = {
    "number": partial(_printed, lines=1, length=4),
    "number with marks": partial(_printed, lines=1, length=5, marks=".,:-+AE?!"),
    "number with slashes": partial(_printed, lines=1, length=5, marks="/()" * 3),
    "long number": partial(_printed, lines=1, length=14),
    "sheet of numbers": partial(_printed, lines=3, length=3),
    "tight digit": partial(_printed, lines=1, length=1, tight=True),
    "tight strip": partial(_printed, lines=1, length=4, tight=True),
    "tight sheet": partial(_printed, lines=2, length=3, tight=True),
    "letter": partial(_printed, lines=1, length=1, marks="ABCDEFGHKLMNPRTUVWXYZ" * 3),
    "seven segments": _display,
    "dot matrix": _dots,
    "polygon": _polygon,
    "bent stroke": _curve,
    "rings": _rings,
    "slash": _slash,
    "very little ink": _tiny,
    "touching digits": _touching,
    "touching digits, light": partial(_touching, light=True),
    "two digits": partial(_two, below=False),
    "two digits, one above the other": partial(_two, below=True),
    "remains of a frame": _framed,
    "cells in uneven light": _cells,
    "digit in a ring": _ring,
    "scan in uneven light": _sloped,
    "scan enlarged by whole pixels": _repeated,
    "scan enlarged by interpolation": _interpolated,
    "smudged": _smudged,
}
KINDS = SCENES | NO_DIGITS | DRAWN
