"""Multi-head attention as a diagram, with the numbers and shapes of one head of a real model."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
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

WIDTH, HEIGHT = 15.0, 9.4  # inches; all positions are in inches from the lower left
SIDE = 1.45
MAX_HEADS = 6
ONE_HEAD, ALL_HEADS = 6.2, 0.8  # heights of the two rows
HEADS_LEFT, HEADS_WIDTH = 2.55, 7.6

Point = tuple[float, float]


class Box(NamedTuple):
    """Where arrows end and start: the middle of the left side and of the right side."""

    start: Point
    end: Point


def stages_figure(stages: HeadStages) -> Figure:
    """Above: tokens → Q, K, V → scores → scaled → softmax → weighted sum, in one head.

    Below: all heads in parallel → concatenated → output projection → new tokens. Every square shows
    the model's own numbers; scores and scaled scores share one scale.

    Args:
        stages: From `head_stages`.

    Returns:
        The figure.
    """
    diagram = _Diagram()
    title = f"head {stages.head + 1} of {len(stages.all_weights)}, stage by stage; then all heads"
    diagram.figure.suptitle(f"{stages.layer}: {title}", fontsize=13, y=0.985)
    _draw_one_head(diagram, stages)
    _draw_all_heads(diagram, stages)
    return diagram.figure


class _Diagram:
    """A figure with axes over its whole area, in inches, for boxes and arrows."""

    def __init__(self) -> None:
        self.figure = new_figure(WIDTH, HEIGHT)
        self.figure.set_layout_engine("none")
        self.canvas = self.axes(0, 0, WIDTH, HEIGHT)
        self.canvas.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), zorder=-1)
        self.canvas.axis("off")

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """New axes there."""
        return self.figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))

    def matrix(
        self,
        name: str,
        x: Tensor,
        left: float,
        bottom: float,
        *,
        limit: float | None = None,
        colour: str = OUTLINE,
        side: float = SIDE,
        note: str = "",
    ) -> Box:
        """A square with numbers up to a limit, or with weights; its shape or a note below."""
        axes = self.axes(left, bottom, side, side)
        if limit is None:
            draw_weights(axes, x)
        else:
            draw_signed(axes, x, limit)
        axes.set_aspect("auto")
        axes.set_title(name, fontsize=9, color=colour, fontweight="bold", pad=3)
        axes.set_xlabel(note or " × ".join(map(str, x.shape)), fontsize=8, labelpad=2)
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=1.4)
        return Box((left, bottom + side / 2), (left + side, bottom + side / 2))

    def box(self, text: str, left: float, bottom: float, width: float = 1.4) -> Box:
        """A rounded box with a text."""
        style = "round,pad=0,rounding_size=0.15"
        self.canvas.add_patch(
            FancyBboxPatch((left, bottom), width, SIDE, boxstyle=style, fc=ZERO, ec=OUTLINE, lw=1.2)
        )
        middle = bottom + SIDE / 2
        self.canvas.text(left + width / 2, middle, text, ha="center", va="center", fontsize=9)
        return Box((left, middle), (left + width, middle))

    def arrow(self, start: Point, end: Point, text: str = "", *, elbow: bool = False) -> None:
        """Straight, or with an elbow: to the right first, then up."""
        style = "angle,angleA=0,angleB=90,rad=6" if elbow else "arc3"
        properties = {"arrowstyle": "-|>", "color": OUTLINE, "lw": 1.2, "connectionstyle": style}
        self.canvas.annotate(
            "",
            xy=(end[0] - 0.05, end[1]),
            xytext=(start[0] + 0.05, start[1]),
            arrowprops=properties | {"shrinkA": 0, "shrinkB": 0},
        )
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.1
        self.canvas.text(x, y, text, ha="center", va="bottom", fontsize=8.5, color=OUTLINE)

    def scale(self, name: str, left: float, bottom: float, limit: float | None = None) -> None:
        """The scale of numbers up to a limit, or of weights."""
        if limit is None:
            colours, norm = WEIGHT_COLOURS, weight_norm()
            ticks = {tick: f"{100 * tick:.0f} %" for tick in (0, 0.1, 0.5, 1)}
        else:
            colours, norm = SIGNED_COLOURS, signed_norm(limit)
            ticks = {-limit: f"{-limit:.3g}", 0.0: "0", limit: f"{limit:.3g}"}
        bar = self.figure.colorbar(
            ScalarMappable(norm=norm, cmap=colours),
            cax=self.axes(left, bottom, 1.4, 0.1),
            orientation="horizontal",
        )
        bar.set_ticks(list(ticks), labels=list(ticks.values()), fontsize=7)
        bar.set_label(name, fontsize=7)


def _draw_one_head(diagram: _Diagram, stages: HeadStages) -> None:
    row, matrix = ONE_HEAD, diagram.matrix
    scores_limit, value_limit = _largest(stages.scores), _largest(stages.value)
    qk_limit = max(_largest(stages.query), _largest(stages.key))
    tokens = diagram.box(f"tokens\n{len(stages.key)} × {stages.embed_dim}", 0.3, row)
    q = matrix("Q", stages.query, 2.55, row + 0.95, limit=qk_limit, colour=QUERY)
    k = matrix("K", stages.key, 2.55, row - 0.95, limit=qk_limit, colour=KEY)
    v = matrix("V", stages.value, 2.55, row - 2.85, limit=value_limit, colour=VALUE)
    scores = matrix("scores  Q Kᵀ", stages.scores, 5.1, row, limit=scores_limit)
    scaled = matrix("scaled scores", stages.scaled, 7.5, row, limit=scores_limit)
    weights = matrix("weights", stages.weights, 9.9, row, note="each row sums to 100 %")
    context = matrix("context", stages.context, 12.75, row, limit=value_limit)
    masked = not bool((stages.masked == stages.scaled).all())
    for part in (q, k, v):
        diagram.arrow(tokens.end, part.start)
    diagram.arrow(q.end, scores.start)
    diagram.arrow(k.end, scores.start)
    diagram.arrow(scores.end, scaled.start, f"× {stages.scale:.3g}")
    diagram.arrow(scaled.end, weights.start, "softmax\n+ mask" if masked else "softmax")
    diagram.arrow(weights.end, context.start, "weighted\nsum of V")
    diagram.arrow(v.end, (context.start[0] + SIDE / 2 + 0.05, row - 0.32), elbow=True)
    diagram.scale("scores and scaled scores", 7.0, row - 1.35, scores_limit)
    diagram.scale("weights", 9.9, row - 0.95)
    diagram.scale("Q and K", 4.4, row - 2.6, qk_limit)
    diagram.scale("V and context", 9.9, row - 2.6, value_limit)


def _draw_all_heads(diagram: _Diagram, stages: HeadStages) -> None:
    heads, row = len(stages.all_weights), ALL_HEADS
    drawn = min(heads, MAX_HEADS)
    queries, value_dim = stages.all_contexts.shape[1:]
    tokens = diagram.box(f"tokens\n{len(stages.key)} × {stages.embed_dim}", 0.3, row)
    space = HEADS_WIDTH / drawn
    side = min(SIDE * 0.8, space - 0.18)
    last = tokens
    for head in range(drawn):
        last = diagram.matrix(
            f"head {head + 1}",
            stages.all_weights[head],
            HEADS_LEFT + head * space,
            row + (SIDE - side) / 2,
            side=side,
            note=f"{queries} × {value_dim}",
        )
    more = f"heads in parallel ({heads}, {drawn} drawn)" if drawn < heads else "heads in parallel"
    middle = HEADS_LEFT + HEADS_WIDTH / 2
    diagram.canvas.text(middle, row - 0.42, more, ha="center", fontsize=8, color=MUTED)
    joined = diagram.box(f"concatenated\n{queries} × {heads * value_dim}", 10.75, row)
    new = diagram.box(f"new tokens\n{queries} × {stages.embed_dim}", 13.2, row)
    diagram.arrow(tokens.end, (HEADS_LEFT - 0.1, tokens.end[1]))
    diagram.arrow(last.end, joined.start, "concat" if drawn == heads else "… concat")
    diagram.arrow(joined.end, new.start, "linear\nW_O")


def _largest(numbers: Tensor) -> float:
    return float(numbers.abs().max()) if numbers.numel() else 1.0
