"""The definition of attention, one small function per stage.

scores = Q Kᵀ  →  scaled = scores · scale  →  masked  →  weights = softmax of each row
→  context = weights · V            (Vaswani et al. 2017, "Attention Is All You Need", eq. 1)

This explicit computation is the reference; every faster one must equal it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.attention.masks import plain_mask, with_causal
from clearhead.errors import InputError

HALF = (torch.float16, torch.bfloat16)


class AttentionStages(NamedTuple):
    """All five stages of one attention, in the order in which they are computed."""

    scores: Float[Tensor, "*batch queries keys"]
    scaled: Float[Tensor, "*batch queries keys"]
    masked: Float[Tensor, "*batch queries keys"]
    weights: Float[Tensor, "*batch queries keys"]
    context: Float[Tensor, "*batch queries value_dim"]

    def __repr__(self) -> str:
        shapes = (f"{name}={tuple(x.shape)}" for name, x in self._asdict().items())
        return f"AttentionStages({', '.join(shapes)})"


def scores(
    query: Float[Tensor, "*#batch queries head_dim"], key: Float[Tensor, "*#batch keys head_dim"]
) -> Float[Tensor, "*_ queries keys"]:
    """The dot product of each query with each key: Q Kᵀ.

    Args:
        query: Of shape (*batch, queries, head_dim).
        key: Of shape (*batch, keys, head_dim); the batch axes are broadcast.

    Returns:
        Scores of shape (*batch, queries, keys).
    """
    return query @ key.transpose(-2, -1)


def scaled(
    scores: Float[Tensor, "*batch queries keys"], scale: float | Tensor
) -> Float[Tensor, "*batch queries keys"]:
    """Scores times `scale`.

    With inputs of variance 1, q·k has variance head_dim; the factor brings it back to 1.

    Args:
        scores: Of shape (*batch, queries, keys).
        scale: 1/√head_dim, or a tensor with one factor for each matrix.

    Returns:
        Scaled scores of the same shape.
    """
    return scores * scale


def default_scale(head_dim: int) -> float:
    """1/√head_dim (1 for heads of size 0, whose scores are all zero)."""
    return 1.0 / math.sqrt(head_dim) if head_dim else 1.0


def masked(
    scaled: Float[Tensor, "*#batch queries keys"], attn_mask: Tensor | None
) -> Float[Tensor, "*_ queries keys"]:
    """Scaled scores with -inf where a boolean mask is False, or plus a float mask.

    Args:
        scaled: Scaled scores of shape (*batch, queries, keys).
        attn_mask: Boolean (True = attend) or floating point, of a shape that broadcasts to that of
            the scores; None changes nothing.

    Returns:
        Masked scores, of the shape to which both broadcast.
    """
    if attn_mask is None:
        return scaled
    if attn_mask.dtype == torch.bool:
        return scaled.masked_fill(~attn_mask, -math.inf)
    return scaled + attn_mask


def weights(
    masked: Float[Tensor, "*batch queries keys"],
) -> Float[Tensor, "*batch queries keys"]:
    """Softmax of each row: a distribution over the keys; zeros where every key is masked.

    The zeros follow PyTorch since 2.5; a plain softmax would give NaN there.

    Args:
        masked: Masked scores of shape (*batch, queries, keys).

    Returns:
        Weights of the same shape; each row sums to 1, or to 0 where every key is masked.
    """
    fully_masked = (masked == -math.inf).all(dim=-1, keepdim=True)
    # filled before as well as after: a NaN inside the softmax would come back in the gradients
    rows = torch.softmax(masked.masked_fill(fully_masked, 0.0), dim=-1)
    return rows.masked_fill(fully_masked, 0.0)


def context(
    weights: Float[Tensor, "*#batch queries keys"],
    value: Float[Tensor, "*#batch keys value_dim"],
) -> Float[Tensor, "*_ queries value_dim"]:
    """The weighted sum of the values: weights · V.

    Args:
        weights: Of shape (*batch, queries, keys).
        value: Of shape (*batch, keys, value_dim); the batch axes are broadcast.

    Returns:
        One vector for each query, of shape (*batch, queries, value_dim).
    """
    return weights @ value


def attention_stages(
    query: Float[Tensor, "*#batch queries head_dim"],
    key: Float[Tensor, "*#kv_batch keys head_dim"],
    value: Float[Tensor, "*#kv_batch keys value_dim"],
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> AttentionStages:
    """All five stages of attention; half-precision inputs are computed in float32.

    Args:
        query: Queries of shape (…, queries, head_dim).
        key: Keys of shape (…, keys, head_dim).
        value: Values of shape (…, keys, value_dim).
        attn_mask: As in `scaled_dot_product_attention`, like all following arguments.
        dropout_p: Dropout probability; the weights returned are those before dropout.
        is_causal: Query i attends to keys 0 … i; applies together with `attn_mask`.
        scale: Factor on the scores; None is 1/√head_dim.
        enable_gqa: Grouped-query attention: key and value may have fewer heads (axis -3).

    Returns:
        Scores, scaled scores, masked scores, weights (all (…, queries, keys)) and context
        (…, queries, value_dim).

    Raises:
        InputError: If shapes, dtypes or options do not fit together.

    """
    check_dense(query, key, value, attn_mask)
    if attn_mask is not None:
        attn_mask = plain_mask(attn_mask, query.device)
    check_inputs(query, key, value, attn_mask, dropout_p, enable_gqa)
    if enable_gqa:
        key, value = share_heads(key, value, query.shape[-3])
    if is_causal:
        attn_mask = with_causal(attn_mask, query.shape[-2], key.shape[-2], query.device)
    query, key, value = (at_least_float32(x) for x in (query, key, value))

    raw = scores(query, key)
    small = scaled(raw, default_scale(query.shape[-1]) if scale is None else scale)
    allowed = masked(small, attn_mask)
    rows = weights(allowed)
    kept = torch.dropout(rows, dropout_p, train=True) if dropout_p > 0.0 else rows
    return AttentionStages(raw, small, allowed, rows, context(kept, value))


def share_heads(key: Tensor, value: Tensor, num_query_heads: int) -> tuple[Tensor, Tensor]:
    """Repeat the heads of key and value, each for a run of neighbouring query heads.

    (Grouped-query attention; Ainslie et al. 2023, "GQA", arXiv 2305.13245.)
    """
    key = key.repeat_interleave(num_query_heads // key.shape[-3], dim=-3)
    value = value.repeat_interleave(num_query_heads // value.shape[-3], dim=-3)
    return key, value


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32, other types unchanged."""
    return x.float() if x.dtype in HALF else x


def check_inputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    dropout_p: float,
    enable_gqa: bool,
) -> None:
    """Raise `InputError` for inputs for which the formula is not defined."""
    if not (query.dtype == key.dtype == value.dtype and query.is_floating_point()):
        raise InputError(
            "query, key and value must share one floating-point dtype, "
            f"got {query.dtype}, {key.dtype} and {value.dtype}"
        )
    _check_shapes(query, key, value, enable_gqa)
    if attn_mask is not None:
        _check_mask(attn_mask, query, key, () if enable_gqa else value.shape[:-2])
    if not 0.0 <= dropout_p <= 1.0:
        raise InputError(f"dropout_p must lie in 0 … 1, got {dropout_p}")


def check_dense(*tensors: Tensor | None) -> None:
    """Raise `InputError` for sparse and nested tensors."""
    for x in tensors:
        if x is not None and (x.layout is not torch.strided or x.is_nested):
            kind = "nested" if x.is_nested else str(x.layout).removeprefix("torch.")
            advice = "to_padded_tensor, with a mask" if x.is_nested else "to_dense"
            raise InputError(f"attention needs dense tensors, got a {kind} one; use {advice}")


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
    if not (q == k == v or (_broadcast(q, k) and _broadcast(q, v) and _broadcast(k, v))):
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


def _check_mask(attn_mask: Tensor, query: Tensor, key: Tensor, leading: Sequence[int]) -> None:
    if attn_mask.dtype not in (torch.bool, query.dtype, torch.float32):
        raise InputError(
            f"attn_mask must be bool (True = attend) or {query.dtype}, got {attn_mask.dtype}"
        )
    weights = (*query.shape[:-1], key.shape[-2])
    if not (_broadcast(attn_mask.shape, weights) and _broadcast(attn_mask.shape[:-2], leading)):
        raise InputError(
            f"attn_mask of shape {tuple(attn_mask.shape)} does not broadcast over the weights, "
            f"whose shape is {weights}"
        )


def _broadcast(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two shapes broadcast: from the right, sizes are equal or one of them is 1."""
    pairs = zip(reversed(first), reversed(second), strict=False)
    return all(a == b or a == 1 or b == 1 for a, b in pairs)
