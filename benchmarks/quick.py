"""Accuracy and duration of the recipe `quick` over seeds, on MNIST's test digits.

With --holdout the last 10,000 training digits are the test set, and training uses the other 50,000:
settings are chosen there. Run it on an idle machine: python -m benchmarks.quick
"""

import argparse
import statistics
import time
from dataclasses import replace

import scipy.stats
from rich.console import Console

from clearhead.data import ImageDataset, load_dataset
from clearhead.inference import evaluate
from clearhead.training import Callback, fit
from clearhead.training.recipes import quick


class Messages(Callback):
    """Prints what the machine chose."""

    def on_message(self, text: str) -> None:
        """Print one line."""
        Console(highlight=False).print(text)


def part(dataset: ImageDataset, start: int, stop: int) -> ImageDataset:
    images, labels = dataset.images[start:stop], dataset.labels[start:stop]
    return replace(dataset, images=images, labels=labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--holdout", action="store_true")
    arguments = parser.parse_args()
    train_set = load_dataset("mnist", "train")
    test_set = load_dataset("mnist", "test")
    if arguments.holdout:
        train_set, test_set = part(train_set, 0, 50_000), part(train_set, 50_000, 60_000)
    console = Console(highlight=False)
    accuracies: list[float] = []
    durations: list[float] = []
    messages = Messages()
    for seed in arguments.seeds:
        started, processor = time.perf_counter(), time.process_time()
        config = replace(quick(), seed=seed, precision=arguments.precision)
        model = fit(config, train_set, callback=messages).result
        durations.append(time.perf_counter() - started)
        processor = time.process_time() - processor
        accuracies.append(evaluate(model, test_set).accuracy)
        console.print(
            f"seed {seed}: {accuracies[-1]:.2%} after {durations[-1]:.1f} s "
            f"({processor:.1f} s of processor time)"
        )
    mean, count = statistics.mean(accuracies), len(accuracies)
    console.print(f"{count} seeds: mean {mean:.3%}, median of {statistics.median(durations):.1f} s")
    if count > 1:
        error = statistics.stdev(accuracies) / count**0.5
        half = float(scipy.stats.t.ppf(0.975, count - 1)) * error
        console.print(f"95 % interval of the mean: {mean - half:.3%} – {mean + half:.3%}")


if __name__ == "__main__":
    main()
