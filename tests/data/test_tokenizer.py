import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearhead.data import WordTokenizer
from clearhead.data.tokenizer import MASK, PADDING, UNKNOWN, split_words
from clearhead.errors import ConfigError, InputError

KNOWN = ("cat", "sat", "the", ".", ",", "don't")
TOKENIZER = WordTokenizer((PADDING, UNKNOWN, MASK, *KNOWN))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat sat.", ("the", "cat", "sat", ".")),
        ("  the\tCAT,\nsat ", ("the", "cat", ",", "sat")),
        ("Don't sit!?", ("don't", "sit", "!", "?")),
        ("the [mask] sat", ("the", "[mask]", "sat")),
        ("[a b]", ("[", "a", "b", "]")),
        ("a—b 3½", ("a", "—", "b", "3½")),
        ("", ()),
    ],
)
def test_tokens_are_lower_case_and_punctuation_is_separate(
    text: str, words: tuple[str, ...]
) -> None:
    assert split_words(text) == words


def test_words_become_ids_and_others_the_id_of_unknown() -> None:
    encoded = TOKENIZER.encode("The cat, the Dog sat. dog cow")
    assert encoded.ids == (5, 3, 7, 5, 1, 4, 6, 1, 1)
    assert encoded.tokens == ("the", "cat", ",", "the", "dog", "sat", ".", "dog", "cow")
    assert encoded.unknown == ("dog", "cow")
    assert TOKENIZER.encode("cat sat").unknown == ()


@given(st.lists(st.integers(0, 8), min_size=1))
def test_decoded_ids_encode_to_the_same_ids(ids: list[int]) -> None:
    assert TOKENIZER.encode(TOKENIZER.decode(ids)).ids == tuple(ids)


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_is_tokenized_or_refused(text: str) -> None:
    words = split_words(text)
    if not words:
        with pytest.raises(InputError, match="at least one word"):
            TOKENIZER.encode(text)
        return
    assert len(TOKENIZER.encode(text).ids) == len(words)
    letters = "".join(text.lower().split())
    assert "".join(words) == letters


def test_closing_punctuation_is_attached_to_the_word_before_it() -> None:
    for text in ("the cat, [mask]. the,", ". cat", ""):
        assert TOKENIZER.decode(TOKENIZER.encode(text).ids if text else ()) == text


def test_texts_of_different_lengths_are_padded_at_the_end() -> None:
    ids, mask = TOKENIZER.pad([(3, 4), (5, 3, 4, 6), (6,)])
    assert ids.tolist() == [[3, 4, 0, 0], [5, 3, 4, 6], [6, 0, 0, 0]]
    assert mask.tolist() == [[True, True, False, False], [True] * 4, [True, False, False, False]]
    assert ids.dtype == torch.int64
    none, no_mask = TOKENIZER.pad([])
    assert none.shape == no_mask.shape == (0, 0)


def test_special_tokens_are_required() -> None:
    with pytest.raises(ConfigError, match=r"\['\[mask\]'\] is missing"):
        WordTokenizer((PADDING, UNKNOWN, "cat"))
