"""Figures of attention, each drawn from plain data: maps, matrices, flow through the layers."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from clearhead.errors import InputError
from clearhead.insight.figures.colours import MUTED, OUTLINE, weight_norm
from clearhead.insight.figures.drawing import (
    Picture,
    draw_picture,
    draw_weights,
    is_grey,
    new_figure,
    weight_bar,
)
from clearhead.insight.maps.tables import percent
from clearhead.insight.maps.weights import QueryMap, WeightMatrix
from clearhead.insight.tokens import Grid

THUMBNAIL = 1.25  # inches
MOST_CELLS_WITH_NUMBERS = 64


def matrices_figure(matrices: Sequence[WeightMatrix], *, image: int = 0) -> Figure:
    """All layers × heads as thumbnails of whole matrices, on one scale."""
    heads = [_one_image(matrix.weights, image, 3) for matrix in matrices]
    figure, panels = _thumbnails([matrix.layer for matrix in matrices], [len(x) for x in heads])
    for row, weights in zip(panels, heads, strict=True):
        for axes, one in zip(row, weights, strict=True):
            draw_weights(axes, one)
    figure.suptitle("Every head of every layer: a row asks, a column answers", fontsize=10)
    weight_bar(figure, _flat(panels), 1.0 / matrices[0].weights.shape[-1])
    return figure


def maps_figure(
    maps: Sequence[QueryMap], *, image: int = 0, picture: Picture | None = None
) -> Figure:
    """All layers × heads as thumbnails of one query's map, on one scale.

    `picture` is the image before normalisation; a grey one stands as ink above the maps. What goes
    to prefix tokens is written below each map.
    """
    heads = [_one_image(one.patches, image, 3) for one in maps]
    figure, panels = _thumbnails([one.layer for one in maps], [len(x) for x in heads])
    for row, one, weights in zip(panels, maps, heads, strict=True):
        prefix = _one_image(one.prefix, image, 2)
        for axes, shares, rest in zip(row, weights, prefix, strict=True):
            draw_weights(axes, shares, picture=picture, asked_from=_asker(one))
            _write_prefix(axes, one.grid, rest, fontsize=5.5)
    figure.suptitle(
        f"Whom {_quoted(maps[0].query)} asks, in every head of every layer", fontsize=10
    )
    weight_bar(figure, _flat(panels), maps[0].even_share)
    return figure


def query_figure(one: QueryMap, *, image: int = 0, picture: Picture | None = None) -> Figure:
    """One query in one layer: the picture, and what each head gives to every patch, in numbers."""
    heads, prefix = _one_image(one.patches, image, 3), _one_image(one.prefix, image, 2)
    shown = 1 if picture is not None else 0
    figure = new_figure(2.6 * (len(heads) + shown) + 1.2, 3.4)
    panels = list(figure.subplots(1, len(heads) + shown, squeeze=False)[0])
    if picture is not None:
        draw_picture(panels[0], picture)
        panels[0].set_title("what the model saw", fontsize=9)
    for head, axes in enumerate(panels[shown:]):
        draw_weights(axes, heads[head], picture=picture, asked_from=_asker(one))
        axes.set_title(f"head {head + 1}", fontsize=9)
        if picture is None or not is_grey(picture):
            _write_numbers(axes, heads[head])
        else:
            _write_largest(axes, one.grid, heads[head])
        _write_prefix(axes, one.grid, prefix[head], fontsize=8)
    figure.suptitle(f"{one.layer}: whom {_quoted(one.query)} asks", fontsize=11)
    weight_bar(figure, panels, one.even_share)
    return figure


def tokens_figure(
    panels: Mapping[str, Float[Tensor, " tokens"]],
    grid: Grid,
    *,
    picture: Picture | None = None,
    note: str = "Different answers to different questions; none of them is the truth.",
) -> Figure:
    """Maps of one image side by side, such as rollout and relevance, as shares of their sum.

    `panels` gives each map its title and one number, at least 0, for each token.
    """
    shown = 1 if picture is not None else 0
    figure = new_figure(2.9 * (len(panels) + shown) + 1.2, 3.7)
    places = list(figure.subplots(1, len(panels) + shown, squeeze=False)[0])
    if picture is not None:
        draw_picture(places[0], picture)
        places[0].set_title("what the model saw", fontsize=9)
    for axes, (title, numbers) in zip(places[shown:], panels.items(), strict=True):
        shares = _shares(title, numbers)
        draw_weights(axes, grid.fold(shares), picture=picture)
        axes.set_title(title, fontsize=9)
        _write_prefix(axes, grid, grid.prefix(shares), fontsize=8)
    figure.supxlabel(note, fontsize=8, color=MUTED)
    bar = weight_bar(figure, places, 1.0 / grid.num_tokens)
    bar.set_label("share of the map's sum, square-root scale", fontsize=8)
    return figure


def _thumbnails(layers: Sequence[str], heads: Sequence[int]) -> tuple[Figure, list[list[Axes]]]:
    if not layers or len(set(heads)) != 1:
        raise InputError(
            f"a picture of all heads needs layers with equally many, got {list(heads)}; "
            "choose some layers"
        )
    width, height = THUMBNAIL * heads[0] + 2.4, THUMBNAIL * len(layers) + 0.8
    figure = new_figure(width, height)
    panels = [list(row) for row in figure.subplots(len(layers), heads[0], squeeze=False)]
    for row, layer in zip(panels, layers, strict=True):
        row[0].set_ylabel(layer, fontsize=7)
    for head, axes in enumerate(panels[0]):
        axes.set_title(f"head {head + 1}", fontsize=8)
    return figure, panels


def _one_image(x: Tensor, image: int, dims: int) -> Tensor:
    """The heads of one image; without an axis of images, what there is."""
    if x.dim() == dims:
        return x
    if x.dim() == dims - 1:
        return x[None]  # the mean over heads of one image
    if x.dim() != dims + 1 or not -len(x) <= image < len(x):
        raise InputError(f"no image {image} with heads of its own in a tensor {tuple(x.shape)}")
    return x[image]


def _asker(one: QueryMap) -> tuple[int, int] | None:
    place = one.place - one.grid.num_prefix_tokens
    if place < 0 or one.query not in one.grid.names():
        return None
    return divmod(place, one.grid.columns)


def _shares(title: str, numbers: Tensor) -> Tensor:
    if numbers.dim() != 1 or not bool((numbers >= 0).all()):
        raise InputError(f"{title}: expected one number, at least 0, for each token")
    total = numbers.sum()
    return numbers / total if bool(total > 0) else numbers


def _write_numbers(axes: Axes, weights: Tensor) -> None:
    if weights.numel() > MOST_CELLS_WITH_NUMBERS:
        return
    norm = weight_norm()
    for row, line in enumerate(weights.tolist()):
        for column, weight in enumerate(line):
            axes.text(
                column + 0.5,
                row + 0.5,
                percent(weight),
                ha="center",
                va="center",
                fontsize=7,
                color=OUTLINE if norm(weight) > 0.5 else "white",
            )


def _write_largest(axes: Axes, grid: Grid, weights: Tensor) -> None:
    row, column = divmod(int(weights.argmax()), grid.columns)
    share = percent(float(weights.max()))
    axes.set_xlabel(f"most: row {row + 1}, column {column + 1}: {share}", fontsize=8)


def _write_prefix(axes: Axes, grid: Grid, shares: Tensor, fontsize: float) -> None:
    if not grid.num_prefix_tokens:
        return
    told = f"{grid.names()[0]} {percent(float(shares[0]))}"
    if len(shares) > 1:  # more names than stand below a map
        told += f", {len(shares) - 1} more {percent(float(shares[1:].sum()))}"
    before = axes.get_xlabel()
    axes.set_xlabel(f"{before}\n{told}" if before else told, fontsize=fontsize)


def _quoted(name: str) -> str:
    return f"the {name}" if name.startswith(("patch", "class", "register")) else f"“{name}”"


def _flat(panels: list[list[Axes]]) -> list[Axes]:
    return [axes for row in panels for axes in row]
