from typing import NamedTuple

import pytest

from clearhead.explanation.picture.influence import why_no_flow, why_no_silence
from clearhead.insight.tokens import Grid


class Size(NamedTuple):
    windows: int
    queries: int
    keys: int


GRID = Grid(3, 5, 2)
WHOLE = Size(1, 17, 17)


def test_self_attention_over_the_grid_can_be_followed_and_silenced() -> None:
    assert why_no_flow([WHOLE] * 3, GRID) == ""
    assert why_no_silence([WHOLE] * 3, GRID) == ""


def test_a_pooling_query_ends_the_flow_but_can_be_deprived_of_a_patch() -> None:
    sizes = [WHOLE, WHOLE, Size(1, 1, 17)]
    assert why_no_flow(sizes, GRID).startswith(
        "1 of 3 layers does not attend from all 17 tokens to all of them"
    )
    assert why_no_silence(sizes, GRID) == ""


def test_other_tokens_end_both() -> None:
    sizes = [Size(1, 15, 15), WHOLE, Size(1, 15, 15)]
    assert why_no_flow(sizes, GRID).startswith("2 of 3 layers do not attend from all 17 tokens")
    assert why_no_silence(sizes, GRID).startswith("in 2 of 3 layers other tokens are asked")


@pytest.mark.parametrize("why", [why_no_flow, why_no_silence])
def test_windows_and_unknown_grids_are_said_to_be_the_reason(why: object) -> None:
    assert callable(why)
    assert "attends inside windows" in why([WHOLE, Size(4, 17, 17)], GRID)
    assert "does not say where its patches lie" in why([WHOLE], None)


def test_too_many_patches_are_not_silenced_one_by_one() -> None:
    sizes = [Size(1, 65, 65)]
    assert why_no_silence(sizes, Grid(8, 8, 1)) == ""
    assert why_no_silence([Size(1, 66, 66)], Grid(5, 13, 1)) == (
        "it takes one forward pass a patch, and 65 are too many (at most 64)"
    )
