"""What a computation costs: processor time, memory, threads, and how much must wait for what."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

Computation = Callable[[], Any]


def processor_seconds(compute: Computation, repeats: int) -> float:
    """The least of several runs, after one to warm up: what else the machine does only adds."""
    return _least(compute, repeats, time.process_time)


def speedup(compute: Computation, repeats: int, threads: int = 2) -> float:
    """Time on the clock with one thread over that with several; other work beside it spoils it."""
    with _threads(1):
        alone = _least(compute, repeats, time.perf_counter)
    with _threads(threads):
        together = _least(compute, repeats, time.perf_counter)
    return alone / together


def peak_bytes(compute: Computation) -> int:
    """The most that torch's allocator held at once for it, what it gives back included.

    From the profiler's record of every allocation, those inside kernels too; buffers that a
    library such as oneDNN takes past torch's allocator are not seen.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler talks to the terminal
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        kept = compute()
    del kept
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(path))
        trace = json.loads(path.read_text())
    events = [event for event in trace["traceEvents"] if event.get("name") == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: float(event["ts"])):
        held += int(event["args"]["Bytes"])
        peak = max(peak, held)
    return peak


def longest_chain(result: Tensor) -> int:
    """How many operations must follow one after another, by the graph that autograd keeps.

    No machine, however parallel, needs fewer steps for these operations.
    """
    depth: dict[Any, int] = {}
    waiting = [result.grad_fn]
    while waiting:
        node = waiting[-1]
        before = [x for x, _ in getattr(node, "next_functions", ()) if x is not None]
        missing = [x for x in before if x not in depth]
        if missing:
            waiting += missing
            continue
        depth[node] = 1 + max((depth[x] for x in before), default=0)
        waiting.pop()
    return depth[result.grad_fn]


def _least(compute: Computation, repeats: int, clock: Callable[[], float]) -> float:
    compute()
    times = []
    for _ in range(repeats):
        before = clock()
        compute()
        times.append(clock() - before)
    return min(times)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


ROWS, COLUMNS = 128, 512


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
    running maximum of Milakov and Gimelshein 2018, arXiv 1805.02867.) A study's own: it shows what
    the idea costs in plain PyTorch, forward only; `scaled_dot_product_attention` is the fast way.
    """
    blocks = list(zip(key.split(columns, dim=-2), value.split(columns, dim=-2), strict=True))
    return torch.cat([_some_rows(some, blocks) for some in query.split(rows, dim=-2)], dim=-2)


def _some_rows(query: Tensor, blocks: list[tuple[Tensor, Tensor]]) -> Tensor:
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
