"""What a model saw in a picture, what it answered, and whom each of its tokens looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from clearhead.explanation.classifiers.named import open_reader
from clearhead.explanation.classifiers.own import read_with
from clearhead.explanation.classifiers.reader import Reader, View
from clearhead.explanation.picture.influence import (
    Influence,
    measure_relevance,
    measure_rollout,
    measure_silencing,
    why_no_flow,
    why_no_silence,
)
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.data.preprocessing.any_picture import Picture
from clearhead.errors import InputError, NothingCapturedError
from clearhead.explanation.picture.kept import Size, choose
from clearhead.inference import (
    CONFIDENCE_THRESHOLD,
    LOW_CONFIDENCE,
    Prediction,
    evaluation_mode,
)
from clearhead.insight.forward import logits_of
from clearhead.insight.propagation import Relevance
from clearhead.insight.tokens import Grid
from clearhead.models.pretrained import ImageModel
from clearhead.recording._capture import Layers, capture
from clearhead.recording._proof import Proof
from clearhead.recording._record import AttentionRecord
from clearhead.recording._recording import Recording

NO_ANSWER = "nothing was answered"

Model = str | Path | Reader | ImageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One call of attention: the weights of the queries that were kept, and what they are.

    A picture may have several `windows`, each with tokens of its own. Where `on_grid`, the keys are
    the tokens of the grid; where `queries` has all `num_queries` of them as well, so do they ask.
    """

    name: str
    weights: Float[Tensor, "windows heads queries keys"]
    queries: tuple[int, ...]
    num_queries: int
    on_grid: bool

    @property
    def is_whole(self) -> bool:
        """Whether every query is kept."""
        return len(self.queries) == self.num_queries


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Everything a report shows, as plain data.

    `pixels` are the picture as the model saw it. `label` is None where nothing was answered; then
    there are no probabilities. They are in the order of `class_names`. `names` are all attentions
    that ran and were proved, `layers` those that are kept. `grid` is None where the model does not
    say how its patches lie.
    """

    image: str
    model: str
    pixels: UInt8[Tensor, "channels height width"]
    is_ink: bool
    class_names: tuple[str, ...]
    label: str | None
    probability: float
    runner_up: str | None
    runner_up_probability: float
    probabilities: tuple[float, ...]
    warnings: tuple[str, ...]
    grid: Grid | None
    names: tuple[str, ...]
    layers: tuple[Layer, ...]
    proofs: tuple[Proof, ...]
    rollout: Influence
    relevance: Influence
    silencing: Influence

    @property
    def left_out(self) -> tuple[str, ...]:
        """The attentions that were proved, but whose weights are not kept."""
        kept = {layer.name for layer in self.layers}
        return tuple(name for name in self.names if name not in kept)


def explain(
    image: Picture, model: Model = "digits", *, layers: Layers = None, name: str = ""
) -> Explanation:
    """Show a picture to a model under one capture, prove what was seen, and keep it.

    `model` is what `open_reader` takes, a reader, or a model of ours. `layers` picks whose weights
    are kept, as in `capture`; without it all are, unless there are too many of them. `name` is what
    the picture is called. Raises `ImageError` for a picture that cannot be read, and
    `CaptureError` for a model whose attention cannot be seen or proved.
    """
    reader = _reader(model)
    view = reader.look(image)
    with evaluation_mode(reader.model), torch.enable_grad():
        seen, logits = _watched(reader, view)
        sizes = {record.name: _size(record) for record in seen.records}
        grid = _grid(reader, view, sizes)
        no_flow = why_no_flow(list(sizes.values()), grid)
        answer = _answer(reader, view, logits.detach())
        if no_flow or answer.label is None:
            relevance: Relevance | str = no_flow or NO_ANSWER
        else:
            relevance = measure_relevance(logits.max()[None], seen)
    kept = choose(sizes, layers, grid)
    return Explanation(
        image=name or _called(image),
        model=reader.name,
        pixels=view.pixels,
        is_ink=view.is_ink,
        class_names=reader.class_names,
        label=answer.label,
        probability=answer.probability,
        runner_up=answer.runner_up,
        runner_up_probability=answer.runner_up_probability,
        probabilities=answer.probabilities,
        warnings=(*reader.warnings, *_no_classes(reader), *answer.warnings),
        grid=grid,
        names=seen.names,
        layers=tuple(_layer(seen[layer], queries, grid) for layer, queries in kept.items()),
        proofs=seen.verify(),
        rollout=_missing(no_flow) or measure_rollout(seen, _readout(relevance, grid)),
        relevance=_relevance(relevance),
        silencing=_silencing(
            reader, view, grid, answer, why_no_silence(list(sizes.values()), grid)
        ),
    )


def _watched(reader: Reader, view: View) -> tuple[Recording, Float[Tensor, " classes"]]:
    """One forward pass under a capture whose records hang on the autograd graph."""
    try:
        with capture(gradients=True) as seen:
            output = reader.model(view.inputs.clone().requires_grad_())
    except NothingCapturedError as error:
        raise NothingCapturedError(
            f"no attention was seen in {reader.name}, a {type(reader.model).__name__}; only "
            "softmax attention between queries, keys and values can be shown: choose another model"
        ) from error
    return seen, logits_of(output)[0]


def _answer(reader: Reader, view: View, logits: Float[Tensor, " classes"]) -> Prediction:
    """The answer as `predict` gives it; none where there are no classes, or nothing to answer."""
    if not reader.class_names or not view.found:
        return Prediction(warnings=view.warnings)
    probabilities = logits.double().softmax(0).tolist()
    best, *others = logits.argsort(descending=True, stable=True).tolist()
    unsure = () if probabilities[best] >= CONFIDENCE_THRESHOLD else (LOW_CONFIDENCE,)
    return Prediction(
        label=reader.class_names[best],
        probability=probabilities[best],
        runner_up=reader.class_names[others[0]] if others else None,
        runner_up_probability=probabilities[others[0]] if others else 0.0,
        probabilities=tuple(probabilities),
        warnings=(*view.warnings, *unsure),
    )


def _reader(model: Model) -> Reader:
    if isinstance(model, Reader):
        return model
    if isinstance(model, str | Path):
        return open_reader(model)
    if isinstance(model, ImageModel):
        return read_with(model, type(model).__name__)
    raise InputError(
        f"model is a name, a Reader or a model of ours, got {type(model).__name__}; say how to "
        "show it a picture: Reader(name=..., model=..., class_names=..., look=...)"
    )


def _size(record: AttentionRecord) -> Size:
    *_, heads, queries, _ = record.query.shape
    windows = record.query.shape[:-3].numel()
    keys = record.weights.shape[-1] if record.pre_softmax else record.key.shape[-2]
    return Size(windows=windows, heads=heads, queries=queries, keys=keys)


def _grid(reader: Reader, view: View, sizes: dict[str, Size]) -> Grid | None:
    """The grid, if any layer attends over all of its tokens."""
    grid = reader.grid(view)
    if grid is None or all(size.keys != grid.num_tokens for size in sizes.values()):
        return None
    return grid


def _layer(record: AttentionRecord, queries: tuple[int, ...], grid: Grid | None) -> Layer:
    every = record.query.shape[-2]
    select = None if len(queries) == every else list(queries)
    weights = record.stages(queries=select).weights.detach().cpu().float()
    weights = weights.reshape(-1, *weights.shape[-3:])
    on_grid = grid is not None and len(weights) == 1 and weights.shape[-1] == grid.num_tokens
    return Layer(
        name=record.name, weights=weights, queries=queries, num_queries=every, on_grid=on_grid
    )


def _readout(relevance: Relevance | str, grid: Grid | None) -> Sequence[int]:
    """The tokens the answer is read from: as the gradient says, else the class token, else all."""
    if isinstance(relevance, Relevance):
        return relevance.readout
    if grid is None:
        return ()
    return (0,) if grid.num_prefix_tokens else range(grid.num_tokens)


def _relevance(relevance: Relevance | str) -> Influence:
    if isinstance(relevance, str):
        return Influence(missing=relevance)
    return Influence(values=relevance.tokens[0].detach().double().cpu())


def _silencing(
    reader: Reader, view: View, grid: Grid | None, answer: Prediction, missing: str
) -> Influence:
    if grid is None or missing or not answer.probabilities:
        return Influence(missing=missing or NO_ANSWER)
    place = max(range(len(answer.probabilities)), key=answer.probabilities.__getitem__)
    return measure_silencing(reader.model, view.inputs, grid, place)


def _missing(reason: str) -> Influence | None:
    return Influence(missing=reason) if reason else None


def _no_classes(reader: Reader) -> tuple[str, ...]:
    if reader.class_names:
        return ()
    return ("this model has no classes: it describes a picture and answers nothing",)


def _called(image: Picture) -> str:
    return str(image) if isinstance(image, str | Path) else "picture"
