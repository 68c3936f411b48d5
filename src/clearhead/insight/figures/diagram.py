"""The flow of attention as a diagram, drawn from one head of a real model with its own shapes."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from clearhead.insight.figures.colours import (
    KEY,
    MUTED,
    OUTLINE,
    QUERY,
    SIGNED_COLOURS,
    VALUE,
    WEIGHT_COLOURS,
    ZERO,
    signed_norm,
    weight_norm,
)
from clearhead.insight.figures.drawing import draw_signed, draw_weights, new_figure
from clearhead.insight.maps.flow import AttentionFlow

WIDTH, HEIGHT = 15.0, 9.4  # inches; places below are in these units, from the lower left
SIDE = 1.45
MOST_HEADS_DRAWN = 6
ONE_HEAD, ALL_HEADS = 6.2, 1.0  # the heights of the two rows


class Box(NamedTuple):
    """A rectangle in inches: the middle of its sides is where arrows start and end."""

    left: float
    bottom: float
    width: float = SIDE
    height: float = SIDE

    @property
    def end(self) -> tuple[float, float]:
        """The middle of the right side."""
        return self.left + self.width, self.bottom + self.height / 2

    @property
    def start(self) -> tuple[float, float]:
        """The middle of the left side."""
        return self.left, self.bottom + self.height / 2


def flow_diagram(flow: AttentionFlow) -> Figure:
    """Above: tokens → Q, K, V → scores → scaled → softmax → weighted sum, in one head.

    Below: all heads side by side → joined → one linear map → new tokens. Every square holds the
    model's own numbers; scores and scaled scores share one scale, so that the shrink is seen.
    """
    figure = new_figure(WIDTH, HEIGHT)
    figure.set_layout_engine("none")
    heads = len(flow.all_weights)
    figure.suptitle(
        f"{flow.layer}: head {flow.head + 1} of {heads}, step by step; then all heads together",
        fontsize=13,
        y=0.985,
    )
    _draw_one_head(figure, flow)
    _draw_all_heads(figure, flow)
    return figure


def _draw_one_head(figure: Figure, flow: AttentionFlow) -> None:
    queries, keys = flow.scores.shape
    row = ONE_HEAD
    tokens = _draw_box(figure, Box(0.3, row, 1.3), f"tokens\n{keys} × {flow.embed_dim}")
    limit = _largest(flow.scores)
    square = max(_largest(flow.query), _largest(flow.key))
    q = _draw_part(figure, Box(2.55, row + 0.95), flow.query, square, "Q", QUERY)
    k = _draw_part(figure, Box(2.55, row - 0.95), flow.key, square, "K", KEY)
    v = _draw_part(figure, Box(2.55, row - 2.85), flow.value, _largest(flow.value), "V", VALUE)
    scores = _draw_part(figure, Box(5.1, row), flow.scores, limit, "scores  Q Kᵀ", OUTLINE)
    scaled = _draw_part(figure, Box(7.5, row), flow.scaled, limit, "scaled scores", OUTLINE)
    weights = _draw_weights(figure, Box(9.9, row), flow.weights, "weights")
    context = _draw_part(
        figure, Box(12.75, row), flow.context, _largest(flow.value), "context: new tokens", OUTLINE
    )
    for box in (q, k, v):
        _arrow(figure, tokens.end, box.start)
    _arrow(figure, q.end, scores.start)
    _arrow(figure, k.end, scores.start)
    _arrow(figure, scores.end, scaled.start, f"× {flow.scale:.3g}")
    _arrow(figure, scaled.end, weights.start, "softmax\n+ mask" if _is_masked(flow) else "softmax")
    _arrow(figure, weights.end, context.start, "weighted\nsum of V")
    _arrow(figure, v.end, (context.left + SIDE / 2 + 0.05, context.bottom - 0.32), elbow=True)
    _note(figure, (10.6, row - 0.17), f"{queries} × {keys}, each row sums to 100 %")
    for place, numbers, name in (
        ((7.0, row - 1.35), limit, "scores and scaled scores"),
        ((4.4, row - 2.6), square, "Q and K"),
        ((9.9, row - 2.6), _largest(flow.value), "V and context"),
    ):
        _signed_bar(figure, place, numbers, name)
    _weight_bar(figure, (9.9, row - 0.95))


def _draw_all_heads(figure: Figure, flow: AttentionFlow) -> None:
    heads = len(flow.all_weights)
    drawn = min(heads, MOST_HEADS_DRAWN)
    keys, (queries, value_dim) = flow.key.shape[0], flow.all_contexts.shape[1:]
    tokens = _draw_box(figure, Box(0.3, ALL_HEADS - 0.2, 1.3), f"tokens\n{keys} × {flow.embed_dim}")
    space = 7.6 / drawn
    side = min(SIDE * 0.8, space - 0.18)
    last = tokens
    for head in range(drawn):
        box = Box(2.55 + head * space, ALL_HEADS - 0.2 + (SIDE - side) / 2, side, side)
        last = _draw_weights(figure, box, flow.all_weights[head], f"head {head + 1}")
        _note(figure, (box.left + side / 2, box.bottom - 0.17), f"{queries} × {value_dim}")
    _arrow(figure, tokens.end, (2.45, tokens.end[1]))
    more = f"heads in parallel ({heads}, {drawn} drawn)" if drawn < heads else "heads in parallel"
    _note(figure, (2.55 + 7.6 / 2, ALL_HEADS - 0.62), more)
    joined = _draw_box(
        figure, Box(10.75, ALL_HEADS - 0.2, 1.5), f"joined\n{queries} × {heads * value_dim}"
    )
    _arrow(figure, last.end, joined.start, "concat" if drawn == heads else "… concat")
    new = _draw_box(
        figure, Box(13.15, ALL_HEADS - 0.2, 1.5), f"new tokens\n{queries} × {flow.embed_dim}"
    )
    _arrow(figure, joined.end, new.start, "linear\nW_O")


def _draw_part(
    figure: Figure, box: Box, numbers: Tensor, limit: float, name: str, colour: str
) -> Box:
    axes = _axes(figure, box)
    draw_signed(axes, numbers, limit)
    return _finish(axes, box, name, colour, numbers)


def _draw_weights(figure: Figure, box: Box, weights: Tensor, name: str) -> Box:
    axes = _axes(figure, box)
    draw_weights(axes, weights)
    return _finish(axes, box, name, OUTLINE, None)


def _finish(axes: Axes, box: Box, name: str, colour: str, numbers: Tensor | None) -> Box:
    axes.set_aspect("auto")
    axes.set_title(name, fontsize=9, color=colour, fontweight="bold", pad=3)
    for spine in axes.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(1.4)
    if numbers is not None:
        axes.set_xlabel(" × ".join(map(str, numbers.shape)), fontsize=8, labelpad=2)
    return box


def _draw_box(figure: Figure, box: Box, text: str) -> Box:
    figure.add_artist(
        FancyBboxPatch(
            (box.left / WIDTH, box.bottom / HEIGHT),
            box.width / WIDTH,
            box.height / HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.01",
            transform=figure.transFigure,
            fc=ZERO,
            ec=OUTLINE,
            lw=1.2,
        )
    )
    middle = (box.left + box.width / 2, box.bottom + box.height / 2)
    figure.text(middle[0] / WIDTH, middle[1] / HEIGHT, text, ha="center", va="center", fontsize=9)
    return box


def _arrow(
    figure: Figure,
    start: tuple[float, float],
    end: tuple[float, float],
    text: str = "",
    *,
    elbow: bool = False,
) -> None:
    """Straight, or with an elbow: to the right first, then up."""
    canvas = _whole(figure)
    canvas.annotate(
        "",
        xy=(end[0] - 0.05, end[1]),
        xytext=(start[0] + 0.05, start[1]),
        arrowprops={
            "arrowstyle": "-|>",
            "color": OUTLINE,
            "lw": 1.2,
            "shrinkA": 0,
            "shrinkB": 0,
            "connectionstyle": "angle,angleA=0,angleB=90,rad=6" if elbow else "arc3",
        },
    )
    if text:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.1)
        canvas.text(*middle, text, ha="center", va="bottom", fontsize=8.5, color=OUTLINE)


def _note(figure: Figure, place: tuple[float, float], text: str) -> None:
    _whole(figure).text(*place, text, ha="center", va="center", fontsize=8, color=MUTED)


def _signed_bar(figure: Figure, place: tuple[float, float], limit: float, name: str) -> None:
    bar = figure.colorbar(
        ScalarMappable(norm=signed_norm(limit), cmap=SIGNED_COLOURS),
        cax=_axes(figure, Box(*place, 1.4, 0.1)),
        orientation="horizontal",
        ticks=[-limit, 0, limit],
    )
    bar.ax.set_xticklabels([f"{-limit:.3g}", "0", f"{limit:.3g}"], fontsize=7)
    bar.set_label(name, fontsize=7)


def _weight_bar(figure: Figure, place: tuple[float, float]) -> None:
    ticks = [0, 0.1, 0.5, 1]
    bar = figure.colorbar(
        ScalarMappable(norm=weight_norm(), cmap=WEIGHT_COLOURS),
        cax=_axes(figure, Box(*place, 1.4, 0.1)),
        orientation="horizontal",
        ticks=ticks,
    )
    bar.ax.set_xticklabels([f"{100 * tick:.0f} %" for tick in ticks], fontsize=7)
    bar.set_label("weights", fontsize=7)


def _axes(figure: Figure, box: Box) -> Axes:
    return figure.add_axes(
        (box.left / WIDTH, box.bottom / HEIGHT, box.width / WIDTH, box.height / HEIGHT)
    )


def _whole(figure: Figure) -> Axes:
    """Axes over the whole figure in inches, made once."""
    for axes in figure.axes:
        if axes.get_label() == "whole":
            return axes
    axes = figure.add_axes((0, 0, 1, 1), label="whole", zorder=-1)
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, HEIGHT)
    axes.axis("off")
    return axes


def _largest(numbers: Tensor) -> float:
    return float(numbers.abs().max()) if numbers.numel() else 1.0


def _is_masked(flow: AttentionFlow) -> bool:
    return not bool((flow.masked == flow.scaled).all())
