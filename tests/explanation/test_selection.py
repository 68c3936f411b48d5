"""Which layers and queries are kept, and which measures a model allows."""

from collections.abc import Callable

import pytest

from clearhead.errors import CaptureError
from clearhead.explanation import _selection
from clearhead.explanation._selection import select_queries
from clearhead.explanation.influence import Shape, why_no_masking, why_no_rollout
from clearhead.insight import Grid

GRID = Grid(5, 7, 2)
SHAPES = {f"blocks.{i}.attn": (1, 3, 37, 37) for i in range(11)}
LAYER = 3 * 37 * 37
NAMES = list(SHAPES)
Limit = Callable[..., None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    def set_limits(weights: int, chosen: int = 10**9) -> None:
        monkeypatch.setattr(_selection, "MAX_WEIGHTS", weights)
        monkeypatch.setattr(_selection, "MAX_CHOSEN_WEIGHTS", chosen)

    return set_limits


@pytest.mark.parametrize(
    ("weights", "places"),
    [
        (11 * LAYER, list(range(11))),
        (11 * LAYER - 1, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),
        (3 * LAYER, [0, 5, 10]),
        (2 * LAYER, [0, 10]),
        (2 * LAYER - 1, [10]),
    ],
)
def test_layers_are_spread_evenly_and_end_with_the_last(
    limit: Limit, weights: int, places: list[int]
) -> None:
    limit(weights)
    assert select_queries(SHAPES, None, GRID) == {NAMES[x]: tuple(range(37)) for x in places}


def test_queries_are_thinned_in_rows_and_columns_where_one_layer_is_too_large(
    limit: Limit,
) -> None:
    limit(3 * 37 * 14)
    (queries,) = select_queries(SHAPES, None, GRID).values()
    rows, columns = (0, 2, 4), (0, 2, 4, 6)
    assert queries == (0, 1, *(2 + 7 * row + column for row in rows for column in columns))


def test_chosen_layers_are_kept_up_to_a_larger_limit(limit: Limit) -> None:
    limit(1, 2 * LAYER)
    every = tuple(range(37))
    assert select_queries(SHAPES, [1, -1], GRID) == {NAMES[1]: every, NAMES[10]: every}
    thinned = select_queries(SHAPES, "blocks.*", GRID)
    assert list(thinned) == NAMES
    assert 3 * 37 * sum(map(len, thinned.values())) <= 2 * LAYER


def test_a_layer_with_other_tokens_is_thinned_in_order(limit: Limit) -> None:
    shapes = {"a": (2, 2, 2, 5, 5)}  # 2 × 2 windows, each with two heads
    limit(4 * 2 * 5 * 3)
    assert select_queries(shapes, None, GRID) == {"a": (0, 2, 4)}
    limit(1)  # at least one query is kept
    assert select_queries(shapes, None, GRID) == {"a": (0,)}


def test_names_patterns_and_later_calls_of_a_module_are_selected() -> None:
    shapes = dict.fromkeys(("a.attn", "a.attn#2", "b.attn"), SHAPES[NAMES[0]])
    assert list(select_queries(shapes, "a.attn", GRID)) == ["a.attn", "a.attn#2"]
    assert list(select_queries(shapes, ["*#2", -1], GRID)) == ["a.attn#2", "b.attn"]


@pytest.mark.parametrize("layers", ["head*", [11], [0, -12]])
def test_a_choice_of_nothing_is_an_error(layers: str | list[int]) -> None:
    with pytest.raises(CaptureError, match=r"there is no layer .* among the 11: blocks\.0"):
        select_queries(SHAPES, layers, GRID)


@pytest.mark.parametrize(
    ("shapes", "no_rollout", "no_masking"),
    [
        ([(1, 3, 37, 37)] * 3, "", ""),
        ([(1, 3, 37, 37), (1, 3, 1, 37)], "1 of 2 layers does not attend from all 37", ""),
        (
            [(1, 3, 35, 35), (1, 3, 37, 37), (1, 3, 35, 35)],
            "2 of 3 layers do not attend from all 37 tokens",
            "in 2 of 3 layers the keys are other tokens",
        ),
        ([(1, 3, 37, 37), (2, 2, 3, 37, 37)], *["this model attends inside windows"] * 2),
    ],
)
def test_measures_need_layers_over_the_grid(
    shapes: list[Shape], no_rollout: str, no_masking: str
) -> None:
    for reason, expected in (
        (why_no_rollout(shapes, GRID), no_rollout),
        (why_no_masking(shapes, GRID), no_masking),
    ):
        assert reason.startswith(expected)
        assert bool(reason) == bool(expected)
    assert why_no_masking(shapes[:1], None) == "the model does not declare the grid of its patches"


def test_masking_is_limited_to_64_patches() -> None:
    assert why_no_masking([(1, 3, 65, 65)], Grid(8, 8, 1)) == ""
    assert "65 are too many (at most 64)" in why_no_masking([(1, 3, 66, 66)], Grid(5, 13, 1))
