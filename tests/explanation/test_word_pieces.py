"""Words whose tokens are pieces of characters, by the spans of the tokens in the text."""

from types import SimpleNamespace
from typing import Any

import pytest

from clearhead.explanation.texts import _pieces


@pytest.mark.parametrize(
    ("text", "word", "spans", "found"),
    [
        ("猫が座", "猫", [(0, 1), (0, 1), (0, 2), (1, 2), (2, 3)], (0, 1, 2)),
        ("猫が座", "座", [(0, 1), (0, 2), (1, 3), (2, 3)], (2, 3)),
        ("猫が", "猫", [(0, 2)], ()),
        ("dogs", "dog", [(0, 4)], ()),
        ("a dog", "dog", [(0, 1), (2, 4), (4, 5)], (1, 2)),
    ],
)
def test_a_piece_that_ends_in_the_next_character_belongs_to_the_word(
    text: str, word: str, spans: list[tuple[int, int]], found: tuple[int, ...]
) -> None:
    model_input: Any = SimpleNamespace(spans=spans)
    assert _pieces(model_input, text, word) == found
