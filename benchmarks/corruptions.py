"""Error under the fifteen corruptions of MNIST-C, with 95 % Wilson intervals.

    python benchmarks/corruptions.py [--model runs/mine] [--count 10000]

The model gets the corrupted MNIST test images as they are, without preprocessing of pictures. The
corruptions are those of `clearhead.data.corrupt`, whose module describes where they differ from the
published files.
"""

import argparse

from rich.console import Console
from rich.table import Table

import clearhead as ch
from clearhead.data import CORRUPTIONS, ImageDataset, corrupt
from clearhead.inference import Evaluation
from clearhead.training.batches import generator_for


def errors(model: ch.VisionTransformer, digits: ImageDataset, seed: int) -> dict[str, Evaluation]:
    """The evaluation of clean digits and of each corruption."""
    results = {"none": ch.evaluate(model, digits)}
    for name in CORRUPTIONS:
        images = corrupt(digits.images, name, generator_for("corruption", name, seed))
        corrupted = ImageDataset(name, images, digits.labels, digits.class_names)
        results[name] = ch.evaluate(model, corrupted)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="digits", help="name or folder of an image model")
    parser.add_argument(
        "--count", type=int, default=10_000, help="first images of MNIST's test set"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    test = ch.load_dataset("mnist", "test")
    first = slice(options.count)
    digits = ImageDataset("mnist", test.images[first], test.labels[first], test.class_names)
    results = errors(ch.load(options.model), digits, options.seed)
    table = Table("corruption", title=f"{options.model}, {len(digits)} test digits, error in %")
    table.add_column("error", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, result in results.items():
        low, high = (100 * (1 - bound) for bound in reversed(result.interval))
        table.add_row(name, f"{100 * (1 - result.accuracy):.2f}", f"{low:.2f} – {high:.2f}")
    mean = sum(1 - results[name].accuracy for name in CORRUPTIONS) / len(CORRUPTIONS)
    table.add_row("mean of the fifteen", f"{100 * mean:.2f}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
