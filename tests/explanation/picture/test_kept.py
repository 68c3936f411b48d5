import pytest

from clearhead.errors import CaptureError
from clearhead.explanation.picture import kept
from clearhead.explanation.picture.kept import Size, choose
from clearhead.insight.tokens import Grid

GRID = Grid(5, 7, 2)
SIZES = {f"blocks.{i}.attn": Size(windows=1, heads=3, queries=37, keys=37) for i in range(11)}
LAYER = 3 * 37 * 37
NAMES = list(SIZES)


def fits(monkeypatch: pytest.MonkeyPatch, cells: int, chosen: int = 10**9) -> None:
    monkeypatch.setattr(kept, "MOST_CELLS", cells)
    monkeypatch.setattr(kept, "MOST_CHOSEN_CELLS", chosen)


def test_all_layers_and_queries_are_kept_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    fits(monkeypatch, 11 * LAYER)
    assert choose(SIZES, None, GRID) == {name: tuple(range(37)) for name in NAMES}


@pytest.mark.parametrize(
    ("cells", "places"),
    [
        (11 * LAYER - 1, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]),
        (3 * LAYER, [0, 5, 10]),
        (2 * LAYER, [0, 10]),
        (2 * LAYER - 1, [10]),
    ],
)
def test_fewer_layers_are_spread_evenly_and_end_with_the_last(
    monkeypatch: pytest.MonkeyPatch, cells: int, places: list[int]
) -> None:
    fits(monkeypatch, cells)
    chosen = choose(SIZES, None, GRID)
    assert len(chosen) == len(places)
    assert set(chosen.values()) == {tuple(range(37))}
    if len(places) < 10:
        assert list(chosen) == [NAMES[place] for place in places]
    assert (next(iter(chosen)) == NAMES[0]) == (len(places) > 1)
    assert list(chosen)[-1] == NAMES[-1]


def test_queries_are_thinned_in_rows_and_columns_where_one_layer_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits(monkeypatch, 3 * 37 * 14)
    (queries,) = choose(SIZES, None, GRID).values()
    rows, columns = (0, 2, 4), (0, 2, 4, 6)
    assert queries == (0, 1, *(2 + 7 * row + column for row in rows for column in columns))


def test_chosen_layers_are_obeyed_up_to_a_larger_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    fits(monkeypatch, 1, 2 * LAYER)
    assert choose(SIZES, [1, -1], GRID) == {
        "blocks.1.attn": tuple(range(37)),
        "blocks.10.attn": tuple(range(37)),
    }
    thinned = choose(SIZES, "blocks.*", GRID)
    assert list(thinned) == NAMES
    assert 3 * 37 * sum(map(len, thinned.values())) <= 2 * LAYER


def test_a_layer_with_other_tokens_is_thinned_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    fits(monkeypatch, 4 * 2 * 5 * 3)
    size = Size(windows=4, heads=2, queries=5, keys=5)
    assert choose({"one": size}, None, GRID) == {"one": (0, 2, 4)}
    fits(monkeypatch, 1)  # it ends, with one query at least
    assert choose({"one": size}, None, GRID) == {"one": (0,)}


def test_a_choice_of_nothing_is_an_error() -> None:
    with pytest.raises(CaptureError, match=r"layers='head\*' fits no attention"):
        choose(SIZES, "head*", GRID)
    with pytest.raises(CaptureError, match="layers=11 is out of range"):
        choose(SIZES, [11], GRID)
