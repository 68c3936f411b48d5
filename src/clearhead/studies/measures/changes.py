"""What changes if values, one query or one key are replaced, or tokens are permuted.

In the results, `values`, `other_rows` and `other_columns` are the largest change of weights (of
scores, for a key) that must not change; `own_row` and `own_column` the smallest change of those
that must.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead.attention import AttentionStages, MultiHeadAttention, attention_stages
from clearhead.data import ImageDataset
from clearhead.models.config import PosEmbed, ViTConfig
from clearhead.models.layers import cut_patches
from clearhead.models.vit import VisionTransformer
from clearhead.recording import AttentionRecord, Recording
from clearhead.studies import Curves, Points, Summary, Trial, Values
from clearhead.studies.measures import classifiers
from clearhead.studies.measures.classifiers import accuracy_on, recorded

MAX_TOKENS, MAX_DIMS = 70, 40
# In float64; matrix products may round differently when another row of them is changed.
ROUNDING = 1e-12
DRAWN_AS_ZERO = 1e-18
CHANGES: Mapping[str, tuple[Any, str]] = {
    "values": (max, "values"),
    "other_rows": (max, "query: other rows"),
    "own_row": (min, "query: own row"),
    "other_columns": (max, "key: other columns"),
    "own_column": (min, "key: own column"),
}
"""Which of the changes is taken, and its label"""

SMALL = ViTConfig(embed_dim=32, depth=2)
POSITIONS: dict[str, PosEmbed] = {"learned": "learned", "sine-cosine": "sincos", "none": "none"}
ONE_SHUFFLE = "learned, one shuffle"
RATES = {"usual rate": 2e-2, "low rate": 6e-3}
CHANCE = {10.0: "chance"}
ACCURACIES = {
    "accuracy": "accuracy on unseen digits",
    "shuffled": "accuracy with their patches shuffled",
}

Stages = AttentionStages | AttentionRecord


def changes_in_random_tensors(trial: Trial) -> Values:
    """The largest and smallest changes in `draws` tensors of random sizes, in float64."""
    generator = torch.Generator().manual_seed(trial.seed)
    return _extremes([_drawn_changes(generator) for _ in range(trial.settings["draws"])])


def changes_in_classifier(trial: Trial) -> Values:
    """`changes_in_model` of a small classifier or the shipped one, in float64."""
    model = classifiers.classifier_of(trial, ViTConfig(embed_dim=32, depth=4)).double()
    images = classifiers.inputs_of(trial, model).double()
    return changes_in_model(cast("VisionTransformer", model), images, trial.seed)


def changes_in_model(
    model: VisionTransformer, images: Float[Tensor, "images channels height width"], seed: int
) -> Values:
    """The largest and smallest changes in all layers, each changed during a forward pass.

    Also `weights_above`, for each layer but the last: total variation of the weights in the layers
    above when its values are replaced; and `rows_apart` of layers and heads.
    """
    before = recorded(model, images)
    layers = [_layer_changes(model, images, before, x, seed) for x in range(len(before))]
    return {
        **_extremes(layers),
        "weights_above": [layer["above"] for layer in layers[:-1]],
        "rows_apart": [rows_apart(x.weights).mean(dim=0).tolist() for x in before.records],
    }


def apart_by_layer(values: Values) -> list[float]:
    """Mean over heads of the distance between the rows of two queries."""
    return [sum(heads) / len(heads) for heads in values["rows_apart"]]


def rows_apart(weights: Float[Tensor, "batch heads queries keys"]) -> Float[Tensor, "batch heads"]:
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
    return _changes(
        attention_stages(query, key, value),
        attention_stages(query, key, drawn(keys, value_dim)),
        attention_stages(other_query, key, value),
        attention_stages(query, other_key, value),
        row,
        column,
    )


def _layer_changes(
    model: VisionTransformer, images: Tensor, before: Recording, layer: int, seed: int
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    rows, columns = model.config.grid
    row, column = torch.randint(0, rows * columns, (2,), generator=generator).tolist()

    def with_other(part: int, token: int | None = None) -> Recording:
        """With other queries (0), keys (1) or values (2) in the layer, of one token or of all."""

        def hook(module: Any, inputs: Any, output: Tensor) -> Tensor:
            output = output.clone()
            own = output.chunk(3, dim=-1)[part]
            # its own vectors, from other images and tokens, so of a similar size
            vectors = own.flatten(0, 1)
            other = vectors[torch.randperm(len(vectors), generator=generator)].view_as(own)
            if token is None:
                own.copy_(other)
            else:
                own[:, token] = other[:, token] + 1
            return output

        handle = cast("Any", model.blocks[layer]).attn.qkv.register_forward_hook(hook)
        try:
            return recorded(model, images)
        finally:
            handle.remove()

    values, query, key = with_other(2), with_other(0, row), with_other(1, column)
    above = [
        float((x.weights - y.weights).abs().sum(dim=-1).mean() / 2)
        for x, y in list(zip(before.records, values.records, strict=True))[layer + 1 :]
    ]
    found = _changes(before[layer], values[layer], query[layer], key[layer], row, column)
    return found | {"above": statistics.fmean(above) if above else 0.0}


def _changes(
    before: Stages, values: Stages, query: Stages, key: Stages, row: int, column: int
) -> dict[str, float]:
    """What changed with other values, another query in a row, another key in a column.

    For a key, of scores, because with the softmax the weights of all keys depend on each other.
    """
    by_values, by_query = ((before.weights - x.weights).abs() for x in (values, query))
    by_key = (before.scores - key.scores).abs()
    rows, columns = (torch.arange(n) for n in by_key.shape[-2:])
    return {
        "values": float(by_values.max()),
        "other_rows": float(by_query[..., rows != row, :].max()),
        "own_row": float(by_query[..., row, :].amax(dim=-1).min()),
        "other_columns": float(by_key[..., columns != column].max()),
        "own_column": float(by_key[..., column].amax(dim=-1).min()),
    }


def _extremes(changes: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: reduce(x[name] for x in changes) for name, (reduce, _) in CHANGES.items()}


def accuracies_with_positions(trial: Trial) -> Values:
    """Train a small classifier with the positions of the condition; share of correct predictions.

    With `ONE_SHUFFLE` all digits, of training and test, have their patches in the same random
    order. `shuffled` is the accuracy with the patches of each unseen digit in an order of its own,
    `error` the `permutation_error` of the trained blocks.
    """
    settings = trial.settings
    generator = torch.Generator().manual_seed(trial.seed)
    patches = SMALL.grid[0] * SMALL.grid[1]
    fixed = torch.randperm(patches, generator=generator)
    training = classifiers.training_digits(settings["digits"], trial.seed)
    unseen = classifiers.unseen_digits(settings["unseen"])
    if trial.condition == ONE_SHUFFLE:
        training, unseen = (shuffle_patches(digits, fixed) for digits in (training, unseen))
    model = classifiers.train_small_classifier(
        replace(SMALL, pos_embed=POSITIONS.get(trial.condition, "learned")),
        training,
        epochs=settings["epochs"],
        seed=trial.seed,
        learning_rate=RATES[settings["rate"]],
    )
    orders = torch.rand(len(unseen), patches, generator=generator).argsort(dim=1)
    return {
        "accuracy": accuracy_on(model, unseen, out_of=1.0),
        "shuffled": accuracy_on(model, shuffle_patches(unseen, orders), out_of=1.0),
    }


def errors_of_random_layers(trial: Trial) -> Values:
    """`permutation_error` of random attention layers in float64.

    `error`: the largest; `error_with_positions`: the smallest with positions added to the tokens.
    """
    generator = torch.Generator().manual_seed(trial.seed)
    alone, positioned = [], []
    for _ in range(trial.settings["layers"]):
        heads, head_dim, tokens = torch.randint(2, 20, (3,), generator=generator).tolist()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(1 << 40, (), generator=generator)))
            layer = MultiHeadAttention(heads * head_dim, heads).double().eval()
        for weight in layer.parameters():
            nn.init.normal_(weight, generator=generator)
        shape = (3, tokens, heads * head_dim)
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        positions = torch.randn(shape[1:], generator=generator, dtype=torch.float64)
        order = derangement(tokens, generator)
        alone.append(permutation_error(layer, x, order))
        layer.register_forward_pre_hook(lambda _, x, added=positions: (x[0] + added,))
        positioned.append(permutation_error(layer, x, order))
    return {"error": max(alone), "error_with_positions": min(positioned)}


def derangement(tokens: int, generator: torch.Generator) -> Int[Tensor, " tokens"]:
    """A random order in which no token keeps its position."""
    cycle = torch.randperm(tokens, generator=generator)
    order = torch.empty_like(cycle)
    order[cycle] = cycle.roll(1)
    return order


def permutation_error(
    layer: nn.Module, x: Float[Tensor, "batch tokens embed_dim"], order: Int[Tensor, " tokens"]
) -> float:
    """The largest |layer(x)[order] - layer(x[order])|, over the largest output."""
    with torch.no_grad():
        expected, actual = layer(x)[:, order], layer(x[:, order])
    return float((expected - actual).abs().max() / expected.abs().max())


def shuffle_patches(
    dataset: ImageDataset,
    order: Int[Tensor, "*images patches"],
    patch: tuple[int, int] = SMALL.patch_shape,
) -> ImageDataset:
    """Patch i of an image becomes patch order[i]: one order for all images, or one for each."""
    images = dataset.images
    cut = cut_patches(images.float(), patch)  # integers up to 255 stay exact
    moved = cut.gather(1, order.expand(len(images), -1)[..., None].expand(cut.shape))
    channels, height, width = images.shape[1:]
    rows, columns = height // patch[0], width // patch[1]
    grid = moved.reshape(len(images), rows, columns, channels, *patch)
    shuffled = grid.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
    return replace(dataset, images=shuffled.to(images.dtype))


PANELS = (
    Curves(
        lambda values: [max(values[name], DRAWN_AS_ZERO) for name in CHANGES],
        f"change ({DRAWN_AS_ZERO:.0e} stands for none)",
        "replaced: what is compared",
        x=tuple(label for _, label in CHANGES.values()),
        join=False,
        yscale="log",
        lines={ROUNDING: "rounding"},
    ),
    Curves(
        apart_by_layer,
        "two queries of a head: total variation",
        "layer",
        ylim=(0, 1),
        title="0: the same row; 1: nothing in common",
    ),
)
SUMMARIES = (
    Summary("Weights of the layers above when values change", "weights_above"),
    Summary("Distance between rows of two queries, by layer", apart_by_layer),
)
POSITION_PANELS = tuple(
    Points(x, f"{name} (%)", "positions", group="rate", scale=100, ylim=(0, 100), lines=CHANCE)
    for x, name in ACCURACIES.items()
)
POSITION_SUMMARIES = (
    *(
        Summary(f"{name}, {rate}", measure, settings={"rate": rate})
        for rate in RATES
        for measure, name in ACCURACIES.items()
    ),
    Summary("Smallest difference with positions", "error_with_positions"),
)
