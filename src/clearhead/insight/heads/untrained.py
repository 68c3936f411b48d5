"""What heads look like before they have learnt anything: what roles are held against."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.attention.multihead import MultiHeadAttention
from clearhead.insight.heads.measured import HeadMeasures, measure_heads
from clearhead.insight.heads.measures import entropy
from clearhead.insight.ink import Ink
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording._capture import capture

SEEDS = tuple(range(20))

# Images on which weights are made as sharp as a trained model's; their mean hardly varies.
SHARPENING_IMAGES = 20
HALVINGS = 25
LARGEST_FACTOR = 1e6


def untrained_heads(
    config: ViTConfig,
    images: Float[Tensor, "batch channels height width"],
    *,
    ink: Ink | None = None,
    seeds: Sequence[int] = SEEDS,
    as_sharp_as: HeadMeasures | None = None,
) -> tuple[HeadMeasures, ...]:
    """The measures of untrained models of one configuration, one for each seed, on these images.

    `images` are normalised. Fresh weights give attention that is almost even, so that any trained
    head differs. With `as_sharp_as` (the measures of the trained model) the queries of every layer
    are scaled until the layer's mean entropy is that of the trained one: still random, but as
    sharp, which is the harder control.
    """
    return tuple(
        measure_heads(_untrained(config, seed, images, as_sharp_as), images, ink=ink)
        for seed in seeds
    )


def _untrained(
    config: ViTConfig, seed: int, images: Tensor, as_sharp_as: HeadMeasures | None
) -> VisionTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VisionTransformer(replace(config, dropout=0.0)).eval().to(images.device)
    if as_sharp_as is not None:
        entropies = as_sharp_as["entropy"].mean.mean(dim=1)
        _sharpen(model, images[:SHARPENING_IMAGES], entropies.tolist())
    return model


def _sharpen(model: VisionTransformer, images: Tensor, entropies: list[float]) -> None:
    """Layer by layer from below, because each layer changes what the next one sees."""
    for place, wanted in enumerate(entropies):
        with torch.no_grad(), capture(place) as seen:
            model(images)
        attention = cast("MultiHeadAttention", model.blocks[place].attn)
        queries = slice(0, attention.num_heads * attention.head_dim)
        factor = _sharpening_factor(seen[0].scaled.double(), wanted)
        with torch.no_grad():
            attention.qkv.weight[queries] *= factor
            attention.qkv.bias[queries] *= factor


def _sharpening_factor(scaled: Tensor, wanted: float) -> float:
    """The factor on the scores at which their softmax has that mean entropy, by bisection."""
    low, high = 0.0, 1.0
    while _mean_entropy(scaled * high) > wanted and high < LARGEST_FACTOR:
        low, high = high, high * 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _mean_entropy(scaled * middle) > wanted else (low, middle)
    return high


def _mean_entropy(scaled: Tensor) -> float:
    return float(entropy(scaled.softmax(dim=-1)).mean())
