"""Measures of one head on one image: entropy, distances on the grid, shares on kinds of patches."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clearhead.insight.tokens import Tokens, coordinates


def geometric_measures(
    weights: Float[Tensor, "batch heads tokens tokens"], tokens: Tokens
) -> dict[str, Float[Tensor, "batch heads"]]:
    """All measures that need no ink, by their names in `heads.MEASURES`."""
    first = tokens.num_prefix_tokens
    nats = entropy(weights).mean(dim=-1)
    on_patches = weights[..., first:, first:]
    mass = on_patches.sum(dim=(-2, -1)).clamp_min(torch.finfo(weights.dtype).tiny)
    distances = _totals(on_patches, _distance_kernels(tokens))
    return {
        "entropy": nats,
        "relative_entropy": nats / math.log(max(tokens.num_tokens, 2)),
        "prefix": weights[..., :first].sum(dim=-1).mean(dim=-1),
        **{name: total / mass for name, total in distances.items()},
        **_shares_and_lifts(on_patches, _share_kernels(tokens)),
    }


def _shares_and_lifts(
    weights: Float[Tensor, "batch heads patches patches"],
    kernels: dict[str, Float[Tensor, "patches patches"]],
) -> dict[str, Float[Tensor, "batch heads"]]:
    """Means over the queries that a kernel knows; and those beyond what other queries give.

    Without the second a head in which every query asks one patch in the middle would seem to ask
    neighbours, because that patch has many.
    """
    count = weights.shape[-1]
    received = weights.mean(dim=-2)
    correction = count / max(count - 1, 1)  # a query is not among the others
    shares, lifts = {}, {}
    for name, total in _totals(weights, kernels).items():
        kernel = kernels[name]
        asking = kernel.any(dim=1).sum().clamp_min(1)
        shares[name] = total / asking
        lifts[f"{name}_lift"] = correction * (total - received @ kernel.sum(dim=0)) / asking
    return shares | lifts


def _totals(
    weights: Float[Tensor, "batch heads patches patches"],
    kernels: dict[str, Float[Tensor, "patches patches"]],
) -> dict[str, Float[Tensor, "batch heads"]]:
    """Σ over queries and keys of weight · kernel, for every kernel in one product."""
    together = torch.stack([kernel.flatten() for kernel in kernels.values()], dim=-1)
    totals = weights.flatten(-2) @ together
    return dict(zip(kernels, totals.unbind(dim=-1), strict=True))


def entropy(weights: Float[Tensor, "*batch keys"]) -> Float[Tensor, "*batch"]:
    """-Σ w ln w, in nats; 0 ln 0 = 0."""
    nats: Tensor = -torch.special.xlogy(weights, weights).sum(dim=-1)
    return nats


def agreement_of(
    weights: Float[Tensor, "batch heads queries keys"],
) -> Float[Tensor, "batch heads heads"]:
    """1 - Jensen-Shannon distance (root of the divergence in bits) of two heads, mean over queries.

    (Lin 1991, "Divergence measures based on the Shannon entropy"; Endres & Schindelin 2003: its
    root is a metric.)
    """
    heads = weights.shape[1]
    own = entropy(weights)
    result = torch.ones(len(weights), heads, heads, dtype=weights.dtype)
    for one in range(heads - 1):
        middle = entropy((weights[:, one : one + 1] + weights[:, one + 1 :]) / 2)
        nats = middle - (own[:, one : one + 1] + own[:, one + 1 :]) / 2
        bits = nats.clamp_min(0.0) / math.log(2)
        agreed = 1.0 - bits.clamp_max(1.0).sqrt().mean(dim=-1)
        result[:, one, one + 1 :] = agreed
        result[:, one + 1 :, one] = agreed
    return result


def _offsets(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Rows and columns from every patch to every other, without sign."""
    places = coordinates(tokens)
    apart = (places[:, None] - places[None]).abs()
    return apart[..., 0], apart[..., 1]


def _distance_kernels(tokens: Tokens) -> dict[str, Float[Tensor, "patches patches"]]:
    rows, columns = _offsets(tokens)
    return {"distance": (rows**2 + columns**2).sqrt(), "horizontal": columns, "vertical": rows}


def _share_kernels(tokens: Tokens) -> dict[str, Float[Tensor, "patches patches"]]:
    rows, columns = _offsets(tokens)
    farther = torch.maximum(rows, columns)
    kernels = {"itself": farther == 0, "neighbours": farther == 1}
    if tokens.rows > 1:
        kernels |= {
            "row": (rows == 0) & (columns > 0),
            "column": (columns == 0) & (rows > 0),
            "top_bottom": _bands(tokens),
        }
    return {name: kernel.double() for name, kernel in kernels.items()}


def _bands(tokens: Tokens) -> Bool[Tensor, "patches patches"]:
    """From the top third (at least one row) to the bottom third, and back."""
    band = max(1, tokens.rows // 3)
    rows = coordinates(tokens)[:, 0]
    top, bottom = rows < band, rows >= tokens.rows - band
    return top[:, None] & bottom | bottom[:, None] & top
