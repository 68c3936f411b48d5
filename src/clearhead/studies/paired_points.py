"""A picture that several claims share: a paired difference, seed by seed, beside its margin."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from clearhead.insight.plots import MUTED, OUTLINE, QUERY
from clearhead.studies.study import Comparison


def draw_differences(axes: Axes, comparisons: Sequence[Comparison], unit: str) -> None:
    """One row for each comparison: a point for each seed, a bar at the mean, the margin dotted."""
    axes.axvline(0.0, color=MUTED, linewidth=0.8)
    for place, comparison in enumerate(comparisons):
        differences = comparison.differences
        axes.plot(differences, [place] * len(differences), "o", color=QUERY, ms=5, alpha=0.45)
        mean = sum(differences) / len(differences)
        axes.plot([mean, mean], [place - 0.25, place + 0.25], color=OUTLINE, linewidth=2.2)
        bounds = [comparison.margin]
        if comparison.expects == "equal":
            bounds.append(-comparison.margin)
        for bound in bounds:
            axes.plot([bound, bound], [place - 0.35, place + 0.35], ":", color=OUTLINE, lw=1.2)
        axes.text(
            0.02,
            place - 0.38,
            comparison.name,
            fontsize=7.5,
            va="bottom",
            transform=axes.get_yaxis_transform(),
        )
    axes.set_yticks([])
    axes.set_ylim(len(comparisons) - 0.5, -0.65)
    axes.set_xlabel(f"difference, seed by seed ({unit})")
    axes.set_title("point: a seed; bar: the mean; dotted: the margin", fontsize=9)
