"""How much of a model's attention one explanation keeps: layers, and queries where they are many.

ViT-B/16 has 5.6 million weights for one picture, and a model of 1,370 tokens has 270 million. A
page with all of them would not open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clearhead.insight.tokens import Grid
from clearhead.recording._capture import LayerFilter, Layers

# Two bytes each in the page: 6 MB where nobody chose layers, four times that where somebody did.
MOST_CELLS = 3_000_000
MOST_CHOSEN_CELLS = 12_000_000


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large one layer's attention is; `windows` is what one picture has several of."""

    windows: int
    heads: int
    queries: int
    keys: int

    @property
    def cells_per_query(self) -> int:
        """Weights that one query has over all windows and heads."""
        return self.windows * self.heads * self.keys


def choose(
    sizes: Mapping[str, Size], layers: Layers, grid: Grid | None
) -> dict[str, tuple[int, ...]]:
    """The layers to keep, and the queries of each.

    Those that `layers` picks, as in `capture`; else all, or as many as fit, evenly spaced, the last
    one always among them. Where even those are too many weights, queries are thinned: every second
    (third, …) row and column of patches, and all tokens before them. Raises `CaptureError` for a
    choice that chooses nothing.
    """
    names = _picked(list(sizes), layers)
    most = MOST_CELLS
    if layers is None:
        names = _spaced(names, sizes)
    else:
        most = MOST_CHOSEN_CELLS
    step = 1
    while True:
        kept = {name: _queries(sizes[name], grid, step) for name in names}
        cells = sum(len(kept[name]) * sizes[name].cells_per_query for name in names)
        if cells <= most or all(len(queries) <= 1 for queries in kept.values()):
            return kept
        step += 1


def _picked(names: Sequence[str], layers: Layers) -> list[str]:
    selection = LayerFilter(layers)
    for name in names:
        selection.accepts(name)
    selection.check()
    return [name for name in names if selection.keeps(name)]


def _spaced(names: list[str], sizes: Mapping[str, Size]) -> list[str]:
    for count in range(len(names), 1, -1):
        step = (len(names) - 1) / (count - 1)
        some = [names[round(place * step)] for place in range(count)]
        if sum(sizes[n].cells_per_query * sizes[n].queries for n in some) <= MOST_CELLS:
            return some
    return names[-1:]


def _queries(size: Size, grid: Grid | None, step: int) -> tuple[int, ...]:
    if grid is None or size.queries != grid.num_tokens:
        return tuple(range(0, size.queries, step))
    patches = (
        grid.token(row, column)
        for row in range(1, grid.rows + 1, step)
        for column in range(1, grid.columns + 1, step)
    )
    return (*range(grid.num_prefix_tokens), *patches)
