"""An explanation as one still figure: what the model saw, every head, what the answer rests on."""

from typing import Any, cast

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from clearhead.explanation.picture.explanation import Explanation, Layer
from clearhead.explanation.picture.influence import Influence
from clearhead.explanation.picture.payload import model_title, share_of_sum, start, title
from clearhead.explanation.picture.static import percent, points
from clearhead.insight.plots import (
    OUTLINE,
    bare,
    draw_picture,
    draw_signed,
    draw_weights,
    figure_bytes,
    multiples_bar,
    weight_bar,
)
from clearhead.insight.tokens import Grid

THUMBNAIL, TOP = 1.1, 3.3  # inches
DIM = 0.02  # below this the fixed scale has one dark blue for everything
NOTE = "Different answers to different questions; none of them is ground truth."


def to_figure(explanation: Explanation) -> Figure:
    """The picture and three measures above, every layer and head for one query below.

    The query is the one that the page begins with; all weights are on one scale, from 0 to 100 %,
    or where none comes near its colours, as multiples of an even share.
    """
    layers = explanation.layers
    heads = max(layer.weights.shape[1] for layer in layers)
    width, height = max(11.0, THUMBNAIL * heads + 3.0), THUMBNAIL * len(layers) + 1.0
    figure = Figure(figsize=(width, TOP + height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=[TOP, height])
    above, below = parts
    _draw_answer(above, explanation)
    _draw_heads(below, explanation, heads)
    return figure


def to_png(explanation: Explanation) -> bytes:
    """The figure as a PNG."""
    return figure_bytes(to_figure(explanation), "png")


def to_svg(explanation: Explanation) -> bytes:
    """The figure as an SVG."""
    return figure_bytes(to_figure(explanation), "svg")


def _draw_answer(figure: SubFigure, explanation: Explanation) -> None:
    row: list[Axes] = list(np.ravel(figure.subplots(1, 4)))
    seen, *panels = row
    draw_picture(seen, explanation.pixels)
    seen.set_title("what the model saw", fontsize=9)
    said = explanation.label if explanation.label is not None else "no answer"
    if explanation.probabilities:
        said += f", {percent(explanation.probability)}"
    figure.suptitle(f"{title(explanation)}, {model_title(explanation)}: {said}", parse_math=False)
    ink = explanation.pixels if explanation.is_ink else None
    for axes, name in zip(panels, ("rollout", "relevance", "silencing"), strict=True):
        axes.set_title(name, fontsize=9)
        values = _shown(explanation, name)
        if values is None or explanation.grid is None:
            axes.text(0.5, 0.5, "none here", ha="center", va="center", fontsize=9)
            bare(axes)
        elif name == "silencing":
            _draw_silencing(axes, values, explanation.grid, ink)
        else:
            even = 1.0 / explanation.grid.num_tokens if is_dim(explanation) else None
            draw_weights(axes, explanation.grid.fold(values), picture=ink, even_share=even)
            axes.set_xlabel("share of the whole, scale below", fontsize=7)
    figure.supxlabel(NOTE, fontsize=8)


def is_dim(explanation: Explanation) -> bool:
    """Whether all weights that are drawn lie far below the steps of the fixed scale."""
    query = start(explanation)["query"]
    return max(float(_drawn(explanation, x, query).max()) for x in explanation.layers) < DIM


def _drawn(explanation: Explanation, layer: Layer, query: int) -> Tensor:
    """The rows of this query, or the one kept nearest to it; whole matrices outside the grid."""
    if not layer.on_grid or explanation.grid is None:
        return layer.weights[0]
    return layer.weights[0, :, _place(layer, query)]


def _place(layer: Layer, query: int) -> int:
    return min(range(len(layer.queries)), key=lambda i: abs(layer.queries[i] - query))


def _shown(explanation: Explanation, name: str) -> Tensor | None:
    influence: Influence = getattr(explanation, name)
    return share_of_sum(influence).values if name == "relevance" else influence.values


def _draw_silencing(
    axes: Axes, falls: Tensor, grid: Grid, ink: UInt8[Tensor, "1 height width"] | None
) -> None:
    limit = float(falls.abs().max())
    draw_signed(axes, falls.reshape(grid.rows, grid.columns), limit)
    if ink is not None:
        _, height, width = ink.shape
        across = (np.arange(width) + 0.5) * grid.columns / width
        down = (np.arange(height) + 0.5) * grid.rows / height
        axes.contour(across, down, ink[0].numpy(), [127.5], colors=[OUTLINE], linewidths=1.0)
    axes.set_xlabel(f"fall in points: {points(-limit)} (orange) to {points(limit)}", fontsize=7)


def _draw_heads(figure: SubFigure, explanation: Explanation, heads: int) -> None:
    query = start(explanation)["query"]
    panels = figure.subplots(len(explanation.layers), heads, squeeze=False)
    for row, layer in zip(panels, explanation.layers, strict=True):
        number = explanation.names.index(layer.name) + 1
        row[0].set_ylabel(f"layer {number}\n{layer.name}", fontsize=6)
        for head, axes in enumerate(row):
            if head < layer.weights.shape[1]:
                _draw_head(axes, explanation, layer, head, query)
            else:
                axes.set_visible(False)
    for head, axes in enumerate(panels[0]):
        axes.set_title(f"head {head + 1}", fontsize=8)
    keys = {layer.weights.shape[-1] for layer in explanation.layers}
    even = 1.0 / keys.pop() if len(keys) == 1 else None
    bar = multiples_bar if is_dim(explanation) else weight_bar
    bar(cast("Figure", figure), panels.ravel().tolist(), even)
    figure.suptitle(_heading(explanation, query), fontsize=10)


def _heading(explanation: Explanation, query: int) -> str:
    heading = f"Whom {_asker(explanation, query)} looks at, every head; layers counted from 1"
    if not is_dim(explanation):
        return heading
    largest = max(float(_drawn(explanation, x, query).max()) for x in explanation.layers)
    return (
        f"{heading}\nthe largest weight is {percent(largest)}: shown as multiples of an even share"
    )


def _draw_head(axes: Axes, explanation: Explanation, layer: Layer, head: int, query: int) -> None:
    """One query over the patches; where a layer has other tokens, its whole matrix."""
    grid, row = explanation.grid, _drawn(explanation, layer, query)[head]
    even = 1.0 / row.shape[-1] if is_dim(explanation) else None
    if not layer.on_grid or grid is None:
        draw_weights(axes, row, even_share=even)
        return
    place = _place(layer, query)
    patch = layer.queries[place] - grid.num_prefix_tokens
    square = layer.num_queries == grid.num_tokens
    draw_weights(
        axes,
        grid.fold(row),
        picture=explanation.pixels if explanation.is_ink else None,
        query_cell=divmod(patch, grid.columns) if square and patch >= 0 else None,
        even_share=even,
    )
    if grid.num_prefix_tokens:
        before = "prefix tokens" if grid.num_prefix_tokens > 1 else grid.names()[0]
        axes.set_xlabel(f"{before}: {percent(float(grid.prefix(row).sum()))}", fontsize=6)


def _asker(explanation: Explanation, query: int) -> str:
    grid = explanation.grid
    return f"the {grid.names()[query]}" if grid is not None else "each token"
