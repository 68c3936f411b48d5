"""Speed of attention: the explicit stages, torch's fused kernel, and ours, which uses either.

    python benchmarks/attention_paths.py [--quick] [--threads N]

All three run in one process and take turns, so that other load affects them alike. Times are
medians over the rounds, in milliseconds. The last column is the time of torch's kernel divided by
ours: above 1, ours is faster. `SMALL_MATRIX` in `clearhead.attention.functional` is chosen by this
table.
"""

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from clearhead.attention import attention_stages, scaled_dot_product_attention

SHAPES = (  # batch, heads, tokens, head_dim
    (512, 4, 16, 16),  # the digit classifier in training
    (1, 4, 16, 16),  # ... and with one digit
    (64, 4, 49, 16),
    (64, 12, 64, 64),
    (16, 12, 197, 64),  # ViT-B/16 on ImageNet
    (4, 8, 1024, 64),
)
QUICK = ((1, 4, 16, 16), (2, 4, 197, 16))
DTYPES = (torch.float32, torch.bfloat16)
MIN_SECONDS = 0.005  # short calls are repeated until one measurement takes this long

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def explicit(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention_stages(query, key, value).context.to(query.dtype)


PATHS: dict[str, Attend] = {
    "stages": explicit,
    "torch": F.scaled_dot_product_attention,
    "ours": scaled_dot_product_attention,
}


def inputs(shape: tuple[int, int, int, int], dtype: torch.dtype, grad: bool) -> list[Tensor]:
    """Query, key and value as a Transformer makes them: views of one projection."""
    batch, heads, tokens, head_dim = shape
    projected = torch.randn(batch, tokens, 3, heads, head_dim, dtype=dtype)
    return [x.requires_grad_(grad) for x in projected.permute(2, 0, 3, 1, 4).unbind()]


def run(attend: Attend, tensors: list[Tensor], backward: bool) -> None:
    output = attend(*tensors)
    if backward:
        torch.autograd.grad(output, tensors, torch.ones_like(output))


def seconds(attend: Attend, tensors: list[Tensor], backward: bool, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run(attend, tensors, backward)
    return (time.perf_counter() - start) / calls


def measure(
    shape: tuple[int, int, int, int], dtype: torch.dtype, backward: bool, rounds: int
) -> dict[str, float]:
    """Median seconds of each path; the paths take turns, each round in another order."""
    tensors = inputs(shape, dtype, backward)
    once = max(seconds(attend, tensors, backward, 2) for attend in PATHS.values())
    calls = max(1, round(MIN_SECONDS / once))
    taken: dict[str, list[float]] = {name: [] for name in PATHS}
    names = list(PATHS)
    for turn in range(rounds):
        for name in names[turn % 3 :] + names[: turn % 3]:
            taken[name].append(seconds(PATHS[name], tensors, backward, calls))
    return {name: median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Attention by three paths, side by side.")
    parser.add_argument("--quick", action="store_true", help="two shapes, three rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    table = Table(
        title=f"Attention, median ms (torch {torch.__version__}, {platform.machine()}, "
        f"{options.threads} threads)"
    )
    for column in ("batch, heads, tokens, dim", "type", "pass"):
        table.add_column(column)
    for column in (*PATHS, "torch / ours"):
        table.add_column(column, justify="right")
    for shape in QUICK if options.quick else SHAPES:
        for dtype in DTYPES:
            for backward in (False, True):
                found = measure(shape, dtype, backward, rounds=3 if options.quick else 31)
                table.add_row(
                    ", ".join(map(str, shape)),
                    str(dtype).removeprefix("torch."),
                    "forward + backward" if backward else "forward",
                    *(f"{1e3 * found[name]:.3f}" for name in PATHS),
                    f"{found['torch'] / found['ours']:.2f}",
                )
    Console(width=max(100, Console().width)).print(table)


if __name__ == "__main__":
    main()
