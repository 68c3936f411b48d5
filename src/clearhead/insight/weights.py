"""The weights of one layer: of one query token, as a matrix, stage by stage, times the values.

Heads are kept separate unless their mean is requested: a mean over heads that do different things
shows what none of them does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clearhead.attention import AttentionStages
from clearhead.errors import InputError
from clearhead.insight.tokens import Grid, Tokens, check_tokens
from clearhead.recording import AttentionRecord

# No additive position bias is as large; the smallest of the usual masks subtract 10,000.
MASK_OFFSET = 9_000.0

Projection: TypeAlias = nn.Linear | Tensor
Weights: TypeAlias = AttentionRecord | Tensor
Records: TypeAlias = Mapping[str, AttentionRecord] | Sequence[Weights]


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryMap:
    """The weights of one query token in one image; those of all keys sum to 1.

    Attributes:
        layer: Name of the layer.
        query: Name of the query token.
        index: Its index among the query tokens.
        grid: The patches.
        patches: Weights of the patches, arranged as the patches are.
        prefix: Weights of the tokens before the first patch.
    """

    layer: str
    query: str
    index: int
    grid: Grid
    patches: Float[Tensor, "heads rows columns"]
    prefix: Float[Tensor, "heads prefix"]

    def __repr__(self) -> str:
        return f"QueryMap({self.layer}, {self.query}, {len(self.patches)} heads)"


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightMatrix:
    """The weights of one layer in one image, with names of rows (queries) and columns (keys)."""

    layer: str
    weights: Float[Tensor, "heads queries keys"]
    queries: tuple[str, ...]
    keys: tuple[str, ...]

    def __repr__(self) -> str:
        return f"WeightMatrix({self.layer}, {tuple(self.weights.shape)})"


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadStages:
    """tokens → Q, K, V → scores → scaled → masked → weights → context, for one image and head.

    `head` counts from 0. `all_weights` and `all_contexts` are those of every head: the contexts are
    concatenated and projected back to `embed_dim`.
    """

    layer: str
    head: int
    embed_dim: int
    scale: float
    query: Float[Tensor, "queries head_dim"]
    key: Float[Tensor, "keys head_dim"]
    value: Float[Tensor, "keys value_dim"]
    scores: Float[Tensor, "queries keys"]
    scaled: Float[Tensor, "queries keys"]
    masked: Float[Tensor, "queries keys"]
    weights: Float[Tensor, "queries keys"]
    context: Float[Tensor, "queries value_dim"]
    all_weights: Float[Tensor, "heads queries keys"]
    all_contexts: Float[Tensor, "heads queries value_dim"]

    def __repr__(self) -> str:
        return f"HeadStages({self.layer}, head {self.head}, {tuple(self.weights.shape)})"


def query_map(
    attention: Weights,
    query: int,
    grid: Grid,
    *,
    image: int = 0,
    mean_heads: bool = False,
    queries: Tokens | None = None,
) -> QueryMap:
    """Which patches one query token attends to, in every head.

    Args:
        attention: A record, or weights of shape (batch, heads, queries, keys).
        query: Index of the query token, as `grid.token(row, column)` gives it.
        grid: The key tokens.
        image: Which image of the batch, from 0.
        mean_heads: Whether to average over the heads; the mean counts as one head.
        queries: The query tokens, where they are not the key tokens.

    Returns:
        The weights of each head, arranged as the patches: (heads, rows, columns).

    Raises:
        InputError: If the layer has other tokens, or no such query token or image.
    """
    names = (queries or grid).names()
    rows = image_weights(attention, image, query=query)[0][:, 0]
    check_tokens(grid, rows.shape[-1], name_of(attention))
    if mean_heads:
        rows = rows.mean(dim=0, keepdim=True)
    index = query % _checked(attention)["queries"]
    return QueryMap(
        layer=name_of(attention),
        query=names[index] if index < len(names) else f"query {index + 1}",
        index=index,
        grid=grid,
        patches=grid.fold(rows),
        prefix=grid.prefix(rows),
    )


def weight_matrix(
    attention: Weights,
    keys: Tokens,
    queries: Tokens | None = None,
    *,
    image: int = 0,
    mean_heads: bool = False,
) -> WeightMatrix:
    """All weights of a layer with the names of their tokens.

    Args:
        attention: A record, or weights of shape (batch, heads, queries, keys).
        keys: The key tokens.
        queries: The query tokens; by default the key tokens.
        image: Which image of the batch, from 0.
        mean_heads: Whether to average over the heads; the mean counts as one head.

    Returns:
        The weights, of shape (heads, queries, keys), with the names of queries and keys.

    Raises:
        InputError: If the layer has other tokens, or no such image.
    """
    name, queries = name_of(attention), queries or keys
    weights, _ = image_weights(attention, image)
    check_tokens(keys, weights.shape[-1], f"{name}, keys")
    check_tokens(queries, weights.shape[-2], f"{name}, queries")
    return WeightMatrix(
        layer=name,
        weights=weights.mean(dim=0, keepdim=True) if mean_heads else weights,
        queries=queries.names(),
        keys=keys.names(),
    )


def head_stages(
    attention: AttentionRecord, embed_dim: int, *, image: int = 0, head: int = 0
) -> HeadStages:
    """The stages of one head's attention, with all intermediate results.

    Args:
        attention: A record without windows.
        embed_dim: Size of a token before and after the layer.
        image: Which image, from 0.
        head: Which head, from 0.

    Returns:
        Query, key, value and all stages of the head, and weights and contexts of all heads.

    Raises:
        InputError: If the layer has windows, or there is no such image or head.
    """
    sizes = _checked(attention, images=image, heads=head)
    part, every = attention.part(batch=image), attention.stages(batch=image)
    scale = part.scale
    if isinstance(scale, Tensor):
        scale = float(scale.expand(1, sizes["heads"], 1, 1)[0, head])
    one = AttentionStages(*(x[0, head] for x in every))
    return HeadStages(
        layer=attention.name,
        head=head % sizes["heads"],
        embed_dim=embed_dim,
        scale=scale,
        query=part.query[0, head],
        key=part.key[0, head],
        value=part.value[0, head],
        **one._asdict(),
        all_weights=every.weights[0],
        all_contexts=every.context[0],
    )


def image_weights(
    attention: Weights, image: int, *, head: int | None = None, query: int | None = None
) -> tuple[Float[Tensor, "heads queries keys"], Bool[Tensor, "heads queries keys"]]:
    """The weights of one image, and which keys each query may attend to.

    Libraries mask with -inf, with the smallest number of the type or with -10,000; after the
    softmax all give 0, as a very small weight may. So masked keys are found from the scores; of
    weights given as a tensor every key counts as visible.
    """
    _checked(attention, images=image, heads=head, queries=query)
    if isinstance(attention, AttentionRecord):
        stages = attention.token_stages(batch=image, heads=head, queries=query)
        return stages.weights[0], stages.masked[0] > stages.scaled[0] - MASK_OFFSET
    weights = attention[image]
    weights = weights if head is None else weights[head][None]
    weights = weights if query is None else weights[:, query][:, None]
    return weights, torch.ones_like(weights, dtype=torch.bool)


def value_norms(
    attention: AttentionRecord, projection: Projection | None
) -> Float[Tensor, "*batch heads queries keys"]:
    """‖w · v W_O‖ for each head, query and key: the weight times the norm of the value.

    (Kobayashi et al. 2020, "Attention is Not Only a Weight", arXiv 2004.10102.) A large weight on a
    value with a small norm contributes little.

    Args:
        attention: A record.
        projection: The linear map after the heads are concatenated, or its weight, of shape
            (embed_dim, heads · value_dim). The part of it that belongs to the head maps a value to
            what is added to the residual stream; its bias belongs to no key and is left out. None:
            ‖w · v‖, without it.

    Returns:
        The norms, of shape (…, heads, queries, keys).

    Raises:
        InputError: If the projection has another shape.
    """
    (_, value), weights = attention.expanded_heads(), attention.applied_weights
    if projection is not None:
        weight = projection.weight if isinstance(projection, nn.Linear) else projection
        heads, dim = value.shape[-3], value.shape[-1]
        if weight.dim() != 2 or weight.shape[1] != heads * dim:
            raise InputError(
                f"{attention.name}: the projection must be (embed_dim, heads · value_dim = "
                f"{heads * dim}), as a linear layer keeps it, got {tuple(weight.shape)}"
            )
        value = value @ weight.detach().unflatten(1, (heads, dim)).permute(1, 2, 0).to(value)
    norms: Tensor = value.norm(dim=-1)[..., None, :].to(weights)
    return weights.abs() * norms


def records_of(layers: Records) -> tuple[Weights, ...]:
    """The layers of a recording or of a sequence, in order; at least one."""
    records: Iterable[Weights] = layers.values() if isinstance(layers, Mapping) else layers
    if isinstance(records, Tensor | AttentionRecord):
        raise InputError("expected a recording or a sequence of layers, got one; put it in a list")
    records = tuple(records)
    if not records:
        raise InputError("expected at least one layer; the recording is empty")
    return records


def name_of(attention: Weights) -> str:
    """A record's name; "weights" for a tensor."""
    return attention.name if isinstance(attention, AttentionRecord) else "weights"


def _checked(attention: Weights, **indices: int | None) -> dict[str, int]:
    """Numbers of images, heads and queries; `InputError` for an index outside of them."""
    name = name_of(attention)
    x = attention.query if isinstance(attention, AttentionRecord) else attention
    if x.dim() != 4:
        raise InputError(
            f"{name}: expected (batch, heads, queries, …), got {tuple(x.shape)}; "
            "choose a layer without windows"
        )
    sizes = dict(zip(("images", "heads", "queries"), x.shape, strict=False))
    for what, index in indices.items():
        if index is not None and not -sizes[what] <= index < sizes[what]:
            raise InputError(
                f"{name} has {sizes[what]} {what}, numbered 0 … {sizes[what] - 1}; got {index}"
            )
    return sizes
