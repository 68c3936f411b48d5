"""Digits drawn for tests: printed, and by a pen on unevenly lit paper."""

from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Oblique", "DejaVuSans-Bold")

# A polyline in the unit square for each digit
LINES = {
    0: ((0.5, 0), (0.1, 0.3), (0.1, 0.7), (0.5, 1), (0.9, 0.7), (0.9, 0.3), (0.5, 0)),
    1: ((0.3, 0.2), (0.55, 0), (0.55, 1)),
    2: ((0.1, 0.25), (0.3, 0.02), (0.7, 0.02), (0.88, 0.28), (0.1, 1), (0.95, 1)),
    3: ((0.1, 0.05), (0.85, 0.05), (0.45, 0.42), (0.9, 0.7), (0.6, 1), (0.1, 0.93)),
    4: ((0.65, 1), (0.65, 0), (0.05, 0.65), (0.95, 0.65)),
    5: ((0.85, 0), (0.2, 0), (0.15, 0.45), (0.6, 0.4), (0.9, 0.7), (0.6, 1), (0.1, 0.92)),
    6: ((0.75, 0), (0.25, 0.45), (0.15, 0.8), (0.5, 1), (0.85, 0.8), (0.6, 0.55), (0.2, 0.7)),
    7: ((0.08, 0.02), (0.92, 0.02), (0.4, 1)),
    8: (
        *((0.5, 0.5), (0.15, 0.25), (0.5, 0), (0.85, 0.25)),
        *((0.1, 0.78), (0.5, 1), (0.9, 0.78), (0.5, 0.5)),
    ),
    9: ((0.85, 0.3), (0.5, 0.52), (0.15, 0.28), (0.5, 0), (0.85, 0.3), (0.7, 1)),
}


@cache
def load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(mpl.get_data_path()) / f"fonts/ttf/{name}.ttf", size)


def printed(text: str, *, font: str = FONTS[0], size: int = 90, side: int = 130) -> Image.Image:
    """Black print in the middle of a white square."""
    image = Image.new("L", (side, side), 255)
    ImageDraw.Draw(image).text(
        (side // 2, side // 2), text, font=load_font(font, size), fill=0, anchor="mm"
    )
    return image


def stroke(
    digit: int, width: int = 7, height: int = 180, size: tuple[int, int] = (240, 320)
) -> ndarray:
    """The coverage of each pixel by a round pen, in [0, 1]; the digit is in the middle."""
    wide, high = size
    image = Image.new("L", (2 * wide, 2 * high))
    draw = ImageDraw.Draw(image)
    points = [
        (wide + 2 * (x - 0.5) * height * 0.6, high + 2 * (y - 0.5) * height)
        for x, y in LINES[digit]
    ]
    draw.line(points, fill=255, width=2 * width)
    for x, y in points:
        draw.ellipse((x - width, y - width, x + width, y + width), fill=255)
    return np.asarray(image.resize(size, Image.Resampling.BOX)) / 255


def photographed(digit: int, light: str, *, width: int = 7, seed: int = 0) -> Image.Image:
    """Pen on grey paper, with noise: light "falling", "vignette", or a "shadow" with an edge.

    Or "pencil" (pale), or "chalk" (light on dark), both in falling light.
    """
    ink = stroke(digit, width)
    height, wide = ink.shape
    y, x = np.mgrid[:height, :wide] / np.array([height, wide]).reshape(2, 1, 1)
    paper = 0.8 - 0.3 * x - 0.15 * y
    if light == "vignette":
        paper = 0.8 * (1 - 1.2 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))
    if light == "shadow":
        paper = paper * np.where(x + 0.5 * y < 0.7, 1, 0.55)
    seen = paper * (1 - (0.35 if light == "pencil" else 0.8) * ink)
    if light == "chalk":
        seen = 0.2 + 0.1 * x + 0.5 * ink
    noisy = seen + np.random.default_rng(seed).normal(0, 0.02, seen.shape)
    return Image.fromarray((noisy.clip(0, 1) * 255).astype(np.uint8))
