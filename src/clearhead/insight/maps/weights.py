"""Attention as maps: one query's weights over the grid of patches, and whole matrices.

Heads stay apart unless their mean is asked for: a mean over heads that do different things shows
what none of them does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clearhead.errors import InputError
from clearhead.insight.tokens import Grid, Tokens, Words, check_tokens
from clearhead.recording._record import AttentionRecord, Index, select

LOWERED = 9_000.0  # no bias of places comes near; the gentlest of the usual masks subtract 10,000

Weights: TypeAlias = AttentionRecord | Tensor
Records: TypeAlias = Mapping[str, AttentionRecord] | Sequence[Weights]


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryMap:
    """One query's weights: on the patches, laid out as they lie, and on the tokens before them.

    Both together sum to one. `place` is the query's among the tokens; `even_share` is what each
    key would get if all got the same.
    """

    layer: str
    query: str
    place: int
    grid: Grid
    patches: Float[Tensor, "*batch rows columns"]
    prefix: Float[Tensor, "*batch prefix"]
    even_share: float


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightMatrix:
    """Whole matrices of weights, and what their rows and columns are called."""

    layer: str
    weights: Float[Tensor, "*batch queries keys"]
    queries: tuple[str, ...]
    keys: tuple[str, ...]


def query_map(
    attention: Weights,
    query: int,
    grid: Grid,
    *,
    images: Index = None,
    heads: Index = None,
    mean_heads: bool = False,
    queries: Tokens | None = None,
) -> QueryMap:
    """Whom one query asked: its weights over the patch grid, (batch, heads, rows, columns).

    `query` is a token's place, as `grid.token(row, column)` gives it. `images` and `heads` choose
    (an int keeps its axis, of size 1); with `mean_heads` the axis of heads is averaged away. Where
    queries are other tokens than keys, `queries` says what they are.
    """
    place = _place(attention, query)
    rows = weights_of(attention, images=images, heads=heads, queries=place)[..., 0, :]
    check_tokens(grid, rows.shape[-1], name_of(attention))
    if mean_heads:
        rows = rows.mean(dim=-2)
    names = (queries or grid).names()
    return QueryMap(
        layer=name_of(attention),
        query=names[place] if place < len(names) else f"query {place}",
        place=place,
        grid=grid,
        patches=grid.fold(rows),
        prefix=grid.prefix(rows),
        even_share=1.0 / grid.num_tokens,
    )


def query_maps(
    layers: Records,
    query: int,
    grid: Grid,
    *,
    images: Index = None,
    heads: Index = None,
    mean_heads: bool = False,
) -> tuple[QueryMap, ...]:
    """`query_map` of every layer."""
    return tuple(
        query_map(layer, query, grid, images=images, heads=heads, mean_heads=mean_heads)
        for layer in records_of(layers)
    )


def weight_matrix(
    attention: Weights,
    keys: Tokens,
    queries: Tokens | None = None,
    *,
    images: Index = None,
    heads: Index = None,
    mean_heads: bool = False,
) -> WeightMatrix:
    """All weights of a layer with the names of their tokens; `queries` defaults to `keys`."""
    weights = weights_of(attention, images=images, heads=heads)
    queries = queries or keys
    check_tokens(keys, weights.shape[-1], f"{name_of(attention)}, keys")
    check_tokens(queries, weights.shape[-2], f"{name_of(attention)}, queries")
    return WeightMatrix(
        layer=name_of(attention),
        weights=weights.mean(dim=-3) if mean_heads else weights,
        queries=queries.names(),
        keys=keys.names(),
    )


def weight_matrices(
    layers: Records,
    tokens: Tokens,
    *,
    images: Index = None,
    heads: Index = None,
    mean_heads: bool = False,
) -> tuple[WeightMatrix, ...]:
    """`weight_matrix` of every layer."""
    return tuple(
        weight_matrix(layer, tokens, images=images, heads=heads, mean_heads=mean_heads)
        for layer in records_of(layers)
    )


def weights_of(
    attention: Weights, *, images: Index = None, heads: Index = None, queries: Index = None
) -> Float[Tensor, "*batch heads queries keys"]:
    """The weights of a record, or those given as a tensor; only what is chosen is computed."""
    if isinstance(attention, AttentionRecord):
        return attention.stages(batch=images, heads=heads, queries=queries).weights
    if attention.dim() < 3:
        raise InputError(
            "weights must be (batch, heads, queries, keys) or (heads, queries, keys), "
            f"got {tuple(attention.shape)}"
        )
    return select(attention, batch=images, heads=heads, queries=queries)


def visible_of(
    attention: Weights, *, images: Index = None, heads: Index = None, queries: Index = None
) -> Bool[Tensor, "*batch heads queries keys"]:
    """Which keys each query could see: those whose scores the mask has not lowered out of reach.

    Libraries write "not to be seen" as -inf, as the type's smallest number or as -10,000; after
    the softmax all are a plain 0, as a weight that is only tiny may be. Of weights given as a
    tensor the mask is not known, and everything counts as seen.
    """
    if isinstance(attention, AttentionRecord):
        stages = attention.stages(batch=images, heads=heads, queries=queries)
        return ~(stages.masked <= stages.scaled - LOWERED)
    weights = weights_of(attention, images=images, heads=heads, queries=queries)
    return torch.ones_like(weights, dtype=torch.bool)


def records_of(layers: Records) -> tuple[Weights, ...]:
    """The layers of a capture, or of a sequence, in order; at least one."""
    found: Iterable[Weights] = layers.values() if isinstance(layers, Mapping) else layers
    if isinstance(found, Tensor | AttentionRecord):
        raise InputError(
            "expected a capture or a sequence of layers, got a single one; put it in a list"
        )
    records = tuple(found)
    if not records:
        raise InputError("there are no layers: the capture kept none")
    return records


def name_of(attention: Weights) -> str:
    """A record's name; weights given as a tensor have none."""
    return attention.name if isinstance(attention, AttentionRecord) else "weights"


def tokens_called(tokens: Tokens | Sequence[str]) -> Tokens:
    """`Words` of plain strings; grids and words as they are."""
    return tokens if isinstance(tokens, Grid | Words) else Words(tuple(tokens))


def _place(attention: Weights, query: int) -> int:
    count = (
        attention.query.shape[-2] if isinstance(attention, AttentionRecord) else attention.shape[-2]
    )
    if not -count <= query < count:
        raise InputError(f"{name_of(attention)} has {count} queries, none at place {query}")
    return query % count
