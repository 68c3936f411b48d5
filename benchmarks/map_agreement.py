"""How well attribution maps of digit classifiers agree with exact Shapley values of the patches.

    python benchmarks/map_agreement.py [digits-distilled digits] [--split test] [--count 200]

The agreement is Spearman's correlation over the patches with ink, mean over the digits, with its
95 % t interval. A second column has it less that of ink, the mean brightness of each patch. Below
the table is, for each layer, the share of queries whose most attended patch is the same one.
"""

import argparse

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import clearhead as ch
from clearhead.insight import METHODS, Baseline, attribute, grid_of, shapley
from clearhead.insight.metrics import rank_correlations
from clearhead.insight.stats import mean_interval

COMPARED = [name for name in METHODS if name not in ("shapley", "random", "ink")]
CHUNK = 20  # digits


def correlations(model: ch.VisionTransformer, images: Tensor) -> dict[str, Tensor]:
    """The correlation of each map with the exact values, by name: one number for each digit."""
    grid, found = grid_of(model), []
    for some in images.split(CHUNK):
        exact = shapley(model, some)
        ink = Baseline.black(model.config).difference(some, grid)
        maps = {"ink": ink} | {
            name: attribute(name, model, some, classes=exact.classes) for name in COMPARED
        }
        found.append(
            {k: rank_correlations(v, exact.values, among=ink > 0) for k, v in maps.items()}
        )
    return {name: torch.cat([part[name] for part in found]).double() for name in found[0]}


@torch.no_grad()
def agreement_of_queries(model: ch.VisionTransformer, images: Tensor) -> list[float]:
    """Share of queries whose most attended patch is the most frequent one, for each layer.

    Mean over digits, from the mean weights of the heads, for models without prefix tokens.
    """
    with ch.capture() as recording:
        model(images)
    patches = grid_of(model).num_patches
    most = (record.weights.mean(1).argmax(-1) for record in recording.values())
    counts = (torch.nn.functional.one_hot(x, patches).sum(1) for x in most)
    return [float(x.amax(-1).double().mean() / patches) for x in counts]


def cell(values: Tensor, sign: str = "") -> str:
    """Mean and 95 % interval as text."""
    low, high = mean_interval(values) or (float("nan"), float("nan"))
    return f"{float(values.mean()):{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "models", nargs="*", default=["digits-distilled", "digits"], help="Vision Transformers"
    )
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of digits")
    options = parser.parse_args()
    data = ch.load_dataset("mnist", options.split)
    generator = torch.Generator().manual_seed(options.seed)
    chosen = torch.randperm(len(data), generator=generator)[: options.count]
    for name in options.models:
        model = ch.load(name, ch.VisionTransformer)
        images = ch.data.normalize(data.images[chosen], model.config)
        found = correlations(model, images)
        table = Table(
            "map", "correlation", "less that of ink", title=f"{name}: {len(images)} digits"
        )
        for method, values in sorted(found.items(), key=lambda item: -float(item[1].mean())):
            table.add_row(method, cell(values), cell(values - found["ink"], "+"))
        Console().print(table)
        shares = ", ".join(f"{share:.0%}" for share in agreement_of_queries(model, images))
        print(f"queries with the same most attended patch, by layer: {shares}")


if __name__ == "__main__":
    main()
