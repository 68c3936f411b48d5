import pytest
import torch

from clearhead.errors import InputError
from clearhead.insight.tables import attention_table, percent
from clearhead.insight.tokens import Grid, Words
from clearhead.recording import capture

SENTENCE = ("The", "cat", "sat")
WEIGHTS = torch.tensor(
    [[[[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [1.0, 0.0, 0.0]],
      [[0.4, 0.3, 0.3], [0.3, 0.5, 0.2], [0.996, 0.004, 0.0]]]]
)  # fmt: skip


def test_a_table_shows_per_cent_and_multiples_of_the_uniform_weight() -> None:
    table = attention_table(WEIGHTS, SENTENCE, head=0)
    assert str(table.rows[1]) == "The → cat: 50 %"
    assert len(table.rows) == 9
    assert "9 rows" in repr(table)
    assert str(table).splitlines()[:4] == [
        "weights, head 1",
        "The → The   20 %   0.6 × uniform weight",
        "The → cat   50 %   1.5 × uniform weight",
        "The → sat   30 %   0.9 × uniform weight",
    ]
    assert table.to_dict()["rows"][1]["weight"] == 0.5


def test_the_mean_over_heads_is_named_as_one() -> None:
    table = attention_table(WEIGHTS, Words(SENTENCE), head=None, query=0)
    assert [row.weight for row in table.rows] == pytest.approx([0.3, 0.4, 0.3])
    assert str(table).startswith("weights, mean of all heads")
    assert table.head is None


def test_the_largest_weights_come_first_and_the_rest_is_summed() -> None:
    table = attention_table(WEIGHTS, SENTENCE, head=0, max_keys=1)
    listed, rest = table.rows[::2], table.rows[1::2]
    assert [(row.query, row.key) for row in listed] == [
        ("The", "cat"),
        ("cat", "sat"),
        ("sat", "The"),
    ]
    assert [row.key for row in rest] == ["2 others"] * 3
    assert [row.weight for row in rest] == pytest.approx([0.5, 0.2, 0.0])
    assert [row.multiple for row in rest] == pytest.approx([0.75, 0.3, 0.0])
    assert str(table).splitlines()[1:3] == [
        "The → cat        50 %   1.5 × uniform weight",
        "The → 2 others   50 %   0.8 × uniform weight",
    ]


def test_weights_of_the_chosen_image_head_and_query_sum_to_one_with_the_rest() -> None:
    weights = torch.rand(5, 3, 7, 7, dtype=torch.float64).softmax(dim=-1)
    table = attention_table(weights, tuple("abcdefg"), head=2, image=4, query=6, max_keys=3)
    assert sum(row.weight for row in table.rows) == pytest.approx(1.0)
    expected = weights[4, 2, 6].sort(descending=True).values[:3]
    assert [row.weight for row in table.rows[:3]] == pytest.approx(expected.tolist())
    assert {row.query for row in table.rows} == {"g"}


def test_keys_behind_the_mask_are_not_visible_and_have_no_uniform_weight() -> None:
    query = torch.randn(1, 2, 3, 4)
    with capture() as recording:
        torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    table = attention_table(recording[0], SENTENCE, head=1)
    visible = [[row.visible for row in table.rows if row.query == word] for word in SENTENCE]
    assert visible == [[True, False, False], [True, True, False], [True, True, True]]
    assert [str(row) for row in table.rows[1:3]] == ["The → cat: –", "The → sat: –"]
    assert table.rows[0].multiple == pytest.approx(1.0)
    assert str(table).splitlines()[2] == "The → cat    –"
    mask = torch.zeros(3, 3).masked_fill(torch.ones(3, 3).triu(1).bool(), -10_000.0)
    with capture() as recording:
        torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    assert attention_table(recording[0], SENTENCE, head=1).rows == table.rows


def test_a_small_weight_is_not_shown_as_zero() -> None:
    texts = {0.0: "0 %", 0.004: "<1 %", 0.0099: "<1 %", 0.01: "1 %", 0.41: "41 %", 1.0: "100 %"}
    assert {weight: percent(weight) for weight in texts} == texts


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="expected 2 words, got 3"):
        attention_table(WEIGHTS, ("The", "cat"), head=0)
    with pytest.raises(InputError, match="queries: expected 1 × 2"):
        attention_table(WEIGHTS, SENTENCE, head=0, queries=Grid(1, 2))
    with pytest.raises(InputError, match="max_keys must be at least 1"):
        attention_table(WEIGHTS, SENTENCE, head=0, max_keys=0)
