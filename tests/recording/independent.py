"""The stages of attention by NumPy in float64, and their comparison with a record."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clearhead.recording import AttentionRecord

Array = NDArray[np.float64]

# How far apart two computations of the same numbers may be, relative to the largest of them.
ROUNDING = {
    torch.float64: 1e-12,
    torch.float32: 2e-6,
    torch.float16: 4e-3,
    torch.bfloat16: 4e-2,
}


class Expected(NamedTuple):
    """What each stage must be."""

    scores: Array
    scaled: Array
    masked: Array
    weights: Array
    context: Array


def array(x: Tensor) -> Array:
    return np.asarray(x.detach().double().cpu().numpy(), dtype=np.float64)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | Array | None = None,
) -> Expected:
    """All stages; neighbouring query heads share a key head where there are fewer of those."""
    q, k, v = (array(x) for x in (query, key, value))
    if q.ndim > 2 and k.shape[-3] not in (1, q.shape[-3]):
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
    return Expected(scores, scaled, masked, weights, np.einsum("...qk,...kd->...qd", weights, v))


def softmax(x: Array) -> Array:
    """Of each row; zeros where all of it is -inf."""
    if not x.size:
        return np.zeros_like(x)
    top = x.max(axis=-1, keepdims=True)
    grown = np.exp(x - np.where(np.isneginf(top), 0.0, top))
    total = grown.sum(axis=-1, keepdims=True)
    return np.asarray(grown / np.where(total == 0.0, 1.0, total))


def close(found: Tensor | Array, expected: Array, dtype: torch.dtype = torch.float64) -> None:
    """Shapes equal, numbers equal up to the rounding of `dtype`."""
    numbers = array(found) if isinstance(found, Tensor) else found
    assert numbers.shape == expected.shape, f"{numbers.shape} instead of {expected.shape}"
    finite = np.abs(expected[np.isfinite(expected)])
    size = float(finite.max()) if finite.size else 1.0
    np.testing.assert_allclose(numbers, expected, rtol=0, atol=ROUNDING[dtype] * max(size, 1.0))


def same_stages(
    record: AttentionRecord, expected: Expected, dtype: torch.dtype = torch.float64, **shape: Any
) -> None:
    """Each stage of the record, and the output that the model produced, are as expected.

    `leading=(2, 3)` is the shape that the axes before rows and columns have in the record.
    """
    leading = shape.get("leading")
    for name, numbers in zip(Expected._fields, expected, strict=True):
        if leading is not None:
            numbers = numbers.reshape(*leading, *numbers.shape[-2:])
        close(getattr(record, name), numbers, dtype)
    context = expected.context
    if leading is not None:
        context = context.reshape(*leading, *context.shape[-2:])
    close(record.output, context, dtype)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same at each call; drawn in float64 whatever the type."""
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
