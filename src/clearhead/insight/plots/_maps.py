"""Figures of weights: maps of one query token, whole matrices, maps of one image, rows of words."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from clearhead.errors import InputError
from clearhead.insight.plots._drawing import (
    MUTED,
    Picture,
    draw_picture,
    draw_weights,
    is_grey,
    new_figure,
    weight_bar,
    write_weights,
)
from clearhead.insight.tables import percent
from clearhead.insight.tokens import Grid
from clearhead.insight.weights import QueryMap, WeightMatrix

THUMBNAIL, WORD = 1.25, 0.42  # inches
MIN_WIDTH = 5.2  # of the title
MAX_PATCHES_WITH_NUMBERS, MAX_WORDS_WITH_NUMBERS = 64, 400
MAX_ROWS_ABOVE_BAR = 3  # so few leave no height for a scale beside them
NOTE = "Maps measure different things; none of them is ground truth."


def matrices_figure(matrices: Sequence[WeightMatrix]) -> Figure:
    """Whole matrices of all layers × heads as thumbnails, on one scale.

    Args:
        matrices: One for each layer, from `weight_matrix`.

    Returns:
        The figure.

    Raises:
        InputError: If there is no layer, or layers have different numbers of heads.
    """
    layers = [(x.layer, len(x.weights), x.weights.shape[-1]) for x in matrices]
    figure, panels = _thumbnails(layers)
    for axes, weights in zip(panels, (w for x in matrices for w in x.weights), strict=True):
        draw_weights(axes, weights)
    figure.suptitle("Every head of every layer: rows are queries, columns are keys", fontsize=10)
    return figure


def maps_figure(maps: Sequence[QueryMap], *, picture: Picture | None = None) -> Figure:
    """Maps of one query token in all layers × heads as thumbnails, on one scale.

    The share of prefix tokens is written below each map.

    Args:
        maps: One for each layer, from `query_map`.
        picture: The image before normalisation; a grey one is drawn above the maps.

    Returns:
        The figure.

    Raises:
        InputError: If there is no layer, or layers have different numbers of heads.
    """
    layers = [(x.layer, len(x.patches), x.grid.num_tokens) for x in maps]
    figure, panels = _thumbnails(layers)
    heads = ((x, head) for x in maps for head in range(len(x.patches)))
    for axes, (query_map, head) in zip(panels, heads, strict=True):
        _draw_head(axes, query_map, head, picture, fontsize=5.5)
    query = _quoted(maps[0].query)
    figure.suptitle(f"What {query} attends to, in every head of every layer", fontsize=10)
    return figure


def query_figure(query_map: QueryMap, *, picture: Picture | None = None) -> Figure:
    """One query token in one layer: the image, and the map of each head with numbers.

    Args:
        query_map: The map, from `query_map`.
        picture: The image before normalisation; a grey one is drawn above the maps.

    Returns:
        The figure.
    """
    heads, grid = query_map.patches, query_map.grid
    figure, panels, heads_axes = _row(len(heads), picture, 2.6, 3.4)
    for head, axes in enumerate(heads_axes):
        axes.set_title(f"head {head + 1}", fontsize=9)
        if picture is None or not is_grey(picture):
            write_weights(
                axes, heads[head], max_cells=MAX_PATCHES_WITH_NUMBERS, unit=" %", fontsize=7
            )
        else:
            row, column = divmod(int(heads[head].argmax()), grid.columns)
            share = percent(float(heads[head].max()))
            axes.set_xlabel(f"most: row {row + 1}, column {column + 1}: {share}", fontsize=8)
        _draw_head(axes, query_map, head, picture, fontsize=8)
    figure.suptitle(f"{query_map.layer}: what {_quoted(query_map.query)} attends to", fontsize=11)
    weight_bar(figure, panels, 1.0 / grid.num_tokens)
    return figure


def tokens_figure(
    maps: Mapping[str, Float[Tensor, " tokens"]],
    grid: Grid,
    *,
    picture: Picture | None = None,
) -> Figure:
    """Maps of one image side by side, such as rollout and relevance, as shares of their sum.

    Args:
        maps: By title, one number, at least 0, for each token.
        grid: The tokens.
        picture: The image before normalisation; a grey one is drawn above the maps.

    Returns:
        The figure.

    Raises:
        InputError: If there is no map, or one has negative numbers or other tokens.
    """
    figure, panels, map_axes = _row(len(maps), picture, 2.9, 3.7)
    for axes, (title, numbers) in zip(map_axes, maps.items(), strict=True):
        if numbers.dim() != 1 or not bool((numbers >= 0).all()):
            raise InputError(f"{title}: expected one number, at least 0, for each token")
        total = numbers.sum()
        shares = numbers / total if bool(total > 0) else numbers
        draw_weights(axes, grid.fold(shares), picture=picture)
        axes.set_title(title, fontsize=9)
        _write_prefix(axes, grid, grid.prefix(shares), fontsize=8)
    figure.supxlabel(NOTE, fontsize=8, color=MUTED)
    bar = weight_bar(figure, panels, 1.0 / grid.num_tokens)
    bar.set_label("share of the map's sum, square-root scale", fontsize=8)
    return figure


def words_figure(
    panels: Sequence[tuple[str, Float[Tensor, "rows columns"]]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
) -> Figure:
    """Named matrices of weights between words, side by side, with numbers where there is space.

    NaN, where the row's token cannot attend to the column's, is hatched and does not count in the
    uniform weight.

    Args:
        panels: A title and a matrix each.
        rows: Names of the query tokens.
        columns: Names of the key tokens.
        title: Of the figure.

    Returns:
        The figure.

    Raises:
        InputError: There is no panel, or a matrix does not have these rows and columns.
    """
    if not panels or any(tuple(x.shape) != (len(rows), len(columns)) for _, x in panels):
        raise InputError(f"each panel must have {len(rows)} rows and {len(columns)} columns")
    width = WORD * len(columns) * len(panels) + 0.9 * len(panels) + 1.6
    figure = new_figure(width, WORD * len(rows) + 2.6)
    all_axes = list(figure.subplots(1, len(panels), squeeze=False)[0])
    for number, (axes, (name, weights)) in enumerate(zip(all_axes, panels, strict=True)):
        draw_weights(axes, weights)
        axes.set_title(name, fontsize=9)
        axes.set_xticks([x + 0.5 for x in range(len(columns))], columns, rotation=60, fontsize=8)
        axes.set_yticks(
            [y + 0.5 for y in range(len(rows))], rows if number == 0 else [""] * len(rows)
        )
        axes.tick_params(labelsize=8, length=0)
        for row, column in weights.isnan().nonzero().tolist():
            axes.add_patch(
                Rectangle((column, row), 1, 1, fc="#F1F1F1", ec="#9A9A9A", lw=0, hatch="////")
            )
        write_weights(axes, weights, max_cells=MAX_WORDS_WITH_NUMBERS, unit="", fontsize=6.5)
    counts = {count for _, x in panels for count in (~x.isnan()).sum(dim=-1).tolist()}
    uniform_weight = 1.0 / counts.pop() if len(counts) == 1 and 0 not in counts else None
    figure.suptitle(title, fontsize=11)
    weight_bar(figure, all_axes, uniform_weight, horizontal=len(rows) <= MAX_ROWS_ABOVE_BAR)
    return figure


def _row(
    count: int, picture: Picture | None, side: float, height: float
) -> tuple[Figure, list[Axes], list[Axes]]:
    """A figure of one row, all its axes, and those behind the picture, if there is one."""
    if not count:
        raise InputError("expected at least one map, got none")
    pictures = 1 if picture is not None else 0
    figure = new_figure(side * (count + pictures) + 1.2, height)
    panels = list(figure.subplots(1, count + pictures, squeeze=False)[0])
    if picture is not None:
        draw_picture(panels[0], picture)
        panels[0].set_title("model input", fontsize=9)
    return figure, panels, panels[pictures:]


def _thumbnails(layers: Sequence[tuple[str, int, int]]) -> tuple[Figure, list[Axes]]:
    """A figure of one row for each layer, and its axes; from names, numbers of heads and of keys.

    The scale is beside the rows, or below a single one, which leaves no height for its labels.
    """
    counts = [heads for _, heads, _ in layers]
    if len(set(counts)) != 1:
        raise InputError(f"expected layers with equally many heads, got {counts}; choose layers")
    is_row = len(layers) == 1 < counts[0]
    side = THUMBNAIL if max(len(layers), counts[0]) > 2 else 2 * THUMBNAIL
    height = side * len(layers) + (1.7 if is_row else 0.8)
    figure = new_figure(max(side * counts[0] + 2.4, MIN_WIDTH), height)
    panels = figure.subplots(len(layers), counts[0], squeeze=False)
    for row, (layer, *_) in zip(panels, layers, strict=True):
        row[0].set_ylabel(layer, fontsize=7)
    for head, axes in enumerate(panels[0]):
        axes.set_title(f"head {head + 1}", fontsize=8)
    weight_bar(figure, list(panels.flat), 1.0 / layers[0][2], horizontal=is_row)
    return figure, list(panels.flat)


def _draw_head(
    axes: Axes, query_map: QueryMap, head: int, picture: Picture | None, fontsize: float
) -> None:
    """The map of one head, with a frame around a query patch, and its prefix tokens below."""
    grid, cell = query_map.grid, None
    if query_map.query in grid.names() and query_map.index >= grid.num_prefix_tokens:
        cell = divmod(query_map.index - grid.num_prefix_tokens, grid.columns)
    draw_weights(axes, query_map.patches[head], picture=picture, query_cell=cell)
    _write_prefix(axes, grid, query_map.prefix[head], fontsize)


def _write_prefix(axes: Axes, grid: Grid, shares: Tensor, fontsize: float) -> None:
    if not grid.num_prefix_tokens:
        return
    text = f"{grid.names()[0]} {percent(float(shares[0]))}"
    if len(shares) > 1:  # there is no space for more names
        text += f", {len(shares) - 1} more {percent(float(shares[1:].sum()))}"
    before = axes.get_xlabel()
    axes.set_xlabel(f"{before}\n{text}" if before else text, fontsize=fontsize)


def _quoted(name: str) -> str:
    if name.startswith("patch"):
        return name
    return f"the {name}" if name.startswith(("class", "register")) else f"“{name}”"
