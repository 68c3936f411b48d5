"""Attention by NumPy in float64, test tensors, and comparisons with a record."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

import clearhead as ch
from clearhead.recording import AttentionRecord

Array = NDArray[np.float64]

# How far two computations of the same numbers may differ, relative to the largest of them.
ROUNDING = {
    torch.float64: 1e-12,
    torch.float32: 2e-6,
    torch.float16: 4e-3,
    torch.bfloat16: 4e-2,
}

# Masks for five queries and seven keys: True = attend, or to be added.
MASK = torch.tensor([[True, False, True, True, False, True, True]] * 5)
MASK[2] = torch.tensor([False, True, False, True, True, False, True])
BIAS = torch.randn(5, 7, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


class Reversed(Tensor):
    """A mask that means the opposite of its data."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            kwargs["attn_mask"] = ~kwargs["attn_mask"].as_subclass(Tensor)
        return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]


class Labelled(Tensor):
    """A tensor with the operations of any other."""


class Stages(NamedTuple):
    scores: Array
    scaled: Array
    masked: Array
    weights: Array
    context: Array


def array(x: Tensor) -> Array:
    return np.asarray(x.detach().double().cpu().numpy(), dtype=np.float64)


def additive(mask: Tensor) -> Tensor:
    """A boolean mask (True = attend) as numbers to be added."""
    return torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | Array | None = None,
) -> Stages:
    """All stages; with fewer key heads, neighbouring query heads share one."""
    q, k, v = (array(x) for x in (query, key, value))
    if q.ndim > 2 and q.shape[-3] > k.shape[-3] > 1:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], axis=-3) for x in (k, v))
    scores = np.einsum("...qd,...kd->...qk", q, k)
    scaled = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
    masked = scaled
    if causal:
        masked = np.where(np.tri(*scores.shape[-2:]) > 0, masked, -np.inf)
    if mask is not None and mask.dtype == torch.bool:
        masked = np.where(mask.numpy(), masked, -np.inf)
    elif mask is not None:
        masked = masked + array(mask)
    weights = softmax(masked)
    return Stages(scores, scaled, masked, weights, np.einsum("...qk,...kd->...qd", weights, v))


def softmax(x: Array) -> Array:
    """The softmax of each row; zeros where all of it is -inf."""
    if not x.size:
        return np.zeros_like(x)
    top = x.max(axis=-1, keepdims=True)
    exponentials = np.exp(x - np.where(np.isneginf(top), 0.0, top))
    total = exponentials.sum(axis=-1, keepdims=True)
    return np.asarray(exponentials / np.where(total == 0.0, 1.0, total))


def assert_close(
    result: Tensor | Array, expected: Tensor | Array, dtype: torch.dtype = torch.float64
) -> None:
    """Equal shapes, and equal numbers up to the rounding of `dtype`."""
    x, y = (array(z) if isinstance(z, Tensor) else z for z in (result, expected))
    assert x.shape == y.shape, f"{x.shape}, expected {y.shape}"
    finite = np.abs(y[np.isfinite(y)])
    size = float(finite.max()) if finite.size else 1.0
    np.testing.assert_allclose(x, y, rtol=0, atol=ROUNDING[dtype] * max(size, 1.0))


def assert_stages(
    record: AttentionRecord,
    expected: Stages,
    dtype: torch.dtype = torch.float64,
    *,
    leading: tuple[int, ...] | None = None,
    only: tuple[str, ...] = Stages._fields,
) -> None:
    """The record's stages, and the model's output, are as expected.

    `leading` is the shape of the record's axes before rows and columns, where it differs.
    """
    stages = expected._asdict()
    pairs = [(getattr(record, name), stages[name]) for name in only]
    for result, numbers in [*pairs, (record.output, expected.context)]:
        shape = numbers.shape if leading is None else (*leading, *numbers.shape[-2:])
        assert_close(result, numbers.reshape(shape), dtype)


def record_one(code: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[AttentionRecord, Any]:
    """The verified record of code that computes attention once, and the code's result."""
    with ch.capture() as recording:
        result = code(*args, **kwargs)
    (verification,) = recording.verify()
    assert verification.passed
    return recording[0], result


def storages(x: Any) -> dict[int, int]:
    """The bytes of each storage that a record, or a collection of records, holds at any depth."""
    sizes: dict[int, int] = {}
    visited: set[int] = set()

    def visit(x: Any) -> None:
        if id(x) in visited:
            return
        visited.add(id(x))
        parts: Any = ()
        if isinstance(x, Tensor):
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        elif isinstance(x, partial):
            parts = (x.func, *x.args, *x.keywords.values())
        elif isinstance(x, dict):
            parts = x.values()
        elif isinstance(x, list | tuple):
            parts = x
        elif callable(x) and getattr(x, "__closure__", None):
            parts = [cell.cell_contents for cell in x.__closure__]
        elif type(x).__module__.startswith("clearhead"):
            parts = vars(x).values() if hasattr(x, "__dict__") else ()
        for part in parts:
            visit(part)

    visit(x)
    return sizes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers from a seed, drawn in float64 for every type."""
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def triple(
    *,
    batch: tuple[int, ...] = (2, 3),
    kv_batch: tuple[int, ...] | None = None,
    queries: int = 5,
    keys: int = 7,
    head_dim: int = 11,
    value_dim: int = 13,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value; each axis has a size of its own."""
    shared = batch if kv_batch is None else kv_batch
    return (
        normal(*batch, queries, head_dim, seed=1, dtype=dtype),
        normal(*shared, keys, head_dim, seed=2, dtype=dtype),
        normal(*shared, keys, value_dim, seed=3, dtype=dtype),
    )
