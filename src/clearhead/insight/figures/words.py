"""Attention between words as a figure: who asks in rows, who answers in columns."""

from collections.abc import Sequence
from math import isnan

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from clearhead.errors import InputError
from clearhead.insight.figures.colours import OUTLINE, weight_norm
from clearhead.insight.figures.drawing import draw_weights, new_figure, weight_bar
from clearhead.insight.maps.tables import UNSEEN, percent

CELL = 0.42  # inches
FEW_ROWS = 3  # beside so few there is no height for a scale
MOST_CELLS_WITH_NUMBERS = 400


def words_figure(
    panels: Sequence[tuple[str, Float[Tensor, "rows columns"]]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
) -> Figure:
    """One matrix beside the other, each with its name, all with the same words at their sides.

    Every cell holds its share in per cent, as long as there is room. NaN stands where the one in
    the row cannot see the one in the column: hatched, and no part of an even share.
    """
    if not panels or any(tuple(x.shape) != (len(rows), len(columns)) for _, x in panels):
        raise InputError(
            f"each panel must have a number for each of {len(rows)} rows and {len(columns)} columns"
        )
    width = CELL * len(columns) * len(panels) + 0.9 * len(panels) + 1.6
    figure = new_figure(width, CELL * len(rows) + 2.6)
    places = list(figure.subplots(1, len(panels), squeeze=False)[0])
    for number, (axes, (name, weights)) in enumerate(zip(places, panels, strict=True)):
        draw_weights(axes, weights)
        axes.set_title(name, fontsize=9)
        axes.set_xticks([x + 0.5 for x in range(len(columns))], columns, rotation=60, fontsize=8)
        axes.set_yticks(
            [y + 0.5 for y in range(len(rows))], rows if number == 0 else [""] * len(rows)
        )
        axes.tick_params(labelsize=8, length=0)
        _hatch_unseen(axes, weights)
        _write_numbers(axes, weights)
    figure.suptitle(title, fontsize=11)
    weight_bar(figure, places, _even_share([x for _, x in panels]), lies=len(rows) <= FEW_ROWS)
    return figure


def _even_share(matrices: Sequence[Tensor]) -> float | None:
    """One part of what each row can see; None where the rows do not see equally many."""
    counts = {count for x in matrices for count in (~x.isnan()).sum(dim=-1).tolist()}
    return 1.0 / counts.pop() if len(counts) == 1 and 0 not in counts else None


def _hatch_unseen(axes: Axes, weights: Tensor) -> None:
    for row, column in weights.isnan().nonzero().tolist():
        axes.add_patch(
            Rectangle((column, row), 1, 1, fc="#F1F1F1", ec="#9A9A9A", lw=0, hatch="////")
        )


def _write_numbers(axes: Axes, weights: Tensor) -> None:
    if weights.numel() > MOST_CELLS_WITH_NUMBERS:
        return
    norm = weight_norm()
    for (row, column), weight in zip(
        torch.cartesian_prod(*map(torch.arange, weights.shape)).tolist(),
        weights.flatten().tolist(),
        strict=True,
    ):
        axes.text(
            column + 0.5,
            row + 0.5,
            UNSEEN if isnan(weight) else percent(weight).removesuffix(" %"),
            ha="center",
            va="center",
            fontsize=6.5,
            color=OUTLINE if isnan(weight) or norm(weight) > 0.5 else "white",
        )
