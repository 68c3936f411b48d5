"""Cost of a computation: processor time, memory, gain by threads, longest chain of operations."""

import json
import os
import tempfile
import time
import timeit
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import linear_regression
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from joblib import cpu_count
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from clearhead import attention
from clearhead.studies import Curves, Summary, Trial, Values

CONDITIONS = ("explicit", "fused", "streamed", "recurrent")
MEASURES = {"seconds": "processor time", "bytes": "memory", "chain": "longest chain"}

Computation = Callable[[], Any]

ROWS, COLUMNS = 128, 512
"""Of the blocks of scores in streamed attention"""


def costs_by_length(trial: Trial) -> Values:
    """Seconds and bytes for each length, the chain for each short one, and the gain by threads.

    Settings: `lengths`, `chain_lengths`, `repeats`, `gain_length` and `width`; the condition names
    the layer (`sequence_layer`).
    """
    settings, generator = trial.settings, torch.Generator().manual_seed(trial.seed)
    width, repeats, seconds, held, gain = settings["width"], settings["repeats"], [], [], None
    layer = sequence_layer(trial.condition, width, trial.seed)
    with torch.no_grad():
        for length in settings["lengths"]:
            compute = partial(layer, torch.randn(1, length, width, generator=generator))
            seconds.append(fastest(compute, repeats, time.process_time))
            held.append(peak_bytes(compute))
        if cpu_count() >= 2:
            x = torch.randn(1, settings["gain_length"], width, generator=generator)
            gain = speedup(partial(layer, x), repeats)
    return {
        "lengths": list(settings["lengths"]),
        "seconds": seconds,
        "bytes": held,
        "chain_lengths": list(settings["chain_lengths"]),
        "chain": [sequence_chain(trial.condition, n, width) for n in settings["chain_lengths"]],
        "gain": gain,
        "cores": cpu_count(),
    }


def fastest(compute: Computation, repeats: int, clock: Callable[[], float]) -> float:
    """Minimum of several runs after one to warm up, because other processes only add time."""
    compute()
    return min(timeit.repeat(compute, timer=clock, number=1, repeat=repeats))


def speedup(compute: Computation, repeats: int, threads: int = 2) -> float:
    """Wall time with one thread divided by that with several; other processes disturb it."""
    walls, before = [], torch.get_num_threads()
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            walls.append(fastest(compute, repeats, time.perf_counter))
    finally:
        torch.set_num_threads(before)
    return walls[0] / walls[1]


def peak_bytes(compute: Computation) -> int:
    """Peak of what torch's allocator held, the result included, by torch's profiler.

    Allocations inside kernels count; buffers outside torch's allocator, as of oneDNN, do not.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes to the terminal
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = compute()
    del result
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        trace = json.loads(path.read_text())
    events = [event for event in trace["traceEvents"] if event.get("name") == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: float(event["ts"])):
        held += int(event["args"]["Bytes"])
        peak = max(peak, held)
    return peak


def longest_chain(result: Tensor) -> int:
    """Number of operations that must follow one another, by autograd's graph.

    However parallel a machine is, these operations need as many steps.
    """
    depth: dict[Any, int] = {}
    stack = [result.grad_fn]
    while stack:
        node = stack[-1]
        before = [x for x, _ in getattr(node, "next_functions", ()) if x is not None]
        missing = [x for x in before if x not in depth]
        if missing:
            stack += missing
            continue
        depth[node] = 1 + max((depth[x] for x in before), default=0)
        stack.pop()
    return depth[result.grad_fn]


def exponent(lengths: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of log cost against log length, by least squares."""
    # exact for equal costs; the rounding of np.polyfit depends on where its arrays are in memory
    return linear_regression(np.log(lengths), np.log(costs)).slope


def local_slopes(lengths: Sequence[float], costs: Sequence[float]) -> list[float]:
    """Slope of log cost against log length from each length to the next."""
    return [float(x) for x in np.diff(np.log(costs)) / np.diff(np.log(lengths))]


def growth(
    of: Callable[[Sequence[float], Sequence[float]], Any], measure: str
) -> Callable[[Values], Any]:
    """`exponent` or `local_slopes` of a measure in a trial's values."""
    lengths = "chain_lengths" if measure == "chain" else "lengths"
    return lambda values: of(values[lengths], values[measure])


def sequence_layer(name: str, width: int, seed: int = 0) -> Callable[[Tensor], Any]:
    """One head of attention, "explicit", "fused" or "streamed"; or "recurrent", an LSTM."""
    if name == "recurrent":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.LSTM(width, width, batch_first=True)
    attend: Callable[..., Any] = {
        "explicit": lambda q, k, v: attention.attention_stages(q, k, v).context,
        "fused": nn.functional.scaled_dot_product_attention,
        "streamed": streamed_attention,
    }[name]
    # with an axis of heads: without one torch uses the explicit formula
    return lambda x: attend(x[:, None], x[:, None], x[:, None])


def sequence_chain(name: str, length: int, width: int) -> int:
    """Longest chain of a layer; of the LSTM step by step, as its kernel is a single operation."""
    x = torch.zeros(1, length, width, requires_grad=True)
    if name != "recurrent":
        return longest_chain(sequence_layer(name, width)(x))
    cell = nn.LSTMCell(width, width)
    hidden = memory = torch.zeros(1, width)
    for token in x.unbind(dim=1):
        hidden, memory = cell(token, (hidden, memory))
    return longest_chain(hidden)


def streamed_attention(
    query: Float[Tensor, "*batch queries head_dim"],
    key: Float[Tensor, "*batch keys head_dim"],
    value: Float[Tensor, "*batch keys value_dim"],
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
) -> Float[Tensor, "*batch queries value_dim"]:
    """softmax(Q Kᵀ / √d_k) V, never more than `rows` × `columns` scores at once.

    (Rabe and Staats 2021, "Self-attention Does Not Need O(n²) Memory", arXiv 2112.05682; the
    running maximum of Milakov and Gimelshein 2018, arXiv 1805.02867.) Only for measuring what the
    method costs in plain PyTorch; `scaled_dot_product_attention` is faster.
    """
    blocks = list(zip(key.split(columns, dim=-2), value.split(columns, dim=-2), strict=True))
    return torch.cat([_rows_of_blocks(part, blocks) for part in query.split(rows, dim=-2)], dim=-2)


def _rows_of_blocks(query: Tensor, blocks: list[tuple[Tensor, Tensor]]) -> Tensor:
    query = query * query.shape[-1] ** -0.5
    largest = query.new_full((*query.shape[:-1], 1), -torch.inf)
    mass = torch.zeros_like(largest)
    context = query.new_zeros((*query.shape[:-1], blocks[0][1].shape[-1]))
    for key, value in blocks:
        scores = query @ key.transpose(-2, -1)
        larger = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
        shrink = torch.exp(largest - larger)
        weights = torch.exp(scores - larger)
        mass = mass * shrink + weights.sum(dim=-1, keepdim=True)
        context = context * shrink + weights @ value
        largest = larger
    return context / mass


_by_length = partial(Curves, xlabel="tokens in the sequence", xscale="log2", yscale="log")
PANELS = (
    _by_length("seconds", "processor time of one sequence (s)", x="lengths"),
    _by_length("bytes", "peak memory (bytes)", x="lengths", conditions=CONDITIONS[:3]),
    _by_length(
        "chain",
        "longest chain of dependent operations",
        x="chain_lengths",
        conditions=("explicit", "recurrent"),
    ),
)
SUMMARIES = tuple(
    Summary(f"{name} of {MEASURES[measure]}", growth(of, measure))
    for name, of in (("Exponent", exponent), ("Local slopes", local_slopes))
    for measure in ("seconds", "bytes")
)
