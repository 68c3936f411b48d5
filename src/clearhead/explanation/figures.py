"""Explanations as still figures."""

from typing import Any, cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from clearhead.explanation._images import SIGNED
from clearhead.explanation.pictures import Explanation, LayerWeights, first_view
from clearhead.explanation.tables import model_name, percent, picture_name, signed
from clearhead.explanation.texts import TextExplanation
from clearhead.insight.plots import (
    bare,
    draw_picture,
    draw_signed,
    draw_weights,
    multiples_bar,
    weight_bar,
    words_figure,
)

# Inches: a figure of few heads fills the width of a page of two columns.
THUMBNAIL, TOP, MIN_WIDTH, MARGIN = 1.05, 2.3, 7.2, 2.2
DIM = 0.02  # below this the fixed scale has one dark blue for everything
NOTE = "Measures with different meanings; Shapley values are exact for theirs."


def picture_figure(explanation: Explanation) -> Figure:
    """The picture, the model input and four measures above, all heads for one query below.

    The query is the one that the page begins with. All weights are on one scale, from 0 to 100 %,
    or where none comes near its colours, as multiples of the uniform weight.
    """
    query = first_view(explanation)["query"]
    rows = [_row(explanation, layer, query) for layer in explanation.layers]
    largest = max(float(row.max()) for row in rows)
    heads = max(len(row) for row in rows)
    width, height = max(MIN_WIDTH, THUMBNAIL * heads + MARGIN), THUMBNAIL * len(rows) + 0.8
    figure = Figure(figsize=(width, TOP + height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=[TOP, height])
    above, below = parts
    _draw_prediction(above, explanation, is_dim=largest < DIM)
    _draw_heads(below, explanation, query, rows, largest)
    return figure


def text_figure(explanation: TextExplanation) -> Figure:
    """One query token: a row for each layer. Several: a matrix for each layer."""
    attention, tokens = explanation.attention, explanation.tokens
    shares = [x.weights.masked_fill(~x.visible, torch.nan) for x in attention]
    labels = [x.label for x in attention]
    queries = [tokens[query] for query in explanation.queries]
    note = explanation.heads_label
    if any(x.isnan().any() for x in shares):
        note += "; hatched: masked"
    if len(queries) == 1:
        panels, rows = [(explanation.model, torch.cat(shares))], labels
        title = f"Attention of “{queries[0]}”: {note}"
    else:
        panels, rows = list(zip(labels, shares, strict=True)), queries
        title = f"Attention, a row for each query token: {note}"
    return words_figure(panels, rows, tokens, title=title)


def _row(explanation: Explanation, layer: LayerWeights, query: int) -> Tensor:
    """The weights of this query, or the nearest one kept; whole matrices outside the grid."""
    if not layer.on_grid or explanation.grid is None:
        return layer.weights[0]
    return layer.weights[0, :, layer.nearest(query)]


def _draw_prediction(figure: SubFigure, explanation: Explanation, *, is_dim: bool) -> None:
    pictures = {"picture": explanation.original, "model input": explanation.pixels}
    shown = {name: pixels for name, pixels in pictures.items() if pixels is not None}
    row: list[Axes] = list(np.ravel(figure.subplots(1, len(shown) + 4)))
    for axes, (name, pixels) in zip(row, shown.items(), strict=False):
        draw_picture(axes, pixels)
        axes.set_title(name, fontsize=8)
    prediction = explanation.prediction
    label = "no prediction"
    if prediction.label is not None:
        label = f"{prediction.label}, {percent(prediction.probability)}"
    title = f"{picture_name(explanation)}: {label} (model {model_name(explanation.model)})"
    figure.suptitle(title, parse_math=False, fontsize=10)
    grid, picture = explanation.grid, explanation.pixels if explanation.is_ink else None
    panels = row[len(shown) :]
    for axes, (name, influence) in zip(panels, explanation.displayed.items(), strict=True):
        axes.set_title("Shapley values" if name == "shapley" else name, fontsize=8)
        values = influence.values
        if values is None or grid is None:
            axes.text(0.5, 0.5, "not available", ha="center", va="center", fontsize=7)
            bare(axes)
        elif name in SIGNED:
            unit, factor = SIGNED[name]
            numbers = factor * values.reshape(grid.rows, grid.columns)
            limit = float(numbers.abs().max())
            draw_signed(axes, numbers, limit, picture=picture)
            axes.set_xlabel(f"{unit}: {signed(-limit)}\n(orange) to {signed(limit)}", fontsize=6)
        else:
            even = 1.0 / grid.num_tokens if is_dim else None
            draw_weights(axes, grid.fold(values), picture=picture, uniform_weight=even)
            axes.set_xlabel("share, scale below", fontsize=6)
    figure.supxlabel(NOTE, fontsize=7)


def _draw_heads(
    figure: SubFigure, explanation: Explanation, query: int, rows: list[Tensor], largest: float
) -> None:
    grid, is_dim = explanation.grid, largest < DIM
    panels = figure.subplots(len(rows), max(map(len, rows)), squeeze=False)
    for line, layer, row in zip(panels, explanation.layers, rows, strict=True):
        number = explanation.layer_names.index(layer.name) + 1
        line[0].set_ylabel(f"L{number}\n{layer.name}", fontsize=6)
        for head, axes in enumerate(line):
            if head < len(row):
                _draw_head(axes, explanation, layer, row[head], query, is_dim=is_dim)
            else:
                axes.set_visible(False)
    for head, axes in enumerate(panels[0]):
        axes.set_title(f"H{head + 1}", fontsize=8)
    keys = {row.shape[-1] for row in rows}
    even = 1.0 / keys.pop() if len(keys) == 1 else None
    bar = multiples_bar if is_dim else weight_bar
    bar(cast("Figure", figure), panels.ravel().tolist(), even)
    token = grid.names()[query] if grid is not None else "each token"
    heading = f"Attention of {token} in every layer (L) and head (H), counted from 1"
    if is_dim:
        heading += f"\nlargest weight {percent(largest)}: shown as multiples of the uniform weight"
    figure.suptitle(heading, fontsize=10)


def _draw_head(
    axes: Axes,
    explanation: Explanation,
    layer: LayerWeights,
    row: Tensor,
    query: int,
    *,
    is_dim: bool,
) -> None:
    """One query over the patches; where a layer has other tokens, its whole matrix."""
    grid = explanation.grid
    even = 1.0 / row.shape[-1] if is_dim else None
    if not layer.on_grid or grid is None:
        draw_weights(axes, row, uniform_weight=even)
        return
    patch = layer.queries[layer.nearest(query)] - grid.num_prefix_tokens
    has_cell = layer.num_queries == grid.num_tokens and patch >= 0
    draw_weights(
        axes,
        grid.fold(row),
        picture=explanation.pixels if explanation.is_ink else None,
        query_cell=divmod(patch, grid.columns) if has_cell else None,
        uniform_weight=even,
    )
    if grid.num_prefix_tokens:
        prefix = "prefix tokens" if grid.num_prefix_tokens > 1 else grid.names()[0]
        axes.set_xlabel(f"{prefix}: {percent(float(grid.prefix(row).sum()))}", fontsize=6)
