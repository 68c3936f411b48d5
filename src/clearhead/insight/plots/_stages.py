"""Multi-head attention as a diagram, with the numbers and shapes of one head of a real model."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from clearhead.insight.plots._drawing import (
    KEY,
    MUTED,
    OUTLINE,
    QUERY,
    SIGNED_COLOURS,
    VALUE,
    WEIGHT_COLOURS,
    ZERO,
    draw_signed,
    draw_weights,
    new_figure,
    signed_norm,
    weight_norm,
)
from clearhead.insight.weights import HeadStages

WIDTH, HEIGHT = 15.0, 9.4  # inches; positions below are in inches from the lower left
SIDE = 1.45
MAX_HEADS = 6
ONE_HEAD, ALL_HEADS = 6.2, 0.8  # heights of the two rows
HEADS_WIDTH = 7.6

Point = tuple[float, float]


class Box(NamedTuple):
    """A rectangle in inches; arrows start and end at the middle of its sides."""

    left: float
    bottom: float
    width: float = SIDE
    height: float = SIDE

    @property
    def end(self) -> Point:
        """The middle of the right side."""
        return self.left + self.width, self.bottom + self.height / 2

    @property
    def start(self) -> Point:
        """The middle of the left side."""
        return self.left, self.bottom + self.height / 2


def stages_figure(stages: HeadStages) -> Figure:
    """Above: tokens → Q, K, V → scores → scaled → softmax → weighted sum, in one head.

    Below: all heads in parallel → concatenated → output projection → new tokens. Every square shows
    the model's own numbers; scores and scaled scores share one scale.

    Args:
        stages: From `head_stages`.

    """
    figure = new_figure(WIDTH, HEIGHT)
    figure.set_layout_engine("none")
    heads = len(stages.all_weights)
    figure.suptitle(
        f"{stages.layer}: head {stages.head + 1} of {heads}, stage by stage; then all heads",
        fontsize=13,
        y=0.985,
    )
    canvas = figure.add_axes((0, 0, 1, 1), label="whole", zorder=-1)
    canvas.set_xlim(0, WIDTH)
    canvas.set_ylim(0, HEIGHT)
    canvas.axis("off")
    _draw_one_head(figure, canvas, stages)
    _draw_all_heads(figure, canvas, stages)
    return figure


def _draw_one_head(figure: Figure, canvas: Axes, stages: HeadStages) -> None:
    queries, keys = stages.scores.shape
    row = ONE_HEAD
    scores_limit, value_limit = _largest(stages.scores), _largest(stages.value)
    qk_limit = max(_largest(stages.query), _largest(stages.key))

    def signed(
        left: float, bottom: float, x: Tensor, limit: float, name: str, colour: str = OUTLINE
    ) -> Box:
        axes, box = _axes(figure, left, bottom), Box(left, bottom)
        draw_signed(axes, x, limit)
        _frame(axes, name, colour)
        axes.set_xlabel(" × ".join(map(str, x.shape)), fontsize=8, labelpad=2)
        return box

    tokens = _draw_box(figure, Box(0.3, row, 1.3), f"tokens\n{keys} × {stages.embed_dim}")
    q = signed(2.55, row + 0.95, stages.query, qk_limit, "Q", QUERY)
    k = signed(2.55, row - 0.95, stages.key, qk_limit, "K", KEY)
    v = signed(2.55, row - 2.85, stages.value, value_limit, "V", VALUE)
    scores = signed(5.1, row, stages.scores, scores_limit, "scores  Q Kᵀ")
    scaled = signed(7.5, row, stages.scaled, scores_limit, "scaled scores")
    weights = _draw_weights(figure, Box(9.9, row), stages.weights, "weights")
    context = signed(12.75, row, stages.context, value_limit, "context: new tokens")
    masked = not bool((stages.masked == stages.scaled).all())
    for box in (q, k, v):
        _arrow(canvas, tokens.end, box.start)
    _arrow(canvas, q.end, scores.start)
    _arrow(canvas, k.end, scores.start)
    _arrow(canvas, scores.end, scaled.start, f"× {stages.scale:.3g}")
    _arrow(canvas, scaled.end, weights.start, "softmax\n+ mask" if masked else "softmax")
    _arrow(canvas, weights.end, context.start, "weighted\nsum of V")
    _arrow(canvas, v.end, (context.left + SIDE / 2 + 0.05, context.bottom - 0.32), elbow=True)
    _note(canvas, (10.6, row - 0.17), f"{queries} × {keys}, each row sums to 100 %")
    for place, limit, name in (
        ((7.0, row - 1.35), scores_limit, "scores and scaled scores"),
        ((4.4, row - 2.6), qk_limit, "Q and K"),
        ((9.9, row - 2.6), value_limit, "V and context"),
    ):
        ticks = {-limit: f"{-limit:.3g}", 0.0: "0", limit: f"{limit:.3g}"}
        _bar(figure, place, SIGNED_COLOURS, signed_norm(limit), ticks, name)
    percents = {tick: f"{100 * tick:.0f} %" for tick in (0, 0.1, 0.5, 1)}
    _bar(figure, (9.9, row - 0.95), WEIGHT_COLOURS, weight_norm(), percents, "weights")


def _draw_all_heads(figure: Figure, canvas: Axes, stages: HeadStages) -> None:
    heads, row = len(stages.all_weights), ALL_HEADS
    drawn = min(heads, MAX_HEADS)
    keys, (queries, value_dim) = stages.key.shape[0], stages.all_contexts.shape[1:]
    tokens = _draw_box(figure, Box(0.3, row, 1.3), f"tokens\n{keys} × {stages.embed_dim}")
    space = HEADS_WIDTH / drawn
    side = min(SIDE * 0.8, space - 0.18)
    last = tokens
    for head in range(drawn):
        box = Box(2.55 + head * space, row + (SIDE - side) / 2, side, side)
        last = _draw_weights(figure, box, stages.all_weights[head], f"head {head + 1}")
        _note(canvas, (box.left + side / 2, box.bottom - 0.17), f"{queries} × {value_dim}")
    _arrow(canvas, tokens.end, (2.45, tokens.end[1]))
    more = f"heads in parallel ({heads}, {drawn} drawn)" if drawn < heads else "heads in parallel"
    _note(canvas, (2.55 + HEADS_WIDTH / 2, row - 0.42), more)
    joined = _draw_box(
        figure, Box(10.75, row, 1.5), f"concatenated\n{queries} × {heads * value_dim}"
    )
    _arrow(canvas, last.end, joined.start, "concat" if drawn == heads else "… concat")
    new = _draw_box(figure, Box(13.15, row, 1.5), f"new tokens\n{queries} × {stages.embed_dim}")
    _arrow(canvas, joined.end, new.start, "linear\nW_O")


def _draw_weights(figure: Figure, box: Box, weights: Tensor, name: str) -> Box:
    axes = _axes(figure, *box)
    draw_weights(axes, weights)
    _frame(axes, name, OUTLINE)
    return box


def _frame(axes: Axes, name: str, colour: str) -> None:
    axes.set_aspect("auto")
    axes.set_title(name, fontsize=9, color=colour, fontweight="bold", pad=3)
    for spine in axes.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(1.4)


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
    x, y = (box.left + box.width / 2) / WIDTH, (box.bottom + box.height / 2) / HEIGHT
    figure.text(x, y, text, ha="center", va="center", fontsize=9)
    return box


def _arrow(canvas: Axes, start: Point, end: Point, text: str = "", *, elbow: bool = False) -> None:
    """Straight, or with an elbow: to the right first, then up."""
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


def _note(canvas: Axes, place: Point, text: str) -> None:
    canvas.text(*place, text, ha="center", va="center", fontsize=8, color=MUTED)


def _bar(
    figure: Figure,
    place: Point,
    colours: Colormap,
    norm: Normalize,
    ticks: dict[float, str],
    name: str,
) -> None:
    bar = figure.colorbar(
        ScalarMappable(norm=norm, cmap=colours),
        cax=_axes(figure, *place, 1.4, 0.1),
        orientation="horizontal",
        ticks=list(ticks),
    )
    bar.ax.set_xticklabels(list(ticks.values()), fontsize=7)
    bar.set_label(name, fontsize=7)


def _axes(
    figure: Figure, left: float, bottom: float, width: float = SIDE, height: float = SIDE
) -> Axes:
    return figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))


def _largest(numbers: Tensor) -> float:
    return float(numbers.abs().max()) if numbers.numel() else 1.0
