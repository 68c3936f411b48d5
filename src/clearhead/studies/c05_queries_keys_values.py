"""C5: values take no part in the weights; keys are the same for all queries, each with own weights.

All three follow from softmax(Q Kᵀ / √d_k) and are checked as such, by changing one thing and seeing
what else changes: in random tensors, and in trained readers by changing what one layer's `qkv`
gives in the midst of a forward pass. Two things are easily read into the words and are no part of
them. Values of one layer do move the weights of the layers above, which read what this one gave;
how much is measured. And weights of one's own need not be different weights: how far the rows of
two queries lie apart in trained heads is measured too.

Cost: quick 45, full about 280 seconds of one core, on two busy ones.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from clearhead import attention
from clearhead.data.pixels import normalize
from clearhead.insight.figures.colours import KEY, MUTED, QUERY, VALUE
from clearhead.insight.figures.drawing import new_figure
from clearhead.models.build import load
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording._capture import capture
from clearhead.recording._recording import Recording
from clearhead.studies.digits import training_digits, unseen_digits
from clearhead.studies.selection import outcomes_of
from clearhead.studies.small_reader import small_reader
from clearhead.studies.study import Budget, Check, Evidence, Outcome, Study, Trial, Values

CONFIG = ViTConfig(embed_dim=32, depth=4)
DRAWS = 50
MOST_TOKENS, MOST_DIMS = 70, 40

# In float64; matrix products may round otherwise when another row of them is changed.
ROUNDING = 1e-12
# Far above rounding. Asked of random tensors only: in a trained head keys may be so alike, or a row
# so sharp, that another query leaves it where it was.
CHANGED = 1e-9

Projection = Float[Tensor, "images tokens heads head_dim"]


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Random tensors; every layer of the shipped reader; every layer of small readers."""
    images = {"images": 100}
    trained = {**images, "digits": 4_000 if budget == "quick" else 9_000, "epochs": 2}
    return tuple(
        trial
        for seed in seeds
        for trial in (
            Trial(study=STUDY.name, arm="random", seed=seed, settings={"draws": DRAWS}),
            Trial(study=STUDY.name, arm="shipped", seed=seed, settings=images),
            Trial(study=STUDY.name, arm="trained", seed=seed, settings=trained),
        )
    )


def run(trial: Trial) -> Values:
    """What else changes when values, one query or one key are changed."""
    if trial.arm == "random":
        return random_changes(trial)
    if trial.arm == "shipped":
        return reader_changes(load(), trial)
    settings = trial.settings
    dataset = training_digits(settings["digits"], trial.seed)
    model = small_reader(CONFIG, dataset, epochs=settings["epochs"], seed=trial.seed)
    return reader_changes(cast("VisionTransformer", model), trial)


def random_changes(trial: Trial) -> Values:
    """The largest change where none may be, and the smallest where one must be, over all draws."""
    generator = torch.Generator().manual_seed(trial.seed)
    draws = [_drawn_changes(generator) for _ in range(trial.settings["draws"])]
    return _worst(draws)


def _drawn_changes(generator: torch.Generator) -> dict[str, float]:
    def size(most: int, least: int = 2) -> int:
        return int(torch.randint(least, most, (), generator=generator))

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    queries, keys, head_dim, value_dim = (
        size(most) for most in (MOST_TOKENS, MOST_TOKENS, MOST_DIMS, MOST_DIMS)
    )
    query, key, value = drawn(queries, head_dim), drawn(keys, head_dim), drawn(keys, value_dim)
    row, column = size(queries, 0), size(keys, 0)
    other_query, other_key = query.clone(), key.clone()
    other_query[row], other_key[column] = drawn(head_dim), drawn(head_dim)
    before = attention.attention_stages(query, key, value)
    return {
        "values": _apart(
            before.weights, attention.attention_stages(query, key, drawn(keys, value_dim)).weights
        ),
        **_query_change(
            before.weights, attention.attention_stages(other_query, key, value).weights, row
        ),
        **_key_change(
            before.scores, attention.attention_stages(query, other_key, value).scores, column
        ),
    }


def reader_changes(model: VisionTransformer, trial: Trial) -> Values:
    """The same in every layer of a reader, in float64; what goes on above; how far rows differ."""
    model = model.double()
    digits = unseen_digits(trial.settings["images"], trial.seed)
    images = normalize(digits.images, model.config).double()
    before = _captured(model, images)
    layers = [_layer_changes(model, images, before, x, trial.seed) for x in range(len(before))]
    return {
        **_worst(layers),
        "weights_above": [layer["above"] for layer in layers[:-1]],
        "rows_apart": [
            rows_apart(record.weights).mean(dim=0).tolist() for record in before.records
        ],
    }


def _layer_changes(
    model: VisionTransformer, images: Tensor, before: Recording, layer: int, seed: int
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    row, column = torch.randint(
        0, model.config.grid[0] * model.config.grid[1], (2,), generator=generator
    ).tolist()

    def anew(x: Tensor) -> Tensor:
        """As large as the others, and of other images and tokens: from the layer itself."""
        rows = x.flatten(0, 1)
        order = torch.randperm(len(rows), generator=generator)
        return rows[order].view_as(x)

    def values(query: Projection, key: Projection, value: Projection) -> None:
        value.copy_(anew(value))

    def one_query(query: Projection, key: Projection, value: Projection) -> None:
        query[:, row] = anew(query)[:, row] + 1

    def one_key(query: Projection, key: Projection, value: Projection) -> None:
        key[:, column] = anew(key)[:, column] + 1

    other_values = _captured(model, images, layer, values)
    other_query = _captured(model, images, layer, one_query)
    other_key = _captured(model, images, layer, one_key)
    above = [
        _mean_variation(before[place].weights, other_values[place].weights)
        for place in range(layer + 1, len(before))
    ]
    return {
        "values": _apart(before[layer].weights, other_values[layer].weights),
        **_query_change(before[layer].weights, other_query[layer].weights, row),
        **_key_change(before[layer].scores, other_key[layer].scores, column),
        "above": statistics.fmean(above) if above else 0.0,
    }


def _captured(
    model: VisionTransformer,
    images: Tensor,
    layer: int | None = None,
    change: Callable[[Projection, Projection, Projection], None] | None = None,
) -> Recording:
    with torch.no_grad(), capture() as seen:
        if layer is None or change is None:
            model(images)
        else:
            with _changed(model, layer, change):
                model(images)
    return seen


@contextmanager
def _changed(
    model: VisionTransformer,
    layer: int,
    change: Callable[[Projection, Projection, Projection], None],
) -> Iterator[None]:
    """Inside the block, what a layer projects is changed on its way, in place."""
    heads = model.config.num_heads

    def hook(module: Any, inputs: Any, output: Tensor) -> Tensor:
        output = output.clone()
        parts = (part.unflatten(-1, (heads, -1)) for part in output.chunk(3, dim=-1))
        change(*parts)
        return output

    handle = cast("Any", model.blocks[layer]).attn.qkv.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def rows_apart(
    weights: Float[Tensor, "images heads queries keys"],
) -> Float[Tensor, "images heads"]:
    """Total variation between the weights of two queries of a head, mean over all pairs of them."""
    queries = weights.shape[-2]
    apart = torch.cdist(weights, weights, p=1) / 2
    return apart.sum(dim=(-2, -1)) / max(queries * (queries - 1), 1)


def _query_change(before: Tensor, after: Tensor, row: int) -> dict[str, float]:
    others = [x for x in range(before.shape[-2]) if x != row]
    return {
        "other_rows": _apart(before[..., others, :], after[..., others, :]),
        "own_row": _least_apart(before[..., row, :], after[..., row, :]),
    }


def _key_change(before: Tensor, after: Tensor, column: int) -> dict[str, float]:
    """Of scores: the softmax shares out between all keys, so that weights of the others follow."""
    others = [x for x in range(before.shape[-1]) if x != column]
    return {
        "other_columns": _apart(before[..., others], after[..., others]),
        "own_column": _least_apart(before[..., column], after[..., column]),
    }


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.numel() else 0.0


def _least_apart(one: Tensor, other: Tensor) -> float:
    """The largest change along the last axis, where that is smallest."""
    return float((one - other).abs().amax(dim=-1).min())


def _mean_variation(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().sum(dim=-1).mean() / 2)


def _worst(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    return {
        "values": max(x["values"] for x in figures),
        "other_rows": max(x["other_rows"] for x in figures),
        "own_row": min(x["own_row"] for x in figures),
        "other_columns": max(x["other_columns"] for x in figures),
        "own_column": min(x["own_column"] for x in figures),
    }


def evidence(outcomes: Sequence[Outcome]) -> tuple[Evidence, ...]:
    """What must stay, stays; what must move, moves."""
    every = _every(outcomes)

    def of(*names: str) -> tuple[float, ...]:
        return tuple(max(x.values[name] for name in names) for x in every)

    return (
        Check(
            name="other values: largest change of a weight of that layer",
            unit="share",
            values=of("values"),
            high=0.0,
        ),
        Check(
            name="another key: largest change of a score with any other key",
            unit="1",
            values=of("other_columns"),
            high=ROUNDING,
        ),
        Check(
            name="another query: largest change in the weights of any other query",
            unit="share",
            values=of("other_rows"),
            high=ROUNDING,
        ),
        Check(
            name="random tensors, another query or key: smallest change of what is its own",
            unit="1",
            values=tuple(
                min(x.values["own_row"], x.values["own_column"])
                for x in outcomes_of(outcomes, "random")
            ),
            low=CHANGED,
        ),
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """The formula; the layers above; how different the rows of trained heads are."""
    every = _every(outcomes)
    values = max(x.values["values"] for x in every)
    rest = max(max(x.values["other_rows"], x.values["other_columns"]) for x in every)
    shipped = outcomes_of(outcomes, "shipped")
    above = [x for outcome in shipped for x in outcome.values["weights_above"]]
    apart = _rows_apart(shipped)
    return (
        f"Other values moved the weights of their layer by at most {_told(values)}; another "
        "query or key moved what is not its own (other rows of weights, other columns of scores) "
        f"by at most {_told(rest)}.",
        f"That ends with the layer: other values in one layer of the shipped reader moved the "
        f"weights of the layers above by {min(above):.2f} to {max(above):.2f} (total variation).",
        f"Rows of their own need not be different ones: in the shipped reader two "
        f"queries of a head lie {min(apart):.2f} apart in layer {apart.index(min(apart)) + 1}, "
        f"and {max(apart):.2f} in layer {apart.index(max(apart)) + 1} (0 the same, 1 nothing in "
        "common).",
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Left: what stays and what moves. Right: how far the rows of two queries lie apart."""
    drawing = new_figure(10.0, 4.0)
    left, right = drawing.subplots(1, 2)
    kinds = {
        "values": "other values:\nweights",
        "other_columns": "another key:\nother scores",
        "other_rows": "another query:\nother weights",
        "own_column": "another key:\nits scores",
        "own_row": "another query:\nits weights",
    }
    floor = 1e-18
    for place, kind in enumerate(kinds):
        for x in _every(outcomes):
            must_change = kind.startswith("own") and x.trial.arm == "random"
            colour = KEY if must_change else MUTED if kind.startswith("own") else QUERY
            left.plot(place, max(x.values[kind], floor), "o", color=colour, ms=4, alpha=0.6)
    left.axhline(ROUNDING, color=MUTED, lw=1)
    left.text(2.6, ROUNDING, "rounding", va="bottom", fontsize=8, color=MUTED)
    left.set_yscale("log")
    left.set_xticks(range(len(kinds)), list(kinds.values()), fontsize=7)
    left.set_xlabel("what was changed: what was looked at")
    left.set_ylabel(f"change ({floor:.0e} stands for none)")
    left.set_title("Blue must not change, orange must; grey: readers", fontsize=10)
    for arm, colour, told in (("trained", VALUE, "small readers"), ("shipped", QUERY, "shipped")):
        for place, outcome in enumerate(outcomes_of(outcomes, arm)):
            for layer, heads in enumerate(outcome.values["rows_apart"], start=1):
                label = told if place == 0 and layer == 1 else "_"
                right.plot(
                    [layer] * len(heads), heads, ".", color=colour, ms=5, alpha=0.6, label=label
                )
    right.set_ylim(0, 1)
    right.set_xlabel("layer")
    right.set_ylabel("two queries of a head: total variation")
    right.set_title("How different the rows of a head are", fontsize=10)
    right.legend(fontsize=8)
    return drawing


def _every(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [x for arm in ("random", "shipped", "trained") for x in outcomes_of(outcomes, arm)]


def _told(number: float) -> str:
    return f"{number:.0e}" if number else "0"


def _rows_apart(outcomes: Sequence[Outcome]) -> list[float]:
    """For each layer, the mean over seeds and heads."""
    layers = zip(*(x.values["rows_apart"] for x in outcomes), strict=True)
    return [statistics.fmean(y for heads in layer for y in heads) for layer in layers]


STUDY = Study(
    name="queries-keys-values",
    claim="C5",
    statement=(
        "Values take no part in the weights; a key is the same for every query; each query has "
        "its own weights."
    ),
    hypothesis=(
        "Within one attention, other values change no weight at all; another key changes its own "
        "column of scores for every query and no other; another query changes its own row of "
        f"weights and no other (within {ROUNDING:.0e}, in float64)."
    ),
    conditions=(
        "Random tensors of random sizes; every layer of the shipped reader and of small readers "
        "(width 32, four layers) trained on MNIST, changed in the midst of a forward pass."
    ),
    measure="Largest change of weights or scores where none may be, smallest where one must be.",
    seeds={"quick": 3, "full": 8},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=("Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, section 3.2.1",),
)
