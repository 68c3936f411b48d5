"""The prediction for one picture explained, as plain data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.data import ImageSource
from clearhead.errors import NothingCapturedError
from clearhead.explanation._selection import Layers, select_queries
from clearhead.explanation.classifiers import ImageClassifier, ImageInput
from clearhead.explanation.influence import (
    Influence,
    LayerShape,
    measure_masking,
    measure_relevance,
    measure_rollout,
    why_no_masking,
    why_no_rollout,
)
from clearhead.inference import (
    CONFIDENCE_THRESHOLD,
    LOW_CONFIDENCE,
    Prediction,
    evaluation_mode,
)
from clearhead.insight import Grid
from clearhead.insight.forward import logits_of
from clearhead.insight.propagation import Relevance
from clearhead.recording import AttentionRecord, Proof, Recording, capture

NO_PREDICTION = "there is no prediction"
NO_CLASSES = "this model has no classes: it describes a picture and predicts nothing"
DECIMALS = 8
MEASURES = ("rollout", "relevance", "masking")


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerWeights:
    """The attention weights of one layer, for the queries that were kept.

    Attributes:
        name: the module's path, as in `capture`.
        weights: of shape (windows, heads, queries, keys); a picture may have several windows, each
            with tokens of its own.
        queries: the positions of the kept queries among the tokens.
        num_queries: the number of all queries.
        on_grid: whether the keys are the tokens of the model's grid.
    """

    name: str
    weights: Float[Tensor, "windows heads queries keys"]
    queries: tuple[int, ...]
    num_queries: int
    on_grid: bool

    @property
    def is_complete(self) -> bool:
        """Whether every query is kept."""
        return len(self.queries) == self.num_queries

    def nearest(self, query: int) -> int:
        """The place in `queries` of the kept query nearest to this one."""
        return min(range(len(self.queries)), key=lambda i: abs(self.queries[i] - query))

    def __repr__(self) -> str:
        return f"LayerWeights({self.name!r}, {'×'.join(map(str, self.weights.shape))})"

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON has them."""
        windows, heads, _, keys = self.weights.shape
        return {
            "name": self.name,
            "windows": windows,
            "heads": heads,
            "keys": keys,
            "num_queries": self.num_queries,
            "queries": list(self.queries),
            "on_grid": self.on_grid,
            "weights": rounded(self.weights),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """A prediction for one picture, the attention behind it, and what it depends on.

    Attributes:
        image: what the picture is called.
        model: what the model is called.
        pixels: the picture after preprocessing.
        is_ink: whether pixels are light ink on a dark background, as in MNIST.
        class_names: the classes in the order of `probabilities`.
        label: the predicted class; None where nothing was predicted, and then there are no
            probabilities.
        probability: the probability of `label`.
        runner_up: the second most probable class.
        runner_up_probability: its probability.
        probabilities: of all classes.
        warnings: what makes the prediction doubtful.
        grid: how the patches lie; None where the model does not say.
        layer_names: all attention layers that ran and were verified.
        layers: the weights that are kept.
        proofs: the errors of each layer's weights, within what rounding explains.
        rollout: where information can have come from (Abnar & Zuidema 2020).
        relevance: attention weighted by its gradient (Chefer, Gur & Wolf 2021).
        masking: the fall of the probability when no token may attend to a patch.
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
    layer_names: tuple[str, ...]
    layers: tuple[LayerWeights, ...]
    proofs: tuple[Proof, ...]
    rollout: Influence
    relevance: Influence
    masking: Influence

    @property
    def omitted_layers(self) -> tuple[str, ...]:
        """The layers that were verified, but whose weights are not kept."""
        kept = {layer.name for layer in self.layers}
        return tuple(name for name in self.layer_names if name not in kept)

    @property
    def influences(self) -> dict[str, Influence]:
        """The three measures by name."""
        return {name: getattr(self, name) for name in MEASURES}

    def summary(self) -> dict[str, Any]:
        """The prediction and its warnings, without any weights."""
        return {
            "image": self.image,
            "model": self.model,
            "label": self.label,
            "probability": self.probability,
            "runner_up": self.runner_up,
            "runner_up_probability": self.runner_up_probability,
            "warnings": list(self.warnings),
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pixels, as JSON has it; layers, heads and tokens count from 0."""
        grid = self.grid and {
            "rows": self.grid.rows,
            "columns": self.grid.columns,
            "prefix": list(self.grid.names()[: self.grid.num_prefix_tokens]),
        }
        influences = {
            name: {"values": None, "reason": influence.reason}
            if influence.values is None
            else {"values": rounded(influence.values)}
            for name, influence in self.influences.items()
        }
        return self.summary() | {
            "classes": list(self.class_names),
            "probabilities": list(self.probabilities),
            "grid": grid,
            "layers": [layer.to_dict() for layer in self.layers],
            "omitted_layers": list(self.omitted_layers),
            **influences,
            "proofs": [asdict(proof) for proof in self.proofs],
        }

    def __repr__(self) -> str:
        return (
            f"Explanation({self.image!r}, model={self.model!r}, label={self.label!r}, "
            f"probability={self.probability:.4f}, layers={len(self.layers)})"
        )

    def _repr_html_(self) -> str:
        from clearhead.explanation.figures import picture_figure
        from clearhead.explanation.html import data_uri, render
        from clearhead.insight.plots import figure_bytes

        figure = data_uri(figure_bytes(picture_figure(self), "png"), "image/png")
        return render("notebook_picture.html", explanation=self, figure=figure)


def explain_picture(
    classifier: ImageClassifier, picture: ImageSource, *, layers: Layers = None, name: str = ""
) -> Explanation:
    """Classify a picture under a capture, verify the weights, and measure what mattered."""
    model_input = classifier.preprocess(picture)
    with evaluation_mode(classifier.model), torch.enable_grad():
        recording, logits = _run(classifier, model_input)
        shapes = {record.name: _shape(record) for record in recording.records}
        grid = classifier.grid(model_input)
        if grid is not None and all(x.keys != grid.num_tokens for x in shapes.values()):
            grid = None  # no layer attends over all of its tokens
        prediction = _prediction(classifier, model_input, logits.detach())
        no_rollout = why_no_rollout(list(shapes.values()), grid)
        relevance: Relevance | str = no_rollout or NO_PREDICTION
        if not no_rollout and prediction.label is not None:
            relevance = measure_relevance(logits.max()[None], recording)
    rollout = Influence(reason=no_rollout)
    if not no_rollout:
        rollout = measure_rollout(recording, _readout(relevance, grid))
    no_masking = why_no_masking(list(shapes.values()), grid)
    if not no_masking and prediction.label is None:
        no_masking = NO_PREDICTION
    masking = Influence(reason=no_masking)
    if grid is not None and not no_masking:
        label = int(np.argmax(prediction.probabilities))
        masking = measure_masking(classifier.model, model_input.inputs, grid, label)
    kept = select_queries(shapes, layers, grid)
    return Explanation(
        image=name or (str(picture) if isinstance(picture, str | Path) else "picture"),
        model=classifier.name,
        pixels=model_input.pixels,
        is_ink=model_input.is_ink,
        class_names=classifier.class_names,
        label=prediction.label,
        probability=prediction.probability,
        runner_up=prediction.runner_up,
        runner_up_probability=prediction.runner_up_probability,
        probabilities=prediction.probabilities,
        warnings=(
            *classifier.warnings,
            *(() if classifier.class_names else (NO_CLASSES,)),
            *prediction.warnings,
        ),
        grid=grid,
        layer_names=recording.names,
        layers=tuple(_weights(recording[layer], queries, grid) for layer, queries in kept.items()),
        proofs=recording.verify(),
        rollout=rollout,
        relevance=Influence(reason=relevance)
        if isinstance(relevance, str)
        else Influence(values=relevance.tokens[0].detach().double().cpu()),
        masking=masking,
    )


def first_view(explanation: Explanation) -> dict[str, int]:
    """The first thing to show: a query, and the layer and head with its largest weight.

    The query is the class token where there is one, else the patch with the largest relevance.
    """
    relevance, grid = explanation.relevance.values, explanation.grid
    query = 0
    if relevance is not None and grid is not None and not grid.num_prefix_tokens:
        query = int(relevance.argmax())
    best = (-1.0, 0, 0)
    for place, layer in enumerate(explanation.layers):
        largest, head = layer.weights[0, :, layer.nearest(query)].amax(dim=-1).max(dim=0)
        best = max(best, (float(largest), place, int(head)))
    return {"query": query, "layer": best[1], "head": best[2]}


def rounded(values: Tensor) -> list[Any]:
    """Nested lists of numbers for files."""
    numbers: list[Any] = np.round(values.double().numpy(), DECIMALS).tolist()
    return numbers


def _run(
    classifier: ImageClassifier, model_input: ImageInput
) -> tuple[Recording, Float[Tensor, " classes"]]:
    """One forward pass under a capture whose records hang on the autograd graph."""
    try:
        with capture(gradients=True) as recording:
            output = classifier.model(model_input.inputs.clone().requires_grad_())
    except NothingCapturedError as error:
        raise NothingCapturedError(
            f"no attention was recorded in {classifier.name}, a {type(classifier.model).__name__}; "
            "only softmax attention between queries, keys and values can be explained: choose "
            "another model"
        ) from error
    return recording, logits_of(output)[0]


def _prediction(
    classifier: ImageClassifier, model_input: ImageInput, logits: Float[Tensor, " classes"]
) -> Prediction:
    """The prediction as `predict` gives it; empty where there is nothing to predict."""
    if not classifier.class_names or model_input.is_empty:
        return Prediction(warnings=model_input.warnings)
    probabilities = logits.double().softmax(0).tolist()
    best, *others = logits.argsort(descending=True, stable=True).tolist()
    doubts = () if probabilities[best] >= CONFIDENCE_THRESHOLD else (LOW_CONFIDENCE,)
    return Prediction(
        label=classifier.class_names[best],
        probability=probabilities[best],
        runner_up=classifier.class_names[others[0]] if others else None,
        runner_up_probability=probabilities[others[0]] if others else 0.0,
        probabilities=tuple(probabilities),
        warnings=(*model_input.warnings, *doubts),
    )


def _shape(record: AttentionRecord) -> LayerShape:
    *_, heads, queries, _ = record.query.shape
    return LayerShape(
        windows=record.query.shape[:-3].numel(),
        heads=heads,
        queries=queries,
        keys=record.weights.shape[-1] if record.before else record.key.shape[-2],
    )


def _weights(record: AttentionRecord, queries: tuple[int, ...], grid: Grid | None) -> LayerWeights:
    num_queries = record.query.shape[-2]
    chosen = None if len(queries) == num_queries else list(queries)
    weights = record.stages(queries=chosen).weights.detach().cpu().float()
    weights = weights.reshape(-1, *weights.shape[-3:])
    return LayerWeights(
        name=record.name,
        weights=weights,
        queries=queries,
        num_queries=num_queries,
        on_grid=grid is not None and len(weights) == 1 and weights.shape[-1] == grid.num_tokens,
    )


def _readout(relevance: Relevance | str, grid: Grid | None) -> Sequence[int]:
    """The tokens that the logits come from: by the gradient, else the class token, else all."""
    if isinstance(relevance, Relevance):
        return relevance.readout
    if grid is None:
        return ()
    return (0,) if grid.num_prefix_tokens else range(grid.num_tokens)
