"""How much of a model's attention one explanation keeps: layers, and queries where they are many.

ViT-B/16 has 5.6 million weights for one picture, and a model of 1,370 tokens has 270 million. A
page with all of them would not open.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from clearhead.errors import CaptureError, ordinal
from clearhead.explanation.influence import LayerShape
from clearhead.insight import Grid

Layers = str | int | Sequence[str | int] | None

# Two bytes each in the page: 6 MB where nobody chose layers, four times that where somebody did.
MAX_WEIGHTS = 3_000_000
MAX_CHOSEN_WEIGHTS = 12_000_000


def select_layers(names: Sequence[str], layers: Layers) -> list[str]:
    """The names that `layers` picks, as in `capture`: by name, pattern, or index from 0.

    Raises `CaptureError` for a choice that fits none.
    """
    if layers is None:
        return list(names)
    picked: set[str] = set()
    for choice in [layers] if isinstance(layers, str | int) else layers:
        if isinstance(choice, str):
            found = {x for x in names if any(fnmatchcase(n, choice) for n in (x, x.split("#")[0]))}
        else:
            found = {names[choice]} if -len(names) <= choice < len(names) else set()
        if not found:
            layer = (
                repr(choice)
                if isinstance(choice, str)
                else f"{ordinal(choice)} (counted from {ordinal(0)})"
            )
            raise CaptureError(
                f"there is no layer {layer} among the {len(names)}: {', '.join(names)}"
            )
        picked |= found
    return [name for name in names if name in picked]


def select_queries(
    shapes: Mapping[str, LayerShape], layers: Layers, grid: Grid | None
) -> dict[str, tuple[int, ...]]:
    """The layers to keep, and the queries of each.

    Those that `layers` picks; else all, or as many as fit, evenly spaced, the last one always among
    them. Where even those have too many weights, queries are thinned: every second (third, …) row
    and column of patches, and all tokens before them.
    """
    names = select_layers(list(shapes), layers)
    max_weights = MAX_CHOSEN_WEIGHTS
    if layers is None:
        names, max_weights = _spaced(names, shapes), MAX_WEIGHTS
    step = 1
    while True:
        kept = {name: _queries(shapes[name], grid, step) for name in names}
        weights = sum(len(kept[name]) * shapes[name].weights_per_query for name in names)
        if weights <= max_weights or all(len(queries) <= 1 for queries in kept.values()):
            return kept
        step += 1


def _spaced(names: list[str], shapes: Mapping[str, LayerShape]) -> list[str]:
    for count in range(len(names), 1, -1):
        step = (len(names) - 1) / (count - 1)
        some = [names[round(place * step)] for place in range(count)]
        if sum(shapes[x].weights_per_query * shapes[x].queries for x in some) <= MAX_WEIGHTS:
            return some
    return names[-1:]


def _queries(shape: LayerShape, grid: Grid | None, step: int) -> tuple[int, ...]:
    if grid is None or shape.queries != grid.num_tokens:
        return tuple(range(0, shape.queries, step))
    patches = (
        grid.token(row, column)
        for row in range(1, grid.rows + 1, step)
        for column in range(1, grid.columns + 1, step)
    )
    return (*range(grid.num_prefix_tokens), *patches)
