"""A text as words: lower case, punctuation as words of their own, each known by its place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clearhead.errors import ConfigError, InputError

PADDING, UNKNOWN, MASK = "[padding]", "[unknown]", "[mask]"
SPECIAL = (PADDING, UNKNOWN, MASK)

_WORD = re.compile(r"\[[a-z]+\]|\w+(?:['’]\w+)*|[^\w\s]")
_CLOSING = frozenset(".,;:!?)…")


def split_words(text: str) -> tuple[str, ...]:
    """The words of a text: "The cat sat." is the, cat, sat and a full stop."""
    return tuple(_WORD.findall(text.lower()))


@dataclass(frozen=True)
class Encoded:
    """A text as places in a vocabulary, and its words.

    `unknown` are those of them that the vocabulary lacks, each once.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class WordTokenizer:
    """Words to places in a vocabulary and back."""

    vocabulary: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        missing = [word for word in SPECIAL if word not in self.vocabulary]
        if missing:
            raise ConfigError(f"the vocabulary needs {', '.join(SPECIAL)}; {missing} is missing")

    @cached_property
    def place_of(self) -> dict[str, int]:
        """Each word's place."""
        return {word: place for place, word in enumerate(self.vocabulary)}

    @property
    def padding(self) -> int:
        """The place of what fills up short texts."""
        return self.place_of[PADDING]

    @property
    def mask(self) -> int:
        """The place of what stands for a hidden word."""
        return self.place_of[MASK]

    def encode(self, text: str) -> Encoded:
        """The text's words; what the vocabulary lacks gets the place of [unknown].

        Raises `InputError` if there is no word in it.
        """
        words = split_words(text)
        if not words:
            raise InputError(f"expected a text with at least one word, got {text!r}")
        unknown = dict.fromkeys(word for word in words if word not in self.place_of)
        return Encoded(
            ids=tuple(self.place_of.get(word, self.place_of[UNKNOWN]) for word in words),
            tokens=words,
            unknown=tuple(unknown),
        )

    def decode(self, ids: Sequence[int]) -> str:
        """The words at these places, with punctuation at the word before it."""
        return join_words([self.vocabulary[place] for place in ids])

    def pad(
        self, texts: Sequence[Sequence[int]]
    ) -> tuple[Int[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
        """Texts of any lengths as one tensor, and where in it words are (True)."""
        longest = max(map(len, texts), default=0)
        rows = [[*text, *[self.padding] * (longest - len(text))] for text in texts]
        lengths = torch.tensor([len(text) for text in texts])
        ids = torch.tensor(rows, dtype=torch.int64).reshape(len(texts), longest)
        return ids, torch.arange(longest) < lengths.reshape(-1, 1)


def join_words(words: Sequence[str]) -> str:
    """Words as a text, with closing punctuation at the word before it."""
    text = ""
    for word in words:
        text += word if word in _CLOSING or not text else f" {word}"
    return text
