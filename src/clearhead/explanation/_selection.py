"""How much of a model's attention one explanation keeps: layers, and queries where they are many.

ViT-B/16 has 5.6 million weights for one picture, and a model of 1,370 tokens has 270 million. A
page with all of them would not open.
"""

import math
from collections.abc import Mapping

from clearhead.explanation.influence import Shape
from clearhead.insight import Grid
from clearhead.recording import Layers, select_layers

# Two bytes each in the page: 6 MB where nobody chose layers, four times that where somebody did.
MAX_WEIGHTS = 3_000_000
MAX_CHOSEN_WEIGHTS = 12_000_000


def select_queries(
    shapes: Mapping[str, Shape], layers: Layers, grid: Grid | None
) -> dict[str, tuple[int, ...]]:
    """The layers to keep, and the queries of each.

    Those that `layers` picks; else all, or as many as fit, evenly spaced, the last one always among
    them. Where even those have too many weights, queries are thinned: every second (third, …) row
    and column of patches, and all tokens before them.
    """
    names = select_layers(shapes, layers)
    max_weights = MAX_CHOSEN_WEIGHTS
    if layers is None:
        names, max_weights = _spaced(names, shapes), MAX_WEIGHTS
    step = 1
    while True:
        kept = {name: _queries(shapes[name], grid, step) for name in names}
        weights = sum(_num_weights(shapes[name], len(kept[name])) for name in names)
        if weights <= max_weights or all(len(queries) <= 1 for queries in kept.values()):
            return kept
        step += 1


def _spaced(names: list[str], shapes: Mapping[str, Shape]) -> list[str]:
    for count in range(len(names), 1, -1):
        step = (len(names) - 1) / (count - 1)
        some = [names[round(place * step)] for place in range(count)]
        if sum(_num_weights(shapes[x], shapes[x][-2]) for x in some) <= MAX_WEIGHTS:
            return some
    return names[-1:]


def _num_weights(shape: Shape, queries: int) -> int:
    """The weights of this many queries, over all windows, heads and keys."""
    return math.prod(shape[:-2]) * queries * shape[-1]


def _queries(shape: Shape, grid: Grid | None, step: int) -> tuple[int, ...]:
    if grid is None or shape[-2] != grid.num_tokens:
        return tuple(range(0, shape[-2], step))
    patches = (
        grid.token(row, column)
        for row in range(1, grid.rows + 1, step)
        for column in range(1, grid.columns + 1, step)
    )
    return (*range(grid.num_prefix_tokens), *patches)
