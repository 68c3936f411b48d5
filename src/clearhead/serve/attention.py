"""The attention of a Vision Transformer on a batch, from its own blocks."""

from typing import Protocol, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.attention import MultiHeadAttention, stages
from clearhead.data.pixels import normalize
from clearhead.errors import InputError
from clearhead.models.block import Block
from clearhead.models.build import ImageModel
from clearhead.models.vit import VisionTransformer

Weights = Float[Tensor, "layers batch heads queries keys"]


class AttentionOf(Protocol):
    """What gives a model's attention weights, in float64 on the CPU."""

    def __call__(
        self, model: ImageModel, images: UInt8[Tensor, "batch channels height width"]
    ) -> Weights:
        """All layers and heads."""


def attention_of(
    model: ImageModel, images: UInt8[Tensor, "batch channels height width"]
) -> Weights:
    """softmax(scale · Q Kᵀ) of every block, computed as the model does, in evaluation mode."""
    if not isinstance(model, VisionTransformer):
        raise InputError(f"a {type(model).__name__} has no attention to explain")
    like = next(model.parameters())
    layers = []
    with torch.inference_mode():
        tokens = model.embedded(normalize(images, model.config).to(like))
        for block in cast("list[Block]", list(model.blocks)):
            layers.append(_weights(block.attn, block.norm1(tokens)).double().cpu())
            tokens = block(tokens)
    return torch.stack(layers)


def _weights(
    attn: MultiHeadAttention, tokens: Float[Tensor, "batch tokens embed_dim"]
) -> Float[Tensor, "batch heads queries keys"]:
    inner = attn.num_heads * attn.head_dim
    query, key, value = (
        part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)
        for part in attn.qkv(tokens).split([inner, inner, attn.num_heads * attn.value_dim], dim=-1)
    )
    if attn.learned_scale is not None:
        query = query * attn.learned_scale
    return stages(query, key, value, scale=attn.scale).weights
