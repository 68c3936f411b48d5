"""The prediction for one picture explained, as plain data."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.data import ImageSource, load_image, resize_and_crop
from clearhead.errors import ImageError, NothingCapturedError
from clearhead.explanation._selection import select_queries
from clearhead.explanation.classifiers import ImageClassifier, ImageInput
from clearhead.explanation.html import render
from clearhead.explanation.influence import (
    Influence,
    measure_masking,
    measure_rollout_and_relevance,
    measure_shapley,
    rounded,
)
from clearhead.inference import Prediction, evaluation_mode, prediction_of
from clearhead.insight import Grid
from clearhead.insight.forward import logits_of
from clearhead.recording import AttentionRecord, Layers, Recording, Verification, capture

MAX_ORIGINAL = 320  # pixels per side
NO_CLASSES = "this model has no classes: it describes a picture and predicts nothing"
ONE_BY_ONE = Influence(reason="the picture shows several digits, which are explained one by one")


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerWeights:
    """The attention weights of one layer, for the queries that were kept.

    Attributes:
        name: The module's path, as in `capture`.
        weights: Of shape (windows, heads, queries, keys); a picture may have several windows, each
            with tokens of its own.
        queries: The positions of the kept queries among the tokens.
        num_queries: The number of all queries.
        on_grid: Whether the keys are the tokens of the model's grid.
    """

    name: str
    weights: Float[Tensor, "windows heads queries keys"]
    queries: tuple[int, ...]
    num_queries: int
    on_grid: bool

    def nearest(self, query: int) -> int:
        """The place in `queries` of the kept query nearest to this one.

        Args:
            query: Index of a query token, from 0.

        Returns:
            An index into `queries`, and into the third axis of `weights`.
        """
        return min(range(len(self.queries)), key=lambda i: abs(self.queries[i] - query))

    def shape_dict(self) -> dict[str, Any]:
        """All fields but the weights, as JSON has them.

        Returns:
            A dictionary for `json.dumps`.
        """
        windows, heads, _, keys = self.weights.shape
        sizes = {"name": self.name, "windows": windows, "heads": heads, "keys": keys}
        queries = {"num_queries": self.num_queries, "queries": list(self.queries)}
        return sizes | queries | {"on_grid": self.on_grid}

    def __repr__(self) -> str:
        return f"LayerWeights({self.name!r}, {'×'.join(map(str, self.weights.shape))})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """A prediction for one picture, the attention behind it, and what it depends on.

    Attributes:
        image: What the picture is called.
        model: What the model is called.
        pixels: The picture after preprocessing.
        original: The picture before, upright, at most 320 pixels per side; None if it cannot be
            shown.
        is_ink: Whether pixels are light ink on a dark background, as in MNIST.
        prediction: The predicted class, with the probabilities of all classes and warnings.
        grid: The grid of patches; None where the model does not declare it.
        layer_names: All attention layers that ran and were verified.
        layers: The weights that are kept.
        verifications: The errors of each layer's weights, within what rounding explains.
        rollout: Where information can have come from (Abnar & Zuidema 2020).
        relevance: Attention weighted by its gradient (Chefer, Gur & Wolf 2021).
        shapley: Each patch's share in the log-odds of the predicted class, against black pixels;
            exact for up to 12 patches with ink, estimated for more.
        masking: The fall of the probability when no token may attend to a patch.
        digits: The explanations of the single digits if the picture shows several, in reading
            order. Then the other attributes have the prediction for all of them, but no layers,
            verifications or measures.
    """

    image: str
    model: str
    pixels: UInt8[Tensor, "channels height width"]
    original: UInt8[Tensor, "3 full_height full_width"] | None
    is_ink: bool
    prediction: Prediction
    grid: Grid | None = None
    layer_names: tuple[str, ...] = ()
    layers: tuple[LayerWeights, ...] = ()
    verifications: tuple[Verification, ...] = ()
    rollout: Influence = ONE_BY_ONE
    relevance: Influence = ONE_BY_ONE
    shapley: Influence = ONE_BY_ONE
    masking: Influence = ONE_BY_ONE
    digits: tuple["Explanation", ...] = ()

    @property
    def influences(self) -> dict[str, Influence]:
        """The four measures by name."""
        names = ("rollout", "relevance", "shapley", "masking")
        return {name: getattr(self, name) for name in names}

    @property
    def displayed(self) -> dict[str, Influence]:
        """The measures in the units of figures and tables: relevance as shares."""
        return self.influences | {"relevance": self.relevance.shares()}

    def grid_dict(self) -> dict[str, Any] | None:
        """The grid as JSON has it.

        Returns:
            `rows`, `columns` and the names of the `prefix` tokens; None without a grid.
        """
        if self.grid is None:
            return None
        prefix = list(self.grid.names()[: self.grid.num_prefix_tokens])
        return {"rows": self.grid.rows, "columns": self.grid.columns, "prefix": prefix}

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, as JSON has it; layers, heads and tokens count from 0.

        Returns:
            A dictionary for `json.dumps`.
        """
        kept = {layer.name for layer in self.layers}
        return {
            "image": self.image,
            "model": self.model,
            **self.prediction.to_dict(),
            "grid": self.grid_dict(),
            "layers": [x.shape_dict() | {"weights": rounded(x.weights)} for x in self.layers],
            "omitted_layers": [name for name in self.layer_names if name not in kept],
            **{name: influence.to_dict() for name, influence in self.influences.items()},
            "verifications": [asdict(verification) for verification in self.verifications],
            **({"digits": [digit.to_dict() for digit in self.digits]} if self.digits else {}),
        }

    def __repr__(self) -> str:
        kept = f"digits={len(self.digits)}" if self.digits else f"layers={len(self.layers)}"
        return (
            f"Explanation({self.image!r}, model={self.model!r}, "
            f"label={self.prediction.label!r}, probability={self.prediction.probability:.4f}, "
            f"{kept})"
        )

    def _repr_html_(self) -> str:
        if self.digits:
            return "".join(digit._repr_html_() for digit in self.digits)
        from clearhead.explanation._images import thumbnails  # imports matplotlib

        images = thumbnails(self.pixels, self.displayed, self.grid)
        return render("notebook_picture.html", explanation=self, images=images)


def explain_picture(
    classifier: ImageClassifier, picture: ImageSource, *, layers: Layers = None, name: str = ""
) -> Explanation:
    """Classify a picture under a capture, verify the weights, and measure what mattered."""
    name = name or (str(picture) if isinstance(picture, str | Path) else "picture")
    original, model_input = _original(picture), classifier.preprocess(picture)
    if not model_input.digits or model_input.prediction is None:
        return _explain_input(classifier, model_input, original, layers, name)
    count = len(model_input.digits)
    digits = tuple(
        _explain_input(classifier, digit, original, layers, f"{name}, digit {n} of {count}")
        for n, digit in enumerate(model_input.digits, start=1)
    )
    return Explanation(
        image=name,
        model=classifier.name,
        pixels=model_input.pixels,
        original=original,
        is_ink=model_input.is_ink,
        prediction=model_input.prediction,
        digits=digits,
    )


def _explain_input(
    classifier: ImageClassifier,
    model_input: ImageInput,
    original: UInt8[Tensor, "3 full_height full_width"] | None,
    layers: Layers,
    name: str,
) -> Explanation:
    with evaluation_mode(classifier.model), torch.enable_grad():
        recording, logits = _run(classifier, model_input)
        shapes = {record.name: record.shape for record in recording.records}
        grid = classifier.grid(model_input)
        if grid is not None and all(x[-1] != grid.num_tokens for x in shapes.values()):
            grid = None  # no layer attends over all of its tokens
        names = classifier.class_names
        prediction = model_input.prediction or prediction_of(
            logits.detach().double().softmax(0).tolist() if names else (),
            names,
            (*classifier.warnings, *(() if names else (NO_CLASSES,)), *model_input.warnings),
            model_input.pixels,
            doubtful_below=classifier.doubtful_below,
            rejected_below=classifier.rejected_below,
        )
        score = logits.max()[None] if prediction.probabilities else None
        rollout, relevance = measure_rollout_and_relevance(
            recording, [*shapes.values()], grid, score
        )
    masking = measure_masking(
        classifier.model, model_input.inputs, [*shapes.values()], grid, prediction.probabilities
    )
    exact = measure_shapley(classifier.model, model_input.inputs, grid, prediction.probabilities)
    kept = select_queries(shapes, layers, grid)
    return Explanation(
        image=name,
        model=classifier.name,
        pixels=model_input.pixels,
        original=original,
        is_ink=model_input.is_ink,
        prediction=prediction,
        grid=grid,
        layer_names=recording.names,
        layers=tuple(_weights(recording[layer], queries, grid) for layer, queries in kept.items()),
        verifications=recording.verify(),
        rollout=rollout,
        relevance=relevance,
        shapley=exact,
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


def _original(picture: ImageSource) -> UInt8[Tensor, "3 height width"] | None:
    try:
        image = load_image(picture)
    except ImageError:  # a source that only the classifier's own preprocessing reads
        return None
    scale = min(1.0, MAX_ORIGINAL / max(image.size))
    height, width = (max(1, round(scale * side)) for side in reversed(image.size))
    return resize_and_crop(image, (height, width), 3)


def _run(
    classifier: ImageClassifier, model_input: ImageInput
) -> tuple[Recording, Float[Tensor, " classes"]]:
    """One forward pass under a capture whose records are part of the autograd graph."""
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
