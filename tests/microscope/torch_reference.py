"""Every stage of the page's forward pass, by PyTorch in double precision.

It uses the model's modules and `attention_stages`; each switch is applied by its definition.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from clearhead.attention import attention_stages
from clearhead.models.layers import Block
from clearhead.models.vit import VisionTransformer


@dataclass(frozen=True, kw_only=True)
class Switches:
    """The page's switches; `changes` are the arguments of its forward pass."""

    temperature: float = 1.0
    positions: bool = True
    removed: tuple[int, ...] = ()
    reversed: int | None = None  # layer
    masked: tuple[int, ...] = ()
    changes: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        changes = {
            "temperature": self.temperature,
            "positions": self.positions,
            "removed": list(self.removed),
            "reversed": self.reversed is not None,
            "layer": self.reversed or 0,
            "masked": list(self.masked),
        }
        object.__setattr__(self, "changes", changes)


@torch.no_grad()
def every_stage(
    model: VisionTransformer, images: Float[Tensor, "batch channels height width"], use: Switches
) -> ndarray:
    """All numbers of the forward pass, one row per image, in the order of web/test/bridge.ts."""
    tokens = model.patch_embed(images)
    if model.pos_embed is not None and use.positions:
        tokens = tokens + model.pos_embed
    rows = []
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        numbers, tokens = _block(block, tokens, layer, use)
        rows += numbers
    pooled = model.norm(tokens).mean(dim=1)
    rows += [pooled, model.head(pooled)]
    return np.concatenate([row.flatten(1).numpy() for row in rows], axis=1)


def _block(block: Block, x: Tensor, layer: int, use: Switches) -> tuple[list[Tensor], Tensor]:
    heads = block.attn.num_heads
    qkv = block.attn.qkv(block.norm1(x)).unflatten(-1, (3, heads, -1))
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    if use.reversed == layer:
        value = value.flip(dims=(2,))
    allowed = torch.ones(key.shape[2], key.shape[2], dtype=torch.bool)
    allowed[:, list(use.masked)] = False
    scale = query.shape[-1] ** -0.5 / use.temperature
    s = attention_stages(query, key, value, attn_mask=allowed, scale=scale)
    context = s.context.clone()
    for removed in use.removed:
        if removed // heads == layer:
            context[:, removed % heads] = 0.0
    concatenated = context.transpose(1, 2).flatten(2)
    projected = block.attn.proj(concatenated)
    attended = x + projected
    thought = block.mlp(block.norm2(attended))
    output = attended + thought
    parts = (query, key, value, s.scores, s.scaled, s.masked, s.weights, s.context)
    by_head = torch.cat([part.flatten(2) for part in parts], dim=2)
    return [by_head, concatenated, projected, attended, thought, output], output
