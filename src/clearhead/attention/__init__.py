"""Scaled dot-product attention: functions of tensors, and one module.

- `stages`: scores → scaled → masked → weights → context, each a function, and all at once
- `functional`: `scaled_dot_product_attention`, the same context, faster
- `masks`: causal, padding, band
- `multihead`: `MultiHeadAttention`
"""

from clearhead.attention.functional import scaled_dot_product_attention
from clearhead.attention.masks import band_mask, causal_mask, padding_mask
from clearhead.attention.multihead import MultiHeadAttention
from clearhead.attention.stages import (
    AttentionStages,
    attention_stages,
    context,
    masked,
    scaled,
    scores,
    weights,
)

__all__ = [
    "AttentionStages",
    "MultiHeadAttention",
    "attention_stages",
    "band_mask",
    "causal_mask",
    "context",
    "masked",
    "padding_mask",
    "scaled",
    "scaled_dot_product_attention",
    "scores",
    "weights",
]
