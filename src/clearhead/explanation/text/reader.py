"""A text model with all that is needed to give it a text, and to name what it reads."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, kw_only=True, eq=False)
class TextView:
    """A text as a model reads it.

    `tokens` are its words or pieces of words, special ones such as [CLS] included; `run` gives them
    to the model. `remarks` are for the person.
    """

    tokens: tuple[str, ...]
    run: Callable[[], object]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answers to a question about the pronoun: words with their probabilities."""

    question: str
    words: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TextReader:
    """A model in evaluation mode, and how it reads a text.

    `name` is what the person called it; `about` says in one line how large it is. `answer` is
    there if the model has learnt to say what a pronoun stands for.
    """

    name: str
    about: str
    model: nn.Module
    read: Callable[[str], TextView]
    answer: Callable[[str], Answer | None] | None = None
