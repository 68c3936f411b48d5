"""Colours, scales, and the parts that figures are made of.

Weights are on 0 to 100 % in every figure, so that colours can be compared between heads, layers and
figures; a square-root scale separates small weights. Both scales are readable without colour vision
(cividis: Nuñez, Anderton & Renslow 2018).
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize, PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from clearhead._atomic import write_atomic
from clearhead.errors import InputError
from clearhead.insight.foreground import BACKGROUND_LEVEL
from clearhead.insight.tables import percent

WEIGHT_COLOURS = colormaps["cividis"]
NEGATIVE, ZERO, POSITIVE = "#B34700", "#F7F4EF", "#0063A6"
SIGNED_COLOURS = LinearSegmentedColormap.from_list("signed", [NEGATIVE, ZERO, POSITIVE])
QUERY, KEY, VALUE = "#0063A6", "#B34700", "#00735C"
WHITE, OUTLINE, MUTED = "#FFFFFF", "#14181F", "#5F6368"

MAX_MULTIPLE = 16
WEIGHT_TICKS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
MULTIPLE_TICKS = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
FORMATS = ("png", "svg")

# (channels, height, width) before normalisation: bytes, or floats from 0 to 1.
Picture = Tensor


def weight_norm() -> Normalize:
    """From a weight to its place on the scale: √w, fixed from 0 to 1.

    Returns:
        The norm for `imshow`.
    """
    return PowerNorm(0.5, vmin=0.0, vmax=1.0, clip=True)


def multiples_norm() -> Normalize:
    """From a multiple of the uniform weight to its place on the signed scale, 1/16 to 16."""
    return LogNorm(1 / MAX_MULTIPLE, MAX_MULTIPLE, clip=True)


def signed_norm(limit: float) -> Normalize:
    """From -limit to limit, zero in the middle: the same colour for the same size.

    Args:
        limit: The number at the end of the scale.

    Returns:
        The norm for `imshow`.
    """
    limit = abs(limit) or 1.0
    return Normalize(-limit, limit, clip=True)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, without pyplot and its global state.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(width, height), dpi=120, layout="compressed")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG or SVG; the same figure gives the same bytes.

    Args:
        figure: The figure.
        path: Name of the file, which ends in .png or .svg.

    Raises:
        InputError: For another ending.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise InputError(f"figures are written as .png or .svg, got {path.name}")
    write_atomic(path, figure_bytes(figure, kind))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The content of a file of that kind.

    Args:
        figure: The figure.
        kind: "png" or "svg".

    Returns:
        The bytes, the same in every run.
    """
    content = BytesIO()
    with mpl.rc_context({"svg.hashsalt": "clearhead", "svg.fonttype": "none"}):
        figure.savefig(content, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return content.getvalue()


def draw_weights(
    axes: Axes,
    weights: Float[Tensor, "rows columns"],
    *,
    picture: Picture | None = None,
    query_cell: tuple[int, int] | None = None,
    uniform_weight: float | None = None,
) -> None:
    """Draw a map or a matrix on the fixed scale of weights.

    Args:
        axes: Where to draw.
        weights: From 0 to 1, one for each patch, or for each query and key.
        picture: The image before normalisation. A grey one is drawn above, and background
            patches are hatched.
        query_cell: Row and column, from 0, of the cell that gets a frame.
        uniform_weight: If given, weights are drawn as multiples of it, on the signed scale.
    """
    rows, columns = weights.shape
    if uniform_weight is None:
        _draw_image(axes, weights, WEIGHT_COLOURS, weight_norm())
    else:
        multiples = (weights.double() / uniform_weight).clamp_min(
            1 / MAX_MULTIPLE
        )  # log 0 is undefined
        _draw_image(axes, multiples, SIGNED_COLOURS, multiples_norm())
    if picture is not None and is_grey(picture):
        _draw_strokes(axes, unit_pixels(picture)[0], rows, columns)
    if query_cell is not None:
        row, column = query_cell
        for width, colour in ((3.6, OUTLINE), (1.6, WHITE)):
            axes.add_patch(
                Rectangle((column, row), 1, 1, fill=False, ec=colour, lw=width, clip_on=False)
            )


def draw_signed(
    axes: Axes,
    numbers: Float[Tensor, "rows columns"],
    limit: float,
    *,
    picture: Picture | None = None,
) -> None:
    """Draw a map or matrix of signed numbers, from -limit to limit.

    Args:
        axes: Where to draw.
        numbers: One for each patch, or for each query and key.
        limit: The number at the end of the scale.
        picture: The image before normalisation, whose strokes are outlined.
    """
    _draw_image(axes, numbers, SIGNED_COLOURS, signed_norm(limit))
    if picture is not None:
        _draw_outline(axes, unit_pixels(picture)[0], *numbers.shape)


def draw_picture(axes: Axes, picture: Picture) -> None:
    """Draw the model input, pixel by pixel.

    Args:
        axes: Where to draw.
        picture: The image before normalisation.
    """
    pixels = unit_pixels(picture)
    image = pixels[0] if len(pixels) < 3 else pixels[:3].transpose(1, 2, 0)
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    bare(axes)


def write_weights(
    axes: Axes,
    weights: Float[Tensor, "rows columns"],
    *,
    max_cells: int,
    unit: str,
    fontsize: float,
) -> None:
    """Write each weight in per cent into its cell, "–" for NaN; nothing if there are more cells."""
    if weights.numel() > max_cells:
        return
    norm = weight_norm()
    for row, line in enumerate(weights.tolist()):
        for column, weight in enumerate(line):
            masked = weight != weight
            axes.text(
                column + 0.5,
                row + 0.5,
                "–" if masked else percent(weight).removesuffix(" %") + unit,
                ha="center",
                va="center",
                fontsize=fontsize,
                color=OUTLINE if masked or norm(weight) > 0.5 else "white",
            )


def weight_bar(
    figure: Figure, axes: Sequence[Axes], uniform_weight: float | None, *, horizontal: bool = False
) -> Colorbar:
    """The scale of weights, always from 0 to 100 %, with the uniform weight marked.

    Args:
        figure: The figure.
        axes: The axes of the figure that the scale belongs to.
        uniform_weight: Marked on the scale; None if rows differ.
        horizontal: Whether the scale is below the axes instead of beside them.

    Returns:
        The colour bar.
    """
    scale = ScalarMappable(norm=weight_norm(), cmap=WEIGHT_COLOURS)
    ticks = {tick: f"{100 * tick:.0f} %" for tick in WEIGHT_TICKS}
    label = "share of attention, square-root scale"
    bar = _bar(figure, axes, scale, ticks, label, horizontal=horizontal)
    if uniform_weight is not None:
        line = bar.ax.axvline if horizontal else bar.ax.axhline
        line(uniform_weight, color=WHITE, lw=2.4)
        line(uniform_weight, color=OUTLINE, lw=1.0)
        bar.ax.annotate(
            (" " if horizontal else "\n").join(
                ("uniform", "weight", f"{100 * uniform_weight:.3g} %")
            ),
            (uniform_weight, 1.1) if horizontal else (-0.25, uniform_weight),
            xycoords=bar.ax.get_xaxis_transform() if horizontal else bar.ax.get_yaxis_transform(),
            ha="center" if horizontal else "right",
            va="bottom" if horizontal else "center",
            fontsize=7,
        )
    return bar


def multiples_bar(figure: Figure, axes: Sequence[Axes], uniform_weight: float | None) -> Colorbar:
    """The scale of multiples of the uniform weight, 1/16 to 16; beyond, the colour of the end.

    Args:
        figure: The figure.
        axes: The axes of the figure that the scale belongs to.
        uniform_weight: Written into the label; None if rows differ.

    Returns:
        The colour bar.
    """
    scale = ScalarMappable(norm=multiples_norm(), cmap=SIGNED_COLOURS)
    ticks = {x: f"1/{1 / x:.0f}" if x < 1 else f"{x:.0f} ×" for x in MULTIPLE_TICKS}
    share = "" if uniform_weight is None else f" of {100 * uniform_weight:.3g} %"
    label = f"multiple of the uniform weight{share},\nlogarithmic scale"
    bar = _bar(figure, axes, scale, ticks, label)
    bar.minorticks_off()
    return bar


def _bar(
    figure: Figure,
    axes: Sequence[Axes],
    scale: ScalarMappable,
    ticks: dict[float, str],
    label: str,
    *,
    horizontal: bool = False,
) -> Colorbar:
    bar = figure.colorbar(
        scale,
        ax=list(axes),
        location="bottom" if horizontal else "right",
        shrink=0.9,
        aspect=30,
    )
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    bar.ax.tick_params(labelsize=8)
    bar.set_label(label, fontsize=8)
    return bar


def bare(axes: Axes) -> None:
    """No ticks, and square cells.

    Args:
        axes: The axes to change.
    """
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")


def is_grey(picture: Picture) -> bool:
    """Whether a picture has one channel, and can be drawn above a map."""
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


def _draw_image(axes: Axes, x: Tensor, colours: mpl.colors.Colormap, norm: Normalize) -> None:
    rows, columns = x.shape
    axes.imshow(
        x.detach().cpu().double().numpy(),
        cmap=colours,
        norm=norm,
        extent=(0, columns, rows, 0),
        interpolation="nearest",
    )
    bare(axes)


def _draw_strokes(axes: Axes, pixels: np.ndarray, rows: int, columns: int) -> None:
    """White strokes with a dark outline, which contrast with both ends; background is hatched."""
    height, width = pixels.shape
    if not (height % rows or width % columns):
        patches = pixels.reshape(rows, height // rows, columns, -1).mean(axis=(1, 3))
        for row, column in np.argwhere(patches < BACKGROUND_LEVEL).astype(float):
            axes.add_patch(
                Rectangle((column, row), 1, 1, fill=False, ec="#FFFFFF55", lw=0, hatch="////")
            )
    colours = np.dstack([np.broadcast_to(to_rgb(WHITE), (height, width, 3)), pixels])
    axes.imshow(colours, extent=(0, columns, rows, 0), interpolation="nearest")
    _draw_outline(axes, pixels, rows, columns)


def _draw_outline(axes: Axes, pixels: np.ndarray, rows: int, columns: int) -> None:
    height, width = pixels.shape
    if pixels.max() > 0.5 > pixels.min():
        x = (np.arange(width) + 0.5) * columns / width
        y = (np.arange(height) + 0.5) * rows / height
        axes.contour(x, y, pixels, levels=[0.5], colors=[OUTLINE], linewidths=0.8)
