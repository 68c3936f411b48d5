"""What changes in attention when values, one query or one key are replaced.

In the results, `values`, `other_rows` and `other_columns` are the largest change of weights (of
scores, for a key) that must not change; `own_row` and `own_column` the smallest change of those
that must.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.attention import attention_stages
from clearhead.models.vit import VisionTransformer
from clearhead.recording import Recording, capture
from clearhead.studies._panels import Curves
from clearhead.studies.table import Values

MAX_TOKENS, MAX_DIMS = 70, 40
# In float64; matrix products may round differently when another row of them is changed.
ROUNDING = 1e-12
DRAWN_AS_ZERO = 1e-18
REDUCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "values": max,
    "other_rows": max,
    "own_row": min,
    "other_columns": max,
    "own_column": min,
}

Projection = Float[Tensor, "images tokens heads head_dim"]
Change = Callable[[Projection, Projection, Projection], None]


def changes_in_random_tensors(draws: int, seed: int) -> Values:
    """The largest and smallest changes in tensors of random sizes, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return _reduced([_drawn_changes(generator) for _ in range(draws)])


def changes_in_model(
    model: VisionTransformer, images: Float[Tensor, "images channels height width"], seed: int
) -> Values:
    """The largest and smallest changes in all layers, each changed during a forward pass.

    Also `weights_above`, for each layer but the last: total variation of the weights in the layers
    above when its values are replaced; and `rows_apart` of layers and heads.
    """
    before = _recorded(model, images)
    layers = [_layer_changes(model, images, before, x, seed) for x in range(len(before))]
    return {
        **_reduced(layers),
        "weights_above": [layer["above"] for layer in layers[:-1]],
        "rows_apart": [
            rows_apart(record.weights).mean(dim=0).tolist() for record in before.records
        ],
    }


def drawn_changes(values: Values) -> list[float]:
    """All five changes, on an axis that has no zero."""
    return [max(values[name], DRAWN_AS_ZERO) for name in REDUCTIONS]


def apart_by_layer(values: Values) -> list[float]:
    """Mean over heads of the distance between the rows of two queries."""
    return [sum(heads) / len(heads) for heads in values["rows_apart"]]


def rows_apart(
    weights: Float[Tensor, "images heads queries keys"],
) -> Float[Tensor, "images heads"]:
    """Total variation between the weights of two queries of a head, mean over all pairs."""
    queries = weights.shape[-2]
    apart = torch.cdist(weights, weights, p=1) / 2
    return apart.sum(dim=(-2, -1)) / max(queries * (queries - 1), 1)


def _drawn_changes(generator: torch.Generator) -> dict[str, float]:
    def size(high: int, low: int = 2) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    queries, keys, head_dim, value_dim = map(size, (MAX_TOKENS, MAX_TOKENS, MAX_DIMS, MAX_DIMS))
    query, key, value = drawn(queries, head_dim), drawn(keys, head_dim), drawn(keys, value_dim)
    row, column = size(queries, 0), size(keys, 0)
    other_query, other_key = query.clone(), key.clone()
    other_query[row], other_key[column] = drawn(head_dim), drawn(head_dim)
    before = attention_stages(query, key, value)
    other_values = attention_stages(query, key, drawn(keys, value_dim))
    return {
        "values": _largest(before.weights, other_values.weights),
        **_query_change(before.weights, attention_stages(other_query, key, value).weights, row),
        **_key_change(before.scores, attention_stages(query, other_key, value).scores, column),
    }


def _layer_changes(
    model: VisionTransformer, images: Tensor, before: Recording, layer: int, seed: int
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    rows, columns = model.config.grid
    row, column = torch.randint(0, rows * columns, (2,), generator=generator).tolist()

    def shuffled(x: Tensor) -> Tensor:
        """The layer's own vectors, from other images and tokens, so of a similar size."""
        vectors = x.flatten(0, 1)
        order = torch.randperm(len(vectors), generator=generator)
        return vectors[order].view_as(x)

    def values(query: Projection, key: Projection, value: Projection) -> None:
        value.copy_(shuffled(value))

    def one_query(query: Projection, key: Projection, value: Projection) -> None:
        query[:, row] = shuffled(query)[:, row] + 1

    def one_key(query: Projection, key: Projection, value: Projection) -> None:
        key[:, column] = shuffled(key)[:, column] + 1

    with _changed(model, layer, values):
        other_values = _recorded(model, images)
    with _changed(model, layer, one_query):
        other_query = _recorded(model, images)
    with _changed(model, layer, one_key):
        other_key = _recorded(model, images)
    above = [
        float((before[place].weights - other_values[place].weights).abs().sum(dim=-1).mean() / 2)
        for place in range(layer + 1, len(before))
    ]
    return {
        "values": _largest(before[layer].weights, other_values[layer].weights),
        **_query_change(before[layer].weights, other_query[layer].weights, row),
        **_key_change(before[layer].scores, other_key[layer].scores, column),
        "above": statistics.fmean(above) if above else 0.0,
    }


def _recorded(model: VisionTransformer, images: Tensor) -> Recording:
    with torch.no_grad(), capture() as recording:
        model(images)
    return recording


@contextmanager
def _changed(model: VisionTransformer, layer: int, change: Change) -> Iterator[None]:
    """Inside the block, the projections of a layer are changed in place."""
    heads = model.config.num_heads

    def hook(module: Any, inputs: Any, output: Tensor) -> Tensor:
        output = output.clone()
        change(*(part.unflatten(-1, (heads, -1)) for part in output.chunk(3, dim=-1)))
        return output

    handle = cast("Any", model.blocks[layer]).attn.qkv.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _query_change(before: Tensor, after: Tensor, row: int) -> dict[str, float]:
    others = torch.arange(before.shape[-2]) != row
    return {
        "other_rows": _largest(before[..., others, :], after[..., others, :]),
        "own_row": _smallest_row(before[..., row, :], after[..., row, :]),
    }


def _key_change(before: Tensor, after: Tensor, column: int) -> dict[str, float]:
    """Of scores, because with the softmax the weights of all keys depend on each other."""
    others = torch.arange(before.shape[-1]) != column
    return {
        "other_columns": _largest(before[..., others], after[..., others]),
        "own_column": _smallest_row(before[..., column], after[..., column]),
    }


def _largest(before: Tensor, after: Tensor) -> float:
    return float((before - after).abs().max()) if before.numel() else 0.0


def _smallest_row(before: Tensor, after: Tensor) -> float:
    """The smallest over rows of the largest change in a row."""
    return float((before - after).abs().amax(dim=-1).min())


def _reduced(changes: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: reduce([x[name] for x in changes]) for name, reduce in REDUCTIONS.items()}


PANELS = (
    Curves(
        measure=drawn_changes,
        x=(
            "values",
            "query: other rows",
            "query: own row",
            "key: other columns",
            "key: own column",
        ),
        join=False,
        yscale="log",
        xlabel="replaced: what is compared",
        ylabel=f"change ({DRAWN_AS_ZERO:.0e} stands for none)",
        lines={ROUNDING: "rounding"},
    ),
    Curves(
        measure=apart_by_layer,
        ylim=(0, 1),
        xlabel="layer",
        ylabel="two queries of a head: total variation",
        title="0: the same row; 1: nothing in common",
    ),
)
