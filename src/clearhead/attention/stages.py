"""The definition of attention, one small function a stage.

scores = Q Kᵀ  →  scaled = scores · scale  →  masked  →  weights = softmax of each row
→  context = weights · V            (Vaswani et al. 2017, "Attention Is All You Need", eq. 1)

This explicit path is what the words mean; every faster path must equal it.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clearhead.attention.inputs import check_inputs
from clearhead.attention.masks import causal_mask

Mask = Bool[Tensor, "*#mask queries keys"] | Float[Tensor, "*#mask queries keys"]


class AttentionStages(NamedTuple):
    """All five stages of one attention, in the order in which they are computed."""

    scores: Float[Tensor, "*batch queries keys"]
    scaled: Float[Tensor, "*batch queries keys"]
    masked: Float[Tensor, "*batch queries keys"]
    weights: Float[Tensor, "*batch queries keys"]
    context: Float[Tensor, "*batch queries value_dim"]


def scores(
    query: Float[Tensor, "*#batch queries head_dim"], key: Float[Tensor, "*#batch keys head_dim"]
) -> Float[Tensor, "*_ queries keys"]:
    """How well each query matches each key: Q Kᵀ."""
    return query @ key.transpose(-2, -1)


def scaled(
    scores: Float[Tensor, "*batch queries keys"], scale: float | Tensor
) -> Float[Tensor, "*batch queries keys"]:
    """Scores times `scale`: 1/√d_k, or one factor for each matrix.

    With unit-variance inputs q·k has variance d_k; the factor keeps it near 1 whatever d_k is.
    """
    return scores * scale


def default_scale(head_dim: int) -> float:
    """1/√d_k (1 for empty heads, whose scores are all zero anyway)."""
    return 1.0 / math.sqrt(head_dim) if head_dim else 1.0


def masked(
    scaled: Float[Tensor, "*#batch queries keys"], attn_mask: Tensor | None
) -> Float[Tensor, "*_ queries keys"]:
    """Scaled scores with -inf where a boolean mask is False, or plus a float mask."""
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
    """
    nothing_to_attend = (masked == -math.inf).all(dim=-1, keepdim=True)
    # filled before as well as after: a NaN inside the softmax would come back in the gradients
    rows = torch.softmax(masked.masked_fill(nothing_to_attend, 0.0), dim=-1)
    return rows.masked_fill(nothing_to_attend, 0.0)


def context(
    weights: Float[Tensor, "*#batch queries keys"],
    value: Float[Tensor, "*#batch keys value_dim"],
) -> Float[Tensor, "*_ queries value_dim"]:
    """The weighted sum of the values: weights · V."""
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
    """All five stages, with the arguments of `torch.nn.functional.scaled_dot_product_attention`.

    Half-precision inputs are computed in float32. `dropout_p` thins out the weights on their
    way into the context; the weights given back are those before dropout.
    """
    check_inputs(query, key, value, attn_mask, dropout_p, is_causal, enable_gqa)
    if enable_gqa:
        key, value = share_heads(key, value, query.shape[-3])
    if is_causal:
        attn_mask = causal_mask(query.shape[-2], key.shape[-2], device=query.device)
    query, key, value = (_at_least_float32(x) for x in (query, key, value))

    raw = scores(query, key)
    small = scaled(raw, default_scale(query.shape[-1]) if scale is None else scale)
    allowed = masked(small, attn_mask)
    # without a mask no row can be empty, and the check for it would cost a pass over the matrix
    rows = torch.softmax(allowed, dim=-1) if attn_mask is None else weights(allowed)
    kept = torch.dropout(rows, dropout_p, train=True) if dropout_p > 0.0 else rows
    return AttentionStages(raw, small, allowed, rows, context(kept, value))


def share_heads(key: Tensor, value: Tensor, num_query_heads: int) -> tuple[Tensor, Tensor]:
    """Grouped-query attention: each key and value head serves a run of neighbouring query heads.

    (Ainslie et al. 2023, "GQA", arXiv 2305.13245.)
    """
    key = key.repeat_interleave(num_query_heads // key.shape[-3], dim=-3)
    value = value.repeat_interleave(num_query_heads // value.shape[-3], dim=-3)
    return key, value


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
