"""The parts that the figures are made of: a map with ink above it, a colour bar, a file."""

from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from clearhead._atomic import write_atomic
from clearhead.errors import InputError
from clearhead.insight.figures.colours import (
    INK,
    MOST_TIMES,
    OUTLINE,
    SIGNED_COLOURS,
    WEIGHT_COLOURS,
    signed_norm,
    times_norm,
    weight_norm,
)
from clearhead.insight.ink import BLANK

TICKS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
TIMES = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
FORMATS = ("png", "svg")

# A picture as it is drawn: bytes, or 0 to 1.
Picture = Tensor


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches, without pyplot and its global state."""
    figure = Figure(figsize=(width, height), dpi=120, layout="compressed")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write it as PNG or SVG, whichever the name ends in; the same figure gives the same bytes."""
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise InputError(f"figures are written as .png or .svg, got {path.name}")
    write_atomic(path, figure_bytes(figure, kind))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The content of a file of that kind ("png" or "svg")."""
    content = BytesIO()
    with mpl.rc_context({"svg.hashsalt": "clearhead", "svg.fonttype": "none"}):
        figure.savefig(content, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return content.getvalue()


def draw_weights(
    axes: Axes,
    weights: Float[Tensor, "rows columns"],
    *,
    picture: Picture | None = None,
    asked_from: tuple[int, int] | None = None,
    times_of: float | None = None,
) -> None:
    """A map or a matrix on the fixed scale of weights.

    Or, where an even share is given as `times_of`, as multiples of that, on the signed scale.
    With a grey `picture` its ink stands above the tinted cells, and blank cells are hatched.
    `asked_from` (row, column, from 0) marks the patch that asks.
    """
    rows, columns = weights.shape
    numbers = weights.detach().cpu().double()
    if times_of is not None:
        numbers = (numbers / times_of).clamp(min=1 / MOST_TIMES)  # a zero has no logarithm
    axes.imshow(
        numbers.numpy(),
        cmap=WEIGHT_COLOURS if times_of is None else SIGNED_COLOURS,
        norm=weight_norm() if times_of is None else times_norm(),
        extent=(0, columns, rows, 0),
        interpolation="nearest",
    )
    if picture is not None and is_grey(picture):
        _hatch_blank(axes, picture, rows, columns)
        _draw_ink(axes, picture, rows, columns)
    if asked_from is not None:
        row, column = asked_from
        for width, colour in ((3.6, OUTLINE), (1.6, INK)):
            axes.add_patch(
                Rectangle((column, row), 1, 1, fill=False, ec=colour, lw=width, clip_on=False)
            )
    bare(axes)


def draw_signed(axes: Axes, numbers: Float[Tensor, "rows columns"], limit: float) -> None:
    """A map or matrix of signed numbers, from -limit to limit."""
    rows, columns = numbers.shape
    axes.imshow(
        numbers.detach().cpu().double().numpy(),
        cmap=SIGNED_COLOURS,
        norm=signed_norm(limit),
        extent=(0, columns, rows, 0),
        interpolation="nearest",
    )
    bare(axes)


def draw_picture(axes: Axes, picture: Picture) -> None:
    """What the model saw, pixel by pixel."""
    pixels = unit_pixels(picture)
    shown = pixels[0] if len(pixels) < 3 else pixels[:3].transpose(1, 2, 0)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    bare(axes)


def weight_bar(
    figure: Figure, axes: list[Axes], even_share: float | None, *, lies: bool = False
) -> Colorbar:
    """The scale, always from 0 to 100 %, with the even share marked: beside, or lying below."""
    bar = figure.colorbar(
        ScalarMappable(norm=weight_norm(), cmap=WEIGHT_COLOURS),
        ax=axes,
        location="bottom" if lies else "right",
        shrink=0.7 if lies else 0.9,
        aspect=30,
    )
    bar.set_ticks(list(TICKS), labels=[f"{100 * tick:.0f} %" for tick in TICKS])
    bar.ax.tick_params(labelsize=8)
    bar.set_label("share of attention, square-root scale", fontsize=8)
    if even_share is not None:
        line = bar.ax.axvline if lies else bar.ax.axhline
        line(even_share, color=INK, lw=2.4)
        line(even_share, color=OUTLINE, lw=1.0)
        bar.ax.annotate(
            f"even share{' ' if lies else chr(10)}{100 * even_share:.3g} %",
            (even_share, 1.1) if lies else (-0.25, even_share),
            xycoords=bar.ax.get_xaxis_transform() if lies else bar.ax.get_yaxis_transform(),
            ha="center" if lies else "right",
            va="bottom" if lies else "center",
            fontsize=7,
        )
    return bar


def times_bar(figure: Figure, axes: list[Axes], even_share: float | None) -> Colorbar:
    """The scale of multiples of an even share, from 1/16 to 16; beyond, the colour of the end."""
    bar = figure.colorbar(
        ScalarMappable(norm=times_norm(), cmap=SIGNED_COLOURS), ax=axes, shrink=0.9, aspect=30
    )
    bar.set_ticks(list(TIMES), labels=[f"1/{1 / x:.0f}" if x < 1 else f"{x:.0f} ×" for x in TIMES])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=8)
    share = "" if even_share is None else f" of {100 * even_share:.3g} %"
    bar.set_label(f"multiple of an even share{share},\nlogarithmic scale", fontsize=8)
    return bar


def bare(axes: Axes) -> None:
    """No ticks, and a square stays a square."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")


def is_grey(picture: Picture) -> bool:
    """One channel: ink, which can stand above colours; a photograph cannot."""
    return picture.dim() == 3 and len(picture) == 1


def unit_pixels(picture: Picture) -> np.ndarray:
    """Channels × height × width from 0 to 1."""
    if picture.dim() != 3:
        raise InputError(f"a picture must be (channels, height, width), got {tuple(picture.shape)}")
    pixels = picture.detach().cpu().double().numpy()
    if picture.dtype == torch.uint8:
        pixels = pixels / 255
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 1:
        raise InputError(
            "a picture must be bytes or lie between 0 and 1 (not normalised), got "
            f"{pixels.min():.3g} to {pixels.max():.3g}"
        )
    return pixels


def _draw_ink(axes: Axes, picture: Picture, rows: int, columns: int) -> None:
    """White ink with a dark outline: it is seen on the dark and on the light end of the scale."""
    ink = unit_pixels(picture)[0]
    height, width = ink.shape
    colours = np.empty((height, width, 4))
    colours[..., :3] = to_rgb(INK)
    colours[..., 3] = ink
    axes.imshow(colours, extent=(0, columns, rows, 0), interpolation="nearest")
    if ink.max() > 0.5 > ink.min():
        across = (np.arange(width) + 0.5) * columns / width
        down = (np.arange(height) + 0.5) * rows / height
        axes.contour(across, down, ink, levels=[0.5], colors=[OUTLINE], linewidths=0.8)


def _hatch_blank(axes: Axes, picture: Picture, rows: int, columns: int) -> None:
    ink = unit_pixels(picture)[0]
    if ink.shape[0] % rows or ink.shape[1] % columns:
        return
    patches = ink.reshape(rows, ink.shape[0] // rows, columns, -1).mean(axis=(1, 3))
    for row, column in zip(*np.nonzero(patches < BLANK), strict=True):
        axes.add_patch(
            Rectangle(
                (float(column), float(row)),
                1,
                1,
                fill=False,
                ec="#FFFFFF55",
                lw=0,
                hatch="////",
            )
        )
