"""A word-level tokenizer: lower case, punctuation as tokens of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clearhead.errors import ConfigError, InputError

PADDING, UNKNOWN, MASK = "[padding]", "[unknown]", "[mask]"
SPECIAL_TOKENS = (PADDING, UNKNOWN, MASK)

_TOKEN = re.compile(r"\[[a-z]+\]|\w+(?:['’]\w+)*|[^\w\s]")
_BEFORE_CLOSING = re.compile(r" (?=[.,;:!?)…]( |$))")


def split_words(text: str) -> tuple[str, ...]:
    """The tokens of a text: "The cat sat." gives the, cat, sat and a full stop.

    Args:
        text: Any text.

    Returns:
        Its words, numbers and punctuation marks in lower case; empty for blank text.
    """
    return tuple(_TOKEN.findall(text.lower()))


@dataclass(frozen=True)
class Encoding:
    """A tokenized text: token ids, tokens, and the distinct tokens outside the vocabulary."""

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class WordTokenizer:
    """Texts to token ids and back.

    Args:
        vocabulary: Every known token in the order of its id, the special tokens among them.

    Raises:
        ConfigError: If a special token is missing.
    """

    vocabulary: tuple[str, ...]

    def __post_init__(self) -> None:
        missing = [word for word in SPECIAL_TOKENS if word not in self.vocabulary]
        if missing:
            names = ", ".join(SPECIAL_TOKENS)
            raise ConfigError(f"the vocabulary needs {names}; {missing} is missing")

    @cached_property
    def token_ids(self) -> dict[str, int]:
        """The id of each token."""
        return {word: index for index, word in enumerate(self.vocabulary)}

    @property
    def padding_id(self) -> int:
        """The id of [padding], which fills up short texts in a batch."""
        return self.token_ids[PADDING]

    @property
    def mask_id(self) -> int:
        """The id of [mask], which replaces the token to be predicted."""
        return self.token_ids[MASK]

    def encode(self, text: str) -> Encoding:
        """Tokenize a text.

        Args:
            text: A text with at least one word.

        Returns:
            Its ids and tokens; a token outside the vocabulary has the id of [unknown].

        Raises:
            InputError: If the text has no word.
        """
        words = split_words(text)
        if not words:
            raise InputError(f"expected a text with at least one word, got {text!r}")
        unknown = dict.fromkeys(word for word in words if word not in self.token_ids)
        return Encoding(
            ids=tuple(self.token_ids.get(word, self.token_ids[UNKNOWN]) for word in words),
            tokens=words,
            unknown=tuple(unknown),
        )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these token ids.

        Args:
            ids: Token ids, as in `Encoding.ids`.

        Returns:
            The tokens, joined by spaces except before closing punctuation.
        """
        text = " ".join(self.vocabulary[index] for index in ids)
        return _BEFORE_CLOSING.sub("", text)

    def pad(
        self, texts: Sequence[Sequence[int]]
    ) -> tuple[Int[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
        """Texts of different lengths as one batch, padded at the end.

        Args:
            texts: The token ids of each text.

        Returns:
            Token ids, and a padding mask that is True at tokens and False at padding.
        """
        longest = max(map(len, texts), default=0)
        rows = [[*text, *[self.padding_id] * (longest - len(text))] for text in texts]
        lengths = torch.tensor([len(text) for text in texts])
        ids = torch.tensor(rows, dtype=torch.int64).reshape(len(texts), longest)
        return ids, torch.arange(longest) < lengths.reshape(-1, 1)
