"""Attention rollout: where information could have come from, through all layers."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight.maps.weights import Records, Weights, name_of, records_of, weights_of

HeadFusion = Literal["mean", "max", "min"]
Readout = int | Sequence[int] | Literal["mean"]


def rollout(
    layers: Records,
    *,
    residual: float = 0.5,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
) -> Float[Tensor, "batch tokens tokens"]:
    """R = Ã_L … Ã_2 Ã_1, with Ã = residual · I + (1 - residual) · A, in float64.

    (Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv 2005.00928, with
    residual 0.5.) A is the weights of a layer with its heads fused, each row scaled to sum to one,
    so that each row of R is a distribution over the tokens of the input. `discard_ratio` is the
    share of a row's weights, the smallest, that is set to zero first. A token that attends to
    nothing keeps what it has.

    Rollout knows neither values nor MLPs nor the answer: it says where information could flow,
    not where it did. Raises `InputError` unless every layer attends from all tokens to the same.
    """
    return rollout_by_layer(
        layers, residual=residual, head_fusion=head_fusion, discard_ratio=discard_ratio
    )[:, -1]


def rollout_by_layer(
    layers: Records,
    *,
    residual: float = 0.5,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
) -> Float[Tensor, "batch layers tokens tokens"]:
    """The rollout up to and including each layer: how far information could have spread."""
    if not 0.0 <= residual < 1.0:
        raise ConfigError(f"residual must be at least 0 and below 1, got {residual}")
    if head_fusion not in ("mean", "max", "min"):
        raise ConfigError(f'head_fusion must be "mean", "max" or "min", got {head_fusion!r}')
    if not 0.0 <= discard_ratio < 1.0:
        raise ConfigError(f"discard_ratio must be at least 0 and below 1, got {discard_ratio}")
    check_one_pass(layers)
    reached: list[Tensor] = []
    for layer in records_of(layers):
        kept = keep_strongest(fuse_heads(square_weights(layer), head_fusion), discard_ratio)
        flow = with_residual(kept, residual)
        check_same_tokens(flow, reached[-1] if reached else flow, name_of(layer))
        reached.append(flow @ reached[-1] if reached else flow)
    return torch.stack(reached, dim=1)


def check_one_pass(layers: Records) -> None:
    """Raise `InputError` for a capture of several forward passes, which follow no one flow."""
    if not isinstance(layers, Mapping):
        return
    modules = [name.partition("#")[0] for name in layers]
    once = len(set(modules))
    if 1 < once < len(modules) and modules == modules[:once] * (len(modules) // once):
        raise InputError(
            f"these are {len(modules) // once} forward passes of {once} layers; capture one. Where "
            "one pass calls the same layers again, give list(seen.records)"
        )


def read_out(
    matrix: Float[Tensor, "*batch tokens tokens"], readout: Readout
) -> Float[Tensor, "*batch tokens"]:
    """The row of what the answer is read from: one token, the mean of some, or of all ("mean").

    A class token is token 0 mostly; a model that averages its patches reads their mean.
    """
    if readout == "mean":
        return matrix.mean(dim=-2)
    places = [readout] if isinstance(readout, int) else list(readout)
    count = matrix.shape[-2]
    if not places or not all(-count <= place < count for place in places):
        raise InputError(f"readout must name tokens among {count}, got {places}")
    return matrix[..., places, :].mean(dim=-2)


def square_weights(layer: Weights) -> Float[Tensor, "batch heads tokens tokens"]:
    """A layer's weights in float64; `InputError` unless they are self-attention over all tokens."""
    weights = weights_of(layer).double()
    if weights.dim() != 4 or weights.shape[-1] != weights.shape[-2]:
        raise InputError(
            f"{name_of(layer)}: expected weights (batch, heads, tokens, tokens), got "
            f"{tuple(weights.shape)}; choose layers that attend from all tokens to all tokens: "
            'capture(layers="blocks.*")'
        )
    return weights


def check_same_tokens(new: Tensor, old: Tensor, name: str) -> None:
    """Raise `InputError` unless two layers have the same images and tokens."""
    if new.shape != old.shape:
        raise InputError(
            f"{name} has (batch, tokens, tokens) {tuple(new.shape)}, the layer before it "
            f"{tuple(old.shape)}; choose layers over the same tokens: capture(layers=...)"
        )


def fuse_heads(
    weights: Float[Tensor, "batch heads queries keys"], how: HeadFusion
) -> Float[Tensor, "batch queries keys"]:
    """Mean, largest or smallest over the heads."""
    if how == "mean":
        return weights.mean(dim=1)
    return weights.amax(dim=1) if how == "max" else weights.amin(dim=1)


def keep_strongest(
    weights: Float[Tensor, "batch queries keys"], discard_ratio: float
) -> Float[Tensor, "batch queries keys"]:
    """The smallest weights of every row set to zero: that share of them, rounded down."""
    count = int(discard_ratio * weights.shape[-1])
    if not count:
        return weights
    smallest = weights.argsort(dim=-1, stable=True)[..., :count]
    return weights.scatter(-1, smallest, 0.0)


def with_residual(
    weights: Float[Tensor, "batch tokens tokens"], residual: float
) -> Float[Tensor, "batch tokens tokens"]:
    """The identity's share and the rest for the weights, their rows made to sum to one."""
    sums = weights.sum(dim=-1, keepdim=True)
    identity = torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
    rows = torch.where(sums > 0, weights / sums.clamp_min(torch.finfo(sums.dtype).tiny), identity)
    return residual * identity + (1.0 - residual) * rows
