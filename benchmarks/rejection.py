"""How often pictures without a digit are accepted without a remark, per kind of picture.

    python benchmarks/rejection.py [--model runs/mine] [--count 300]

Accepted means status "confident": neither doubtful nor rejected. Two ways: `pictures` are predicted
as `clearhead predict` does; `tensors` are cropped, scaled to 20 pixels and centred by code of this
file alone. The first row is the price: MNIST test digits that are not accepted. With
`--flagged 0.01`, the thresholds are replaced by the one below which 1 % of the test digits are.

No picture here was used in training or to choose a threshold: other fonts, other generators, MNIST
and Fashion-MNIST test images, photos. Needs fonts (Debian: fonts-liberation, fonts-freefont-ttf)
and the images of scikit-image and scikit-learn.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console
from rich.table import Table

import clearhead as ch
from clearhead.inference import certainty_of, predict_probabilities, wilson_interval

FONTS = (
    "liberation/LiberationSans-Regular liberation/LiberationSerif-Regular "
    "liberation/LiberationMono-Regular liberation/LiberationSans-Bold "
    "liberation/LiberationSerif-Italic freefont/FreeSerif freefont/FreeSans freefont/FreeMonoBold"
).split()
LOOK_ALIKES = "OoQDIlSsZzBbgqG"  # of a digit, in print or in some hand
LETTERS = [
    x for x in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if x not in LOOK_ALIKES
]
SYMBOLS = list("#$%&@*+=?!<>~^{}[]§€£¥©®¶÷×±√∑∞≠≈←↑→↓♥♦♣♠★☺✓")
PHOTOS = (
    "skimage/data: astronaut brick camera chelsea coffee coins grass gravel motorcycle_left rocket "
    "retina moon; sklearn/datasets/images: china flower"
)
STACKED, TOUCHING = "two digits, one above the other", "two digits that touch"
"""To be read as two digits is right"""
SIDE = 200

Picture = Image.Image


def character(text: str, random: Generator) -> Picture:
    while True:
        name = f"/usr/share/fonts/truetype/{random.choice(FONTS)}.ttf"
        font = ImageFont.truetype(name, int(random.integers(70, 150)))
        picture = Image.new("L", (SIDE, SIDE), 255)
        draw = ImageDraw.Draw(picture)
        draw.text((SIDE // 2, SIDE // 2), text, int(random.integers(0, 80)), font, "mm")
        missing = font.getmask(text).getbbox() is None or bytes(font.getmask(text)) == bytes(
            font.getmask("\uffff")
        )
        if not missing:
            return picture.rotate(random.normal(0, 3), fillcolor=255)


def of(characters: list[str] | str) -> Callable[[Generator], Picture]:
    return lambda random: character(str(random.choice(list(characters))), random)


def scribble(random: Generator) -> Picture:
    """A pen whose direction changes by a random walk, lifted a few times."""
    picture = Image.new("L", (SIDE, SIDE), 255)
    draw = ImageDraw.Draw(picture)
    width, turning = int(random.integers(3, 14)), random.uniform(0.1, 0.7)
    for _ in range(random.integers(1, 4)):
        place, angle = random.uniform(50, 150, 2), random.uniform(0, 6.3)
        for _ in range(random.integers(25, 90)):
            angle += random.normal(0, turning)
            target = np.clip(place + 8 * np.array([np.cos(angle), np.sin(angle)]), 20, 180)
            draw.line([*place, *target], 0, width)
            draw.ellipse([*(target - width / 2), *(target + width / 2)], 0)
            place = target
    return picture


def form_cell(random: Generator) -> Picture:
    """A box, or a comb of three, of printed lines; some sides may be missing."""
    picture = Image.new("L", (SIDE, SIDE), int(random.integers(225, 256)))
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = (*random.uniform(10, 45, 2), *random.uniform(150, 190, 2))
    ink, width = int(random.integers(0, 150)), int(random.integers(1, 6))
    lines = [(left, bottom, right, bottom), (left, top, left, bottom), (right, top, right, bottom)]
    if random.random() < 0.7:
        lines.append((left, top, right, top))
    if random.random() < 0.3:
        lines += [(x, top, x, bottom) for x in np.linspace(left, right, 4)[1:3]]
    for line in lines:
        draw.line(line, ink, width)
    return picture.rotate(random.normal(0, 1), fillcolor=picture.getpixel((1, 1)))


def paper(random: Generator, *, squared: bool) -> Picture:
    picture = Image.new("L", (SIDE, SIDE), int(random.integers(225, 256)))
    draw = ImageDraw.Draw(picture)
    step, start = random.uniform(18, 60), random.uniform(0, 18)
    ink, width = int(random.integers(100, 215)), int(random.integers(1, 4))
    for place in np.arange(start, SIDE, step):
        draw.line((0, place, SIDE, place), ink, width)
        if squared:
            draw.line((place, 0, place, SIDE), ink, width)
    turned = picture.rotate(random.normal(0, 2), Image.Resampling.BILINEAR)
    return turned.crop((12, 12, SIDE - 12, SIDE - 12))


def photos() -> list[Picture]:
    files = []
    for group in PHOTOS.split(";"):
        folder, names = group.strip().split(":")
        package, _, inside = folder.partition("/")
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is not installed: pip install scikit-image scikit-learn")
        for name in names.split():
            files += [*Path(spec.origin).parent.joinpath(inside).glob(f"{name}.*")]
    return [Image.open(file).convert("L") for file in files]


def photo_crop(random: Generator, images: list[Picture]) -> Picture:
    image = images[random.integers(len(images))]
    side = int(random.uniform(0.15, 0.7) * min(image.size))
    left, top = (int(random.integers(0, length - side)) for length in image.size)
    return image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))


def stacked(random: Generator, digits: ndarray) -> Picture:
    """Two test digits, one above the other."""
    canvas = np.zeros((60, 40), dtype=np.uint8)
    for place in (2, int(random.integers(26, 31))):
        left = int(random.integers(2, 11))
        area = canvas[place : place + 28, left : left + 28]
        np.maximum(area, digits[random.integers(len(digits))], out=area)
    return ImageOps.invert(Image.fromarray(canvas)).resize((160, 240), Image.Resampling.BICUBIC)


def touching(random: Generator, digits: ndarray) -> Picture:
    """Two test digits side by side, the second moved to the left until the inks overlap."""
    first, second = digits[random.integers(len(digits), size=2)].astype(int)
    sheet = np.pad(first, ((4, 4), (4, 34)))
    top, overlap = int(random.integers(2, 7)), int(random.integers(0, 3))
    for left in range(32, 0, -1):
        area = sheet[top : top + 28, left : left + 28]
        if ((area > 100) & (second > 100)).sum() > overlap:
            break
    np.maximum(area, second, out=area)
    picture = ImageOps.invert(Image.fromarray(sheet.astype(np.uint8)))
    return picture.resize((5 * picture.width, 5 * picture.height), Image.Resampling.BICUBIC)


def kinds() -> Iterator[tuple[str, Callable[[Generator], Picture]]]:
    """Each kind of picture: dark on light, without exactly one digit."""
    digits = ch.load_dataset("mnist", "test").images[:, 0].numpy()
    clothes = ch.load_dataset("fashion-mnist", "test").images[:, 0].numpy()
    images = photos()
    yield "printed letters", of(LETTERS)
    yield "symbols", of(SYMBOLS)
    yield "scribbles", scribble
    yield "Fashion-MNIST", lambda r: ImageOps.invert(Image.fromarray(clothes[r.integers(10_000)]))
    yield "empty form cells", form_cell
    yield "blank ruled paper", lambda r: paper(r, squared=False)
    yield "blank squared paper", lambda r: paper(r, squared=True)
    yield "photo crops", lambda r: photo_crop(r, images)
    yield STACKED, lambda r: stacked(r, digits)
    yield TOUCHING, lambda r: touching(r, digits)
    yield f"letters like digits ({LOOK_ALIKES})", of(LOOK_ALIKES)


def tensor_of(picture: Picture) -> ndarray:
    """MNIST's rule by Pillow alone: crop the ink, 20 pixels, centre of mass in the middle."""
    ink = ImageOps.autocontrast(ImageOps.invert(picture))
    box = ink.point(lambda value: 255 * (value > 60)).getbbox()
    ink = ink.crop(box)
    ink.thumbnail((20, 20), Image.Resampling.BOX)
    values = np.asarray(ink, dtype=np.float64)
    canvas = np.zeros((28, 28), dtype=np.uint8)
    start = []
    for axis, length in enumerate(values.shape):
        mass = values.sum(axis=1 - axis)
        middle = (mass * np.arange(length)).sum() / max(mass.sum(), 1)
        start.append(int(np.clip(round(14 - middle), 0, 28 - length)))
    canvas[start[0] : start[0] + values.shape[0], start[1] : start[1] + values.shape[1]] = values
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="digits", help="name or folder of a digit classifier")
    parser.add_argument("--count", type=int, default=300, help="pictures of each kind")
    parser.add_argument("--flagged", type=float, help="share of test digits below one threshold")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = ch.load(options.model)
    test = ch.load_dataset("mnist", "test").images

    def certainty(images: torch.Tensor) -> torch.Tensor:
        rows, config = predict_probabilities(model, images), model.config
        return certainty_of(rows, images, config.threshold_temperature, config.certainty_weights)

    if options.flagged is not None:
        below = float(certainty(test).quantile(options.flagged))
        model.config = replace(model.config, doubtful_below=below, rejected_below=0.0)
    below = model.config.doubtful_below
    title = f"{options.model}: accepted without a remark, in % (doubtful below {below:.3f})"
    table = Table("kind", title=title)
    for column in ("n", "tensors", "95 %", "n", "pictures", "95 %", "doubtful", "rejected"):
        table.add_column(column, justify="right")

    def add(name: str, tensors: torch.Tensor, pictures: list[Picture]) -> None:
        accepted = int((certainty(tensors) >= below).sum())
        states = Counter(
            "several"
            if name in (STACKED, TOUCHING) and len(prediction.digits) == 2
            else prediction.status
            for prediction in ch.predict(model, pictures)
        )
        cells = []
        for count, total in ((accepted, len(tensors)), (states["confident"], len(pictures))):
            low, high = (100 * x for x in wilson_interval(count, total))
            cells += [str(total), f"{100 * count / total:.1f}", f"{low:.1f} – {high:.1f}"]
        others = [f"{100 * states[x] / len(pictures):.1f}" for x in ("doubtful", "rejected")]
        table.add_row(name, *cells, *others)

    some = [ImageOps.invert(Image.fromarray(x)) for x in test[: options.count, 0].numpy()]
    add("MNIST test digits", test, some)
    for name, make in kinds():
        random = np.random.default_rng(options.seed)
        pictures = [make(random) for _ in range(options.count)]
        add(name, torch.from_numpy(np.stack([tensor_of(x) for x in pictures]))[:, None], pictures)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
