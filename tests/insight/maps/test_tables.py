import math

import pytest
import torch

from clearhead.data import normalize
from clearhead.errors import InputError
from clearhead.insight.grids import grid_of
from clearhead.insight.maps.tables import attention_table, percent
from clearhead.insight.tokens import Grid, Words
from clearhead.models.build import load
from clearhead.recording import capture

SENTENCE = ("The", "cat", "sat")
WEIGHTS = torch.tensor(
    [[[[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [1.0, 0.0, 0.0]],
      [[0.4, 0.3, 0.3], [0.3, 0.5, 0.2], [0.996, 0.004, 0.0]]]]
)  # fmt: skip


def test_a_sentence_becomes_a_table_in_per_cent() -> None:
    table = attention_table(WEIGHTS, SENTENCE, head=0)
    assert [str(row) for row in table.rows[:3]] == [
        "The → The: 20 %",
        "The → cat: 50 %",
        "The → sat: 30 %",
    ]
    assert len(table.rows) == 9
    assert table.left_out == ()
    assert str(table).splitlines() == [
        "weights, head 1",
        "The → The   20 %   0.6 × even share",
        "The → cat   50 %   1.5 × even share",
        "The → sat   30 %   0.9 × even share",
        "cat → The   10 %   0.3 × even share",
        "cat → cat   10 %   0.3 × even share",
        "cat → sat   80 %   2.4 × even share",
        "sat → The  100 %   3.0 × even share",
        "sat → cat    0 %   0.0 × even share",
        "sat → sat    0 %   0.0 × even share",
    ]


def test_the_mean_over_heads_is_named_as_one() -> None:
    table = attention_table(WEIGHTS, Words(SENTENCE), head=None, query=0)
    assert [row.weight for row in table.rows] == pytest.approx([0.3, 0.4, 0.3])
    assert str(table).startswith("weights, mean of all heads")
    assert table.head is None


def test_the_largest_come_first_and_the_rest_is_told() -> None:
    table = attention_table(WEIGHTS, SENTENCE, head=0, most=1)
    assert [(row.query, row.key) for row in table.rows] == [
        ("The", "cat"), ("cat", "sat"), ("sat", "The"),
    ]  # fmt: skip
    assert [row.weight for row in table.left_out] == pytest.approx([0.5, 0.2, 0.0])
    assert [row.multiple for row in table.left_out] == pytest.approx([0.75, 0.3, 0.0])
    assert str(table).splitlines()[1:3] == [
        "The → cat        50 %   1.5 × even share",
        "The → 2 others   50 %   0.8 × even share",
    ]


def test_shares_of_a_query_sum_to_one_with_what_is_left_out() -> None:
    weights = torch.rand(5, 3, 7, 7, dtype=torch.float64).softmax(dim=-1)
    table = attention_table(weights, tuple("abcdefg"), head=2, image=4, query=6, most=3)
    total = sum(row.weight for row in (*table.rows, *table.left_out))
    assert total == pytest.approx(1.0)
    expected = weights[4, 2, 6].sort(descending=True).values[:3]
    assert [row.weight for row in table.rows] == pytest.approx(expected.tolist())
    assert {row.query for row in table.rows} == {"g"}


def test_the_patches_of_a_real_model_are_named_by_row_and_column() -> None:
    model = load()
    grid = grid_of(model)
    images = torch.randint(0, 256, (2, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), capture(2) as seen:
        model(normalize(images.to(torch.uint8), model.config))
    query = grid.token(1, 2)
    table = attention_table(seen[0], grid, head=1, image=1, query=query)
    assert str(table.rows[0]).startswith("patch at row 1, column 2 → patch at row 1, column 1: ")
    for row, weight in zip(table.rows, seen[0].weights[1, 1, query].tolist(), strict=True):
        assert row.weight == pytest.approx(weight, abs=1e-6)
        assert row.multiple == pytest.approx(16 * weight, abs=1e-5)
    assert math.isclose(sum(row.weight for row in table.rows), 1.0, abs_tol=1e-5)


@pytest.mark.parametrize(
    ("weight", "text"),
    [(0.0, "0 %"), (0.004, "<1 %"), (0.0099, "<1 %"), (0.01, "1 %"), (0.41, "41 %"), (1, "100 %")],
)
def test_a_small_share_does_not_read_as_nothing(weight: float, text: str) -> None:
    assert percent(weight) == text


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="expected 2 words, got 3"):
        attention_table(WEIGHTS, ("The", "cat"), head=0)
    with pytest.raises(InputError, match="queries: expected 1 × 2"):
        attention_table(WEIGHTS, SENTENCE, head=0, queries=Grid(1, 2))
    with pytest.raises(InputError, match="most must be at least 1"):
        attention_table(WEIGHTS, SENTENCE, head=0, most=0)
