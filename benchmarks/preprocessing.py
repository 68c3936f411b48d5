"""Accuracy of the digit classifier on generated pictures, beside a plain resize.

"Wrong in silence": wrong without a warning. Test digits of MNIST; intervals of 95 %
(Wilson). Run it from the repository's root: python -m benchmarks.preprocessing
"""

import argparse
import time

import numpy as np
import torch
from numpy import ndarray
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from clearhead import load, load_dataset
from clearhead.data import Digit, extract_digit
from clearhead.inference._predict import predict_probabilities
from tests.data.preprocessing.scenes import NO_DIGITS, SCENES, Scene

UNSURE = 0.6


def plain_resize(picture: ndarray) -> ndarray:
    """(max - grey) / range, light on dark inverted by the median of the border, to 28 × 28."""
    values = picture.astype(float)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    if np.median(border) > (values.max() + values.min()) / 2:
        values = values.max() - values
    values = (values - values.min()) / max(float(np.ptp(values)), 1.0) * 255
    return np.asarray(Image.fromarray(values.astype(np.uint8)).resize((28, 28)))


def draw(name: str, scene: Scene, count: int, seed: int) -> tuple[list[ndarray], ndarray]:
    """Pictures of a kind, and the labels of their digits."""
    data = load_dataset("mnist", "test")
    pictures, labels = [], []
    for number in range(count):
        random = np.random.default_rng([seed + number, sum(map(ord, name))])
        index = int(random.integers(len(data.labels)))
        pictures.append(scene(data.images[index, 0].numpy(), random))
        labels.append(int(data.labels[index]))
    return pictures, np.array(labels)


def interval(hits: ndarray) -> str:
    """A share with its interval."""
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return f"{hits.mean():.1%} ({low:.1%} - {high:.1%})"


def main() -> None:
    """Print a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="pictures of a kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = load("digits")
    table = Table("kind", "right", "wrong in silence", "plain resize", "ms", title="Digits")
    others = Table("kind", "without a remark", title="No digits")

    def probabilities(pixels: list[ndarray]) -> ndarray:
        stacked = torch.from_numpy(np.stack(pixels))[:, None]
        return np.asarray(predict_probabilities(model, stacked))

    for name, scene in (SCENES | NO_DIGITS).items():
        pictures, labels = draw(name, scene, options.count, options.seed)
        start = time.process_time()
        digits: list[Digit] = [
            extract_digit(picture.astype(np.float32) / np.float32(255)) for picture in pictures
        ]
        spent = 1000 * (time.process_time() - start) / len(pictures)
        result = probabilities([digit.pixels for digit in digits])
        warned = np.array([bool(digit.warnings) for digit in digits]) | (result.max(1) < UNSURE)
        if name in NO_DIGITS:
            others.add_row(name, interval(~warned))
            continue
        right = (result.argmax(1) == labels) & np.array([digit.found for digit in digits])
        plain = probabilities([plain_resize(picture) for picture in pictures]).argmax(1) == labels
        silent = interval(~right & ~warned)
        table.add_row(name, interval(right), silent, interval(plain), f"{spent:.1f}")
    Console().print(table, others)


if __name__ == "__main__":
    main()
