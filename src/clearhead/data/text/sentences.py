"""Sentences whose pronoun is decided by their last word, and others to learn the words from.

"The dog chased the ball because it was hungry." The grammar makes them all; no file is read. Each
choice of words is met in four sentences that differ in the last word and in who did it, so that
neither the place of a word nor how often it comes says which thing is meant:

    the dog chased the ball because it was hungry . which one ? the dog .
    the dog chased the ball because it was round .  which one ? the ball .
    the ball chased the dog because it was hungry . which one ? the dog .
    the ball chased the dog because it was round .  which one ? the ball .

The noun can be told by adding up: it is in the sentence, and of the kind that can be hungry. So
half of the questions are "first or second ? the first .": which of the two nouns it is by its
place cannot be added up, it must be looked up.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from clearhead.data.text.lexicon import (
    BANKS,
    KINDS,
    OPEN_QUALITIES,
    PEOPLE,
    PLAIN_VERBS,
    VERBS,
)
from clearhead.data.text.words import SPECIAL, split_words

Asked = Literal["noun", "place"]
_DECIDED = re.compile(r"the \w+ \w+ the \w+ because it was \w+ \.")
QUESTIONS: Mapping[Asked, str] = {"noun": "which one ? the", "place": "first or second ? the"}
PLACES = ("first", "second")
Pairs = Literal["seen", "unseen", "unseen nouns"]


@dataclass(frozen=True, kw_only=True)
class PronounSentence:
    """One sentence with "it": who did what to whom, the quality that decides, and who has it.

    `referent` is None where the quality fits both.
    """

    subject: str
    verb: str
    object: str
    quality: str
    referent: str | None

    @property
    def sentence(self) -> str:
        """As it is written: the dog chased the ball because it was hungry."""
        clause = f"the {self.subject} {self.verb} the {self.object}"
        return f"{clause} because it was {self.quality} ."

    @property
    def other(self) -> str | None:
        """The noun that is not meant."""
        if self.referent is None:
            return None
        return self.object if self.referent == self.subject else self.subject

    @property
    def swapped(self) -> "PronounSentence":
        """The same with the two nouns in each other's place."""
        return replace(self, subject=self.object, object=self.subject)

    def told(self, asked: Asked, answer: str) -> str:
        """The sentence, a question and an answer."""
        return f"{self.sentence} {QUESTIONS[asked]} {answer} ."

    def called(self, noun: str, asked: Asked) -> str:
        """The answer that means this noun."""
        return noun if asked == "noun" else PLACES[noun == self.object]


@dataclass(frozen=True)
class Text:
    """A text to learn from, and what its "it" stands for: as asked, else by noun and by place."""

    words: str
    meant: tuple[str, ...] = ()


def four_of(
    first: str, second: str, verb: str, qualities: tuple[str, str]
) -> tuple[PronounSentence, ...]:
    """Both qualities (one for each noun), each with the nouns in both places."""
    straight = [
        PronounSentence(subject=first, verb=verb, object=second, quality=told, referent=meant)
        for told, meant in zip(qualities, (first, second), strict=True)
    ]
    return (*straight, *(one.swapped for one in straight))


def noun_pairs(pairs: Pairs = "seen") -> tuple[tuple[str, str], ...]:
    """Two nouns of different kinds, in no order: those a training may meet with a pronoun, or not.

    "unseen": nouns that are met, never these two together (one pair in four). "unseen nouns": no
    pronoun ever stood for either of them.
    """
    found = []
    for one, other in combinations(KINDS.values(), 2):
        if pairs == "unseen nouns":
            found += [(a, b) for a in one.unseen_nouns for b in other.unseen_nouns]
            continue
        for row, a in enumerate(one.nouns):
            for column, b in enumerate(other.nouns):
                # a Latin square: each noun misses as many partners as any other
                left_out = (column - row) % len(other.nouns) < 2
                if left_out == (pairs == "unseen"):
                    found.append((a, b))
    return tuple(found)


def sentences(pairs: Pairs, fours: int, seed: int) -> tuple[PronounSentence, ...]:
    """So many fours of sentences whose last word decides, for measuring."""
    draw = random.Random(f"{pairs} {seed}")  # noqa: S311, no secret
    choice = noun_pairs(pairs)
    return tuple(one for _ in range(fours) for one in _decided_four(draw, choice))


def open_sentences(pairs: Pairs, twos: int, seed: int) -> tuple[PronounSentence, ...]:
    """So many sentences whose last word fits both nouns, each followed by its swapped one."""
    draw = random.Random(f"open {pairs} {seed}")  # noqa: S311, no secret
    choice = noun_pairs(pairs)
    return tuple(one for _ in range(twos) for one in _open_two(draw, choice))


def training_texts(count: int, seed: int) -> tuple[Text, ...]:
    """`count` texts: four in five of them with a pronoun, the others to learn the words from."""
    draw = random.Random(f"training {seed}")  # noqa: S311, no secret
    texts = _texts(draw)
    return tuple(next(texts) for _ in range(count))


def is_decided_by_its_last_word(text: str) -> bool:
    """Whether a text has the shape of `PronounSentence`, whatever its words."""
    return _DECIDED.fullmatch(" ".join(split_words(text))) is not None


def vocabulary() -> tuple[str, ...]:
    """Every word that a sentence can have, after the special ones."""
    kinds = KINDS.values()
    words = {
        *(word for kind in kinds for word in (*kind.nouns, *kind.unseen_nouns, *kind.qualities)),
        *(*OPEN_QUALITIES, *VERBS, *PLAIN_VERBS, *PEOPLE, *BANKS, *PLACES),
        *(word for clues in BANKS.values() for word in clues),
        *(word for question in QUESTIONS.values() for word in split_words(question)),
        *split_words("the because it was . bank near with"),
    }
    return (*SPECIAL, *sorted(words))


def _texts(draw: random.Random) -> Iterator[Text]:
    seen = noun_pairs("seen")
    while True:
        lot = draw.random()
        if lot < 0.5:  # four texts each
            fours = _decided_four(draw, seen)
            yield from _told(draw, [(one, one.referent or "") for one in fours])
        elif lot < 0.55:
            two = _open_two(draw, seen)
            yield from _told(
                draw, [(one, noun) for one in two for noun in (one.subject, one.object)]
            )
        elif lot < 0.75:
            yield Text(_quality_text(draw))
        elif lot < 0.85:
            yield Text(
                f"the {draw.choice(_NOUNS)} {draw.choice(VERBS)} the {draw.choice(_NOUNS)} ."
            )
        elif lot < 0.90:
            yield Text(_plain(draw))
        else:
            yield Text(_bank_text(draw))


def _told(draw: random.Random, answered: Sequence[tuple[PronounSentence, str]]) -> Iterator[Text]:
    """The four texts of one choice of words; some after another sentence, some unasked."""
    before = f"{_plain(draw)} " if draw.random() < 0.3 else ""
    asked = draw.choice((*QUESTIONS, *QUESTIONS, None))
    for one, noun in answered:
        words = one.sentence if asked is None else one.told(asked, one.called(noun, asked))
        decided = one.referent is not None or asked is not None
        kinds = QUESTIONS if asked is None else (asked,)
        meant = tuple(one.called(noun, kind) for kind in kinds) if decided else ()
        yield Text(before + words, meant)


def _decided_four(
    draw: random.Random, choice: Sequence[tuple[str, str]]
) -> tuple[PronounSentence, ...]:
    first, second = draw.choice(choice)
    told = draw.choice(_QUALITIES[first]), draw.choice(_QUALITIES[second])
    return four_of(first, second, draw.choice(VERBS), told)


def _open_two(
    draw: random.Random, choice: Sequence[tuple[str, str]]
) -> tuple[PronounSentence, ...]:
    first, second = draw.choice(choice)
    verb, told = draw.choice(VERBS), draw.choice(OPEN_QUALITIES)
    one = PronounSentence(subject=first, verb=verb, object=second, quality=told, referent=None)
    return one, one.swapped


def _quality_text(draw: random.Random) -> str:
    noun = draw.choice(_NOUNS)
    fitting = _QUALITIES[noun] if draw.random() < 0.8 else OPEN_QUALITIES
    sentence = f"the {noun} was {draw.choice(fitting)} ."
    return f"{sentence} {QUESTIONS['noun']} {noun} ." if draw.random() < 0.5 else sentence


def _plain(draw: random.Random) -> str:
    return f"the {draw.choice((*_NOUNS, *PEOPLE))} {draw.choice(PLAIN_VERBS)} ."


def _bank_text(draw: random.Random) -> str:
    which = draw.choice(tuple(BANKS))
    sentence = f"the {draw.choice(PEOPLE)} sat near the bank with the {draw.choice(BANKS[which])} ."
    return f"{sentence} which bank ? the {which} ."


_NOUNS = tuple(noun for kind in KINDS.values() for noun in (*kind.nouns, *kind.unseen_nouns))
_QUALITIES = {
    noun: kind.qualities for kind in KINDS.values() for noun in (*kind.nouns, *kind.unseen_nouns)
}
