"""Attention through all layers: rollout and maximum flow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import block_diag, csr_array
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor

from clearhead.errors import ConfigError, InputError, check_one_of
from clearhead.insight.weights import Records, Weights, name_of, records_of
from clearhead.recording import AttentionRecord, Recording

HeadFusion = Literal["mean", "max", "min"]
FUSIONS: dict[str, Callable[..., Tensor]] = {
    "mean": torch.mean,
    "max": torch.amax,
    "min": torch.amin,
}
# The unit of integer capacities: sums over paths stay below 2³¹.
FLOW_UNIT = 2**26

# Indices of tokens, "mean" for all, or for each image the tokens that are True.
Readout = int | Sequence[int] | Literal["mean"] | Bool[Tensor, "batch tokens"]


def rollout(
    layers: Records,
    *,
    residual: float = 0.5,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
) -> Float[Tensor, "batch tokens tokens"]:
    """Attention rollout: R = Ã_L … Ã_2 Ã_1, with Ã = residual · I + (1 - residual) · A.

    (Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv 2005.00928, with
    residual 0.5.) A is the mean, maximum or minimum over heads of a layer's weights. Each row of Ã
    is then divided by its sum, as in the implementation that introduced `head_fusion` and
    `discard_ratio` (github.com/jacobgil/vit-explain); the row of a query token that attends to
    nothing is that of the identity. Rollout uses neither values nor MLPs nor the output: it shows
    where information could have come from, not where it came from.

    Args:
        layers: A recording, or a sequence of records or weights, first layer first.
        residual: Share of the residual connection, from 0 to below 1.
        head_fusion: "mean", "max" or "min" over the heads.
        discard_ratio: Share of each layer's fused weights, the smallest, that is set to 0 first,
            but for the weight of the first token (often a class token) on itself.

    Returns:
        R, of shape (batch, tokens, tokens), in float64; each row sums to 1 over the input tokens.

    Raises:
        InputError: Unless every layer attends from all tokens to the same tokens.
        ConfigError: For an option out of range.
    """
    steps = _mixed_with_residual(layers, residual, head_fusion, discard_ratio)
    return reduce(lambda product, step: step @ product, steps)


def max_flow(
    layers: Records, *, readout: Readout = 0, residual: float = 0.5
) -> Float[Tensor, "batch tokens"]:
    """Maximum flow of attention from the output to each input token.

    (Abnar & Zuidema 2020, arXiv 2005.00928, "attention flow".) The tokens of all layers are the
    nodes of a graph; the edge from a query token to a key token has the capacity Ã of `rollout`.
    The result is the maximum flow from the readout tokens to each input token, one at a time
    (Dinic's algorithm). Edges from a source to the readout tokens have equal capacities, which sum
    to 1.

    Args:
        layers: A recording, or a sequence of records or weights, first layer first.
        readout: The tokens from which the model computes its output, as in `class_relevance`.
        residual: Share of the residual connection, from 0 to below 1.

    Returns:
        The flow to each input token, of shape (batch, tokens), between 0 and 1, in float64.

    Raises:
        InputError: Unless every layer attends from all tokens to the same tokens.
        ConfigError: For a residual out of range.
    """
    steps = torch.stack([*_mixed_with_residual(layers, residual, "mean", 0.0)]).flip(0).cpu()
    _, batch, tokens, _ = steps.shape
    identity = torch.eye(tokens, dtype=steps.dtype).expand(batch, tokens, tokens)
    first = read_out(identity, readout)[:, None]
    # node 0 is the source; then the tokens, from the output to the input of the model
    no_edges = np.empty((0, 1)), np.empty((tokens, 0))  # into the source, and out of the input
    flows = torch.empty(batch, tokens, dtype=torch.float64)
    for image in range(batch):
        edges = ((FLOW_UNIT * x).round().int() for x in (first[image], *steps[:, image]))
        blocks = [no_edges[0], *(x.numpy() for x in edges), no_edges[1]]
        graph = csr_array(block_diag(blocks, dtype=np.int32))
        for token in range(tokens):
            sink = graph.shape[0] - tokens + token
            flows[image, token] = maximum_flow(graph, 0, sink).flow_value / FLOW_UNIT
    return flows


def _mixed_with_residual(
    layers: Records, residual: float, head_fusion: HeadFusion, discard_ratio: float
) -> Iterator[Float[Tensor, "batch tokens tokens"]]:
    """Ã of each layer: residual · I + (1 - residual) · A, rows scaled to sum to 1."""
    for name, share in (("residual", residual), ("discard_ratio", discard_ratio)):
        if not 0.0 <= share < 1.0:
            raise ConfigError(f"{name} must be at least 0 and below 1, got {share}")
    check_one_of("head_fusion", head_fusion, get_args(HeadFusion))
    check_layers(layers)
    for _, every_head in square_layers(layers):
        weights = FUSIONS[head_fusion](every_head, dim=1)
        flat = weights.flatten(1)
        smallest = flat.argsort(dim=1, stable=True)[:, : int(discard_ratio * flat.shape[1])]
        kept = flat.scatter(1, smallest, 0.0)
        kept[:, 0] = flat[:, 0]
        identity = _identity(weights)
        step = residual * identity + (1.0 - residual) * kept.view_as(weights)
        sums = step.sum(dim=-1, keepdim=True)
        yield torch.where(sums > 0, step / sums.clamp_min(torch.finfo(sums.dtype).tiny), identity)


def read_out(
    matrix: Float[Tensor, "*batch tokens tokens"], readout: Readout
) -> Float[Tensor, "*batch tokens"]:
    """The row of the tokens from which the model computes its output.

    Args:
        matrix: A row for each output token, and a column for each input token.
        readout: One token (mostly the class token, 0); several, or "mean" for all, whose rows are
            averaged; or a mask that is True for the tokens of each image, where pooling selects
            them.

    Returns:
        The row, or the mean of the rows, of each image.

    Raises:
        InputError: If `readout` names a token that does not exist, or none.
    """
    shares = readout_mask(matrix, readout).to(matrix)
    shares = shares / shares.sum(dim=-1, keepdim=True)
    return (shares[..., None, :] @ matrix).squeeze(-2)


def readout_mask(
    matrix: Float[Tensor, "*batch tokens tokens"], readout: Readout
) -> Bool[Tensor, "*batch tokens"]:
    """Which tokens of each image a readout names; `InputError` if one does not exist, or none."""
    shape, count = matrix.shape[:-1], matrix.shape[-2]
    wrong = InputError(
        f'readout must name some of {count} tokens by indices, "mean", or True for some tokens of '
        f"each image, of shape {tuple(shape)}, got {readout!r}"
    )
    every = isinstance(readout, str) and readout == "mean"
    try:
        tokens = torch.as_tensor(range(count) if every else readout, device=matrix.device)
    except (TypeError, ValueError, RuntimeError):
        raise wrong from None
    mask = torch.zeros(shape, dtype=torch.bool, device=matrix.device)
    if tokens.dtype == torch.bool:
        if not tokens.dim() or tokens.shape != shape[-tokens.dim() :]:
            raise wrong
        mask |= tokens
    elif tokens.is_floating_point() or tokens.dim() > 1:
        raise wrong
    elif bool(((tokens >= -count) & (tokens < count)).all()):
        mask[..., tokens.long()] = True
    if not bool(mask.any(dim=-1).all()):
        raise wrong
    return mask


def square_layers(
    layers: Records, *, same_heads: bool = False
) -> Iterator[tuple[Weights, Float[Tensor, "batch heads tokens tokens"]]]:
    """Each layer with its `square_weights`; `InputError` unless all are over the same tokens.

    With `same_heads`, all must also have the same number of heads.
    """
    shape: torch.Size | None = None
    for layer in records_of(layers):
        weights = square_weights(layer)
        shape = shape or weights.shape
        axes = (0, 1, 2) if same_heads else (0, 2)
        if any(weights.shape[axis] != shape[axis] for axis in axes):
            raise InputError(
                f"{name_of(layer)} has weights of shape {tuple(weights.shape)}, the first layer "
                f"{tuple(shape)}; choose layers over the same tokens: capture(layers=...)"
            )
        yield layer, weights


def square_weights(layer: Weights) -> Float[Tensor, "batch heads tokens tokens"]:
    """A layer's weights in float64; `InputError` unless they are self-attention over all tokens."""
    weights = layer.token_stages().weights if isinstance(layer, AttentionRecord) else layer
    weights = weights.double()
    if weights.dim() == 4 and weights.shape[-1] > weights.shape[-2]:
        unused = weights[..., weights.shape[-2] :]  # places of a static cache
        weights = weights if bool(unused.any()) else weights[..., : weights.shape[-2]]
    if weights.dim() != 4 or weights.shape[-1] != weights.shape[-2]:
        raise InputError(
            f"{name_of(layer)}: expected weights (batch, heads, tokens, tokens), got "
            f"{tuple(weights.shape)}; choose layers that attend from all tokens to all tokens: "
            'capture(layers="blocks.*")'
        )
    return weights


def _identity(x: Tensor) -> Float[Tensor, "tokens tokens"]:
    return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)


def check_layers(layers: Records) -> None:
    """Raise `InputError` for several passes, or one layer in several records."""
    if not isinstance(layers, Mapping):
        return
    if isinstance(layers, Recording) and layers.joined:
        raise InputError(
            f"the outputs of {', '.join(layers.joined[0])} are joined in one tensor, as those of "
            "the heads of one layer; give a list of weights, one tensor a layer: "
            "torch.cat([recording[name].weights for name in recording.joined[0]], dim=1)"
        )
    modules = [name.partition("#")[0] for name in layers]
    once = len(set(modules))
    if 1 < once < len(modules) and modules == modules[:once] * (len(modules) // once):
        raise InputError(
            f"expected one forward pass, got {len(modules) // once} of {once} layers; record one. "
            "Where one pass calls the same layers again, give list(recording.records)"
        )
