"""Train the recipes `tiny` and `small` on generated colour images of ten shapes, of odd sizes.

python benchmarks/own_images.py [--images 2000] [--recipe tiny] [--seeds 3]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import clearhead as ch

SHAPES = (
    *("arch", "bar", "circle", "cross", "diamond"),
    *("half", "ring", "square", "star", "triangle"),
)


def write_shapes(
    folder: Path, images: int, seed: int = 0, sides: tuple[int, int] = (24, 64)
) -> None:
    """Write FOLDER/SHAPE/NUMBER.png: a shape in a random place, size and colour on noise."""
    generator = np.random.default_rng(seed)
    for number in range(images):
        name = SHAPES[number % len(SHAPES)]
        width, height = generator.integers(*sides, size=2, endpoint=True).tolist()
        colour = generator.integers(0, 256, 3)
        pixels = generator.normal(colour, 12, (height, width, 3))
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        ink = ((colour + generator.integers(100, 157, 3)) % 256).tolist()  # in contrast to it
        _draw(ImageDraw.Draw(picture), name, tuple(ink), generator)
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture.save(folder / name / f"{number}.png")


def _draw(
    pen: ImageDraw.ImageDraw, name: str, ink: tuple[int, ...], generator: np.random.Generator
) -> None:
    size: tuple[int, int] = pen.im.size
    side = min(size) * generator.uniform(0.3, 0.42)
    x, y = (generator.uniform(side, length - side) for length in size)
    box, line = (x - side, y - side, x + side, y + side), max(2, round(side / 3))
    turns = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, side * 0.4, side)
    points = {
        "diamond": [(x, y - side), (x + side * 0.7, y), (x, y + side), (x - side * 0.7, y)],
        "star": list(zip(x + radii * np.sin(turns), y - radii * np.cos(turns), strict=True)),
        "triangle": [(x, y - side), (x + side, y + side * 0.8), (x - side, y + side * 0.8)],
    }
    if name in points:
        pen.polygon([(float(a), float(b)) for a, b in points[name]], fill=ink)
    elif name == "arch":
        pen.arc(box, 180, 360, fill=ink, width=line)
    elif name == "bar":
        pen.rectangle((x - side, y - line / 2, x + side, y + line / 2), fill=ink)
    elif name == "circle":
        pen.ellipse(box, fill=ink)
    elif name == "cross":
        pen.line(box, fill=ink, width=line)
        pen.line((x - side, y + side, x + side, y - side), fill=ink, width=line)
    elif name == "half":
        pen.pieslice(box, 0, 180, fill=ink)
    elif name == "ring":
        pen.ellipse(box, outline=ink, width=line)
    else:
        pen.rectangle(box, fill=ink)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        write_shapes(Path(place, "shapes"), options.images)
        for seed in range(options.seeds):
            started = time.perf_counter()
            trained = ch.train(
                options.recipe, data=Path(place, "shapes"), out=Path(place, f"{seed}"), seed=seed
            )
            seconds = time.perf_counter() - started
            print(f"{options.recipe}, seed {seed}: {trained.evaluation}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
