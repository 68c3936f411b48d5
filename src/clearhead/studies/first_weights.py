"""Readers that begin with queries and keys as large as the argument for scaling supposes."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.training.config import TrainConfig


@contextmanager
def unit_queries_and_keys(config: TrainConfig) -> Iterator[TrainConfig]:
    """The same training, from first weights with which queries and keys have variance 1.

    That is what the argument for the factor supposes (Vaswani et al. 2017, section 3.2.1); a Vision
    Transformer's first weights, of deviation 0.02, make queries and keys far smaller. A LayerNorm
    gives tokens of variance 1, so weights of variance 1/width do it. All other weights are those
    that the seed of `config` draws.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = VisionTransformer(cast("ViTConfig", config.model))
    generator = torch.Generator().manual_seed(config.seed)
    width = model.config.embed_dim
    with torch.no_grad():
        for block in model.blocks:
            weight: nn.Parameter = cast("Any", block).attn.qkv.weight
            drawn = torch.randn(2 * width, width, generator=generator) / math.sqrt(width)
            weight[: 2 * width] = drawn
    with tempfile.TemporaryDirectory(prefix="clearhead-") as folder:
        model.save_pretrained(folder)
        yield replace(config, start=folder)
