"""What attention accepts."""

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

from clearhead.errors import InputError


def check_inputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    enable_gqa: bool,
) -> None:
    """Raise `InputError` for what the formula has no meaning for."""
    _check_types(query, key, value)
    _check_shapes(query, key, value, enable_gqa)
    if attn_mask is not None:
        if is_causal:
            raise InputError("give attn_mask or is_causal=True, not both")
        _check_mask(attn_mask, query, key)
    if not 0.0 <= dropout_p <= 1.0:
        raise InputError(f"dropout_p must lie in 0 … 1, got {dropout_p}")


def _check_types(query: Tensor, key: Tensor, value: Tensor) -> None:
    if not (query.dtype == key.dtype == value.dtype and query.is_floating_point()):
        raise InputError(
            "query, key and value must share one floating-point dtype, "
            f"got {query.dtype}, {key.dtype} and {value.dtype}"
        )


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> None:
    if min(query.dim(), key.dim(), value.dim()) < 2:
        _refuse("query, key and value need at least 2 dimensions", query, key, value)
    if query.shape[-1] != key.shape[-1]:
        _refuse("query and key must have the same head_dim (last axis)", query, key, value)
    if key.shape[-2] != value.shape[-2]:
        _refuse("key and value must have the same length (axis -2)", query, key, value)
    if enable_gqa:
        _check_groups(query, key, value)
    end = -3 if enable_gqa else -2
    q, k, v = query.shape[:end], key.shape[:end], value.shape[:end]
    if not (q == k == v or (_fit(q, k) and _fit(q, v) and _fit(k, v))):
        _refuse("leading axes must be equal, or 1 to broadcast", query, key, value)


def _refuse(expected: str, query: Tensor, key: Tensor, value: Tensor) -> NoReturn:
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    raise InputError(f"{expected}, got {shapes}")


def _check_groups(query: Tensor, key: Tensor, value: Tensor) -> None:
    if min(query.dim(), key.dim(), value.dim()) < 3:
        raise InputError("enable_gqa needs a head axis (-3) on query, key and value")
    heads, key_heads, value_heads = (x.shape[-3] for x in (query, key, value))
    if not key_heads or not value_heads or heads % key_heads or heads % value_heads:
        raise InputError(
            f"with enable_gqa the query heads ({heads}) must be a multiple of the key heads "
            f"({key_heads}) and of the value heads ({value_heads})"
        )


def _check_mask(attn_mask: Tensor, query: Tensor, key: Tensor) -> None:
    if attn_mask.dtype not in (torch.bool, query.dtype, torch.float32):
        raise InputError(
            f"attn_mask must be bool (True = attend) or {query.dtype}, got {attn_mask.dtype}"
        )
    weights = (*query.shape[:-1], key.shape[-2])
    if not _fit(attn_mask.shape, weights):
        raise InputError(
            f"attn_mask of shape {tuple(attn_mask.shape)} does not broadcast over the weights, "
            f"whose shape is {weights}"
        )


def _fit(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes broadcast: from the right, sizes are equal or one of them is 1."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return all(a == b or a == 1 or b == 1 for a, b in pairs)
