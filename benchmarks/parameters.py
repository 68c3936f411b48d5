"""Accuracy of the Vision Transformer against its number of parameters, from 5,000 to 1,000,000.

    python benchmarks/parameters.py [--epochs 5] [--seeds 3] [--out runs/parameters]

Every model has the same budget: that many passes over MNIST's 60,000 training digits with the
recipe `quick`; the last step is evaluated on the 10,000 test digits. When the same command is
given again, an interrupted training run continues, and a finished one is not repeated.
Prints one line per size: parameters, mean accuracy over the seeds with its 95 % interval (Student's
t), and the smallest and largest accuracy.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table
from scipy.stats import t

import clearhead as ch

SIZES = {  # embed_dim, depth, num_heads
    "4,538": (16, 1, 4),
    "7,818": (16, 2, 4),
    "16,330": (24, 2, 4),
    "40,618": (32, 3, 4),
    "116,842": (48, 4, 4),
    "304,906": (64, 6, 4),
    "678,538": (96, 6, 6),
    "1,001,354": (128, 5, 8),
}


def accuracy(out: Path, sizes: tuple[int, int, int], epochs: int, seed: int) -> float:
    """The accuracy on the test digits after a training run, which is made unless `out` has it."""
    if not (out / "metrics.json").exists():
        embed_dim, depth, num_heads = sizes
        model = ch.ViTConfig(embed_dim=embed_dim, depth=depth, num_heads=num_heads)
        ch.train("quick", out=out, model=model, epochs=epochs, seed=seed)
    measured: float = json.loads((out / "metrics.json").read_bytes())["test"]["accuracy"]
    return measured


def interval(values: list[float]) -> str:
    """The 95 % interval of the mean, in per cent."""
    if len(values) < 2:
        return "-"
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{mean(values) - half:.2%} - {mean(values) + half:.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/parameters"))
    options = parser.parse_args()
    table = Table(
        "parameters", "layers × dimensions", "accuracy", "interval", "smallest", "largest"
    )
    for name, sizes in SIZES.items():
        folder = options.out / f"{options.epochs}-epochs" / name.replace(",", "")
        values = [
            accuracy(folder / str(seed), sizes, options.epochs, seed)
            for seed in range(options.seeds)
        ]
        row = (f"{mean(values):.2%}", interval(values), f"{min(values):.2%}", f"{max(values):.2%}")
        table.add_row(name, f"{sizes[1]} × {sizes[0]}", *row)
    Console().print(table)


if __name__ == "__main__":
    main()
