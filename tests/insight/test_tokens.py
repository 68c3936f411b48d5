import numpy as np
import pytest
import torch

from clearhead.errors import ConfigError, InputError
from clearhead.insight.tokens import Grid, Words, check_tokens, coordinates, words_of

GRID = Grid(3, 5, 2, ("class token", "register 1"))


def test_names_count_rows_and_columns_from_one_after_the_prefix_tokens() -> None:
    names = GRID.names()
    assert len(names) == GRID.num_tokens == 17
    assert names[:3] == ("class token", "register 1", "patch at row 1, column 1")
    assert names[2 + 7] == "patch at row 2, column 3"
    assert names[-1] == "patch at row 3, column 5"


def test_prefix_tokens_without_names_are_not_called_class_tokens() -> None:
    assert Grid(2, 3, 2).names()[:2] == ("prefix token 1", "prefix token 2")


def test_token_finds_the_patch_of_that_name() -> None:
    for row in range(1, 4):
        for column in range(1, 6):
            place = GRID.token(row, column)
            assert GRID.names()[place] == f"patch at row {row}, column {column}"


@pytest.mark.parametrize(("row", "column"), [(0, 1), (1, 0), (4, 1), (1, 6)])
def test_a_patch_outside_the_grid_is_refused(row: int, column: int) -> None:
    with pytest.raises(InputError, match=r"3 rows and 5 columns, counted from 1"):
        GRID.token(row, column)


def test_fold_lays_the_patches_out_and_prefix_keeps_the_rest() -> None:
    x = torch.arange(7 * 17).reshape(7, 17).float()
    folded, prefix = GRID.fold(x), GRID.prefix(x)
    assert folded.shape == (7, 3, 5)
    for row in range(3):
        for column in range(5):
            assert torch.equal(folded[:, row, column], x[:, GRID.token(row + 1, column + 1)])
    assert torch.equal(prefix, x[:, :2])
    assert float(folded.sum() + prefix.sum()) == float(x.sum())


@pytest.mark.parametrize("count", [15, 16, 18])
def test_another_number_of_tokens_is_refused_and_never_reshaped(count: int) -> None:
    with pytest.raises(InputError, match=r"expected 2 \+ 3 × 5 = 17 tokens, got"):
        GRID.fold(torch.zeros(count))
    with pytest.raises(InputError, match=r"blocks\.1\.attn: expected"):
        check_tokens(GRID, count, "blocks.1.attn")


@pytest.mark.parametrize("sizes", [(0, 3, 0), (3, 0, 0), (3, 3, -1)])
def test_a_grid_that_cannot_be_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="at least one row"):
        Grid(*sizes)


def test_names_must_be_as_many_as_prefix_tokens() -> None:
    with pytest.raises(ConfigError, match="1 names for 2 prefix tokens"):
        Grid(3, 3, 2, ("class token",))


def test_coordinates_are_row_and_column_of_every_patch_in_order() -> None:
    expected = [(row, column) for row in range(3) for column in range(5)]
    assert np.array_equal(coordinates(GRID).numpy(), np.array(expected))
    assert coordinates(Words(("a", "b", "c"))).tolist() == [[0, 0], [0, 1], [0, 2]]
    assert coordinates(Grid(1, 1)).shape == (1, 2)


def test_words_are_a_row_of_tokens() -> None:
    words = Words(("The", "cat", "sat", "."))
    assert (words.rows, words.columns, words.num_tokens, words.num_prefix_tokens) == (1, 4, 4, 0)
    assert words.names() == ("The", "cat", "sat", ".")


@pytest.mark.unchecked
def test_a_sentence_is_not_taken_apart_into_letters() -> None:
    with pytest.raises(ConfigError, match="got one string 'The cat'"):
        Words("The cat")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one token"):
        Words(())


def test_words_come_from_a_tokenizer() -> None:
    class Tokenizer:
        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [f"#{number}" for number in ids]

    assert words_of(Tokenizer(), torch.tensor([7, 11])).tokens == ("#7", "#11")
    with pytest.raises(ConfigError, match="object has no convert_ids_to_tokens"):
        words_of(object(), [1])
