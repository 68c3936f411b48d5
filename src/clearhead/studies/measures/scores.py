"""The variance of q·k, of queries and keys as a model has them; and what d_k has to do with it."""

import math
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.attention import MultiHeadAttention
from clearhead.models.vit import VisionTransformer
from clearhead.recording import AttentionRecord, Recording
from clearhead.training import TrainConfig, initial_model


def score_variance(
    query: Float[Tensor, "batch heads tokens head_dim"],
    key: Float[Tensor, "batch heads tokens head_dim"],
) -> Float[Tensor, " heads"]:
    """Over all pairs of a query and a key of one image, in float64."""
    scores = query.double() @ key.double().transpose(-2, -1)
    variances: Tensor = scores.transpose(0, 1).flatten(1).var(dim=1, correction=0)
    return variances


def variance_if_unrelated(
    query: Float[Tensor, "batch heads tokens head_dim"],
    key: Float[Tensor, "batch heads tokens head_dim"],
) -> Float[Tensor, " heads"]:
    """tr(M_q M_k) - (m_q · m_k)², M and m the second moments and means of queries and keys.

    The variance of q·k if q and k are drawn apart from one another, whatever their components
    have to do with each other. It is d_k only where both M are the identity and a mean is 0.
    """
    moments, means = zip(*(_moments(x) for x in (query, key)), strict=True)
    total: Tensor = (moments[0] * moments[1]).sum(dim=(-2, -1))
    centre: Tensor = (means[0] * means[1]).sum(dim=-1)
    return total - centre**2


def standardised(
    x: Float[Tensor, "batch heads tokens head_dim"],
) -> Float[Tensor, "batch heads tokens head_dim"]:
    """Every component of every head with mean 0 and variance 1 over all images and tokens.

    A component that never varies stays 0.
    """
    x = x.double()
    deviation = x.std(dim=(0, 2), keepdim=True, correction=0)
    centred = x - x.mean(dim=(0, 2), keepdim=True)
    return torch.where(deviation > 0, centred / deviation, torch.zeros_like(x))


def scale_factors(model: VisionTransformer) -> Float[Tensor, "layers heads"]:
    """What each head multiplies its scores with: 1/√d_k, 1, or what it has learned."""
    rows = []
    for layer in model.modules():
        if not isinstance(layer, MultiHeadAttention):
            continue
        if layer.learned_scale is not None:
            rows.append(layer.learned_scale.detach().flatten().double())
        else:
            factor = layer.head_dim**-0.5 if layer.scale is None else layer.scale
            rows.append(torch.full((layer.num_heads,), factor, dtype=torch.float64))
    return torch.stack(rows)


def head_variances(
    seen: Recording, factors: Float[Tensor, "layers heads"]
) -> dict[str, list[float]]:
    """One number for each head of each layer.

    `scaled`: variance of the scores as the softmax gets them; `unscaled`: without the factor;
    `if_unrelated`: what moments alone predict for it; `per_component`: with every component of q
    and k standardised, over d_k.
    """
    found: dict[str, list[float]] = {
        name: [] for name in ("scaled", "unscaled", "if_unrelated", "per_component")
    }
    for record, factor in zip(seen.records, factors, strict=True):
        query, key = _unscaled(record, factor)
        unscaled = score_variance(query, key)
        even = score_variance(standardised(query), standardised(key)) / query.shape[-1]
        found["scaled"] += (unscaled * factor**2).tolist()
        found["unscaled"] += unscaled.tolist()
        found["if_unrelated"] += variance_if_unrelated(query, key).tolist()
        found["per_component"] += even.tolist()
    return found


def _unscaled(record: AttentionRecord, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys; a learned factor, which is in the query already, is taken out."""
    still_to_come = torch.as_tensor(record.scale, dtype=torch.float64)
    already = factor / still_to_come
    return record.query.double() / already[:, None, None], record.key.double()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    rows = x.double().transpose(0, 1).flatten(1, 2)
    return rows.transpose(-2, -1) @ rows / rows.shape[1], rows.mean(dim=1)


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
