"""Initial weights with queries and keys as large as the argument for scaling assumes."""

import math
from typing import Any, cast

import torch
from torch import nn

from clearhead.models.vit import VisionTransformer
from clearhead.training import TrainConfig, initial_model


def unit_queries_and_keys(config: TrainConfig) -> VisionTransformer:
    """The initial model of a training, with queries and keys of variance 1.

    That is what the argument for the factor assumes (Vaswani et al. 2017, section 3.2.1); the usual
    initial weights of a Vision Transformer, of deviation 0.02, make queries and keys far smaller. A
    LayerNorm gives tokens of variance 1, so weights of variance 1/width do it. All other weights
    are those that the seed of `config` draws.
    """
    model: VisionTransformer = initial_model(config)
    generator = torch.Generator().manual_seed(config.seed)
    width = model.config.embed_dim
    with torch.no_grad():
        for block in model.blocks:
            weight: nn.Parameter = cast("Any", block).attn.qkv.weight
            drawn = torch.randn(2 * width, width, generator=generator) / math.sqrt(width)
            weight[: 2 * width] = drawn
    return model
