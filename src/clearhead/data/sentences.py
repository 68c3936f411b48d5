"""Sentences whose pronoun is decided by their last word, and others to learn the words from.

"The dog chased the ball because it was hungry." The grammar makes them all; no file is read. Each
choice of words is met in four sentences that differ in the property and in who did it, so that
neither the place of a word nor how often it comes says which thing is meant:

    the dog chased the ball because it was hungry . which one ? the dog .
    the dog chased the ball because it was round .  which one ? the ball .
    the ball chased the dog because it was hungry . which one ? the dog .
    the ball chased the dog because it was round .  which one ? the ball .

Half of them name things by colour, "the red dog chased the blue ball … which one ? the red one .":
a noun that fits the property can be told by counting words, but which colour it has cannot.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from clearhead.data.lexicon import (
    BANKS,
    COLOURS,
    KINDS,
    OPEN_PROPERTIES,
    PEOPLE,
    PLAIN_VERBS,
    VERBS,
)
from clearhead.data.words import SPECIAL, split_words

QUESTION = "which one ? the"
Pairs = Literal["seen", "unseen", "unseen nouns"]


@dataclass(frozen=True)
class Thing:
    """A noun, and its colour if it is told."""

    noun: str
    colour: str | None = None

    @property
    def phrase(self) -> str:
        """As it stands in a sentence: the red dog."""
        return f"the {self.noun}" if self.colour is None else f"the {self.colour} {self.noun}"

    @property
    def answer(self) -> str:
        """What it is called when it is asked for: its colour if it has one, else its noun."""
        return self.colour or self.noun


@dataclass(frozen=True, kw_only=True)
class PronounSentence:
    """One sentence with "it": who did what to whom, the quality that decides, and who has it.

    `referent` is None where the property fits both.
    """

    subject: Thing
    verb: str
    object: Thing
    quality: str
    referent: Thing | None

    @property
    def sentence(self) -> str:
        """As it is written: the dog chased the ball because it was hungry."""
        clause = f"{self.subject.phrase} {self.verb} {self.object.phrase}"
        return f"{clause} because it was {self.quality} ."

    @property
    def other(self) -> Thing | None:
        """The thing that is not meant."""
        if self.referent is None:
            return None
        return self.object if self.referent == self.subject else self.subject

    def told(self, answer: str) -> str:
        """The sentence, the question and an answer."""
        end = "one ." if self.subject.colour else "."
        return f"{self.sentence} {QUESTION} {answer} {end}"

    @property
    def swapped(self) -> "PronounSentence":
        """The same with the two things in each other's place."""
        return replace(self, subject=self.object, object=self.subject)


@dataclass(frozen=True)
class Text:
    """A text to learn from, and the words that its "it" may stand for, if it is decided."""

    words: str
    meant: tuple[str, ...] = ()


def four_of(
    first: Thing, second: Thing, verb: str, properties: tuple[str, str]
) -> tuple[PronounSentence, ...]:
    """Both properties (one for each thing), each with the things in both places."""
    straight = [
        PronounSentence(subject=first, verb=verb, object=second, quality=told, referent=meant)
        for told, meant in zip(properties, (first, second), strict=True)
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


def sentences(
    pairs: Pairs, fours: int, seed: int, *, coloured: bool = False
) -> tuple[PronounSentence, ...]:
    """So many fours of sentences whose property decides, for measuring."""
    draw = random.Random(f"{pairs} {seed}")  # noqa: S311, no secret
    choice = noun_pairs(pairs)
    return tuple(one for _ in range(fours) for one in _decided_four(draw, choice, coloured))


def training_texts(count: int, seed: int) -> tuple[Text, ...]:
    """`count` texts: two thirds of them with a pronoun, the others to learn the words from."""
    draw = random.Random(f"training {seed}")  # noqa: S311, no secret
    texts = _texts(draw)
    return tuple(next(texts) for _ in range(count))


def vocabulary() -> tuple[str, ...]:
    """Every word that a sentence can have, after the special ones."""
    kinds = KINDS.values()
    words = {
        *(word for kind in kinds for word in (*kind.nouns, *kind.unseen_nouns, *kind.properties)),
        *(*OPEN_PROPERTIES, *COLOURS, *VERBS, *PLAIN_VERBS, *PEOPLE, *BANKS),
        *(word for clues in BANKS.values() for word in clues),
        *split_words("the because it was . which one bank ? near with"),
    }
    return (*SPECIAL, *sorted(words))


def _texts(draw: random.Random) -> Iterator[Text]:
    seen = noun_pairs("seen")
    while True:
        lot = draw.random()
        if lot < 0.35:  # four texts each
            fours = _decided_four(draw, seen, draw.random() < 0.5)
            yield from _told(draw, [(one, one.referent) for one in fours if one.referent])
        elif lot < 0.40:
            two = _open_two(draw, seen, draw.random() < 0.5)
            yield from _told(
                draw, [(one, meant) for one in two for meant in (one.subject, one.object)]
            )
        elif lot < 0.65:
            yield Text(_property_text(draw))
        elif lot < 0.80:
            coloured = draw.random() < 0.5
            subject, found = (_thing(draw, draw.choice(_NOUNS), coloured) for _ in range(2))
            yield Text(f"{subject.phrase} {draw.choice(VERBS)} {found.phrase} .")
        elif lot < 0.90:
            yield Text(_plain(draw))
        else:
            yield Text(_bank_text(draw))


def _told(draw: random.Random, answered: Sequence[tuple[PronounSentence, Thing]]) -> Iterator[Text]:
    """The four texts of one choice of words; some after another sentence, some unasked."""
    before = f"{_plain(draw)} " if draw.random() < 0.3 else ""
    asked = draw.random() < 0.8
    for one, meant in answered:
        words = one.told(meant.answer) if asked else one.sentence
        colour = () if meant.colour is None else (meant.colour,)
        yield Text(before + words, (meant.noun, *colour) if one.referent or asked else ())


def _decided_four(
    draw: random.Random, choice: Sequence[tuple[str, str]], coloured: bool
) -> tuple[PronounSentence, ...]:
    first, second = _two_things(draw, choice, coloured)
    told = draw.choice(_PROPERTIES[first.noun]), draw.choice(_PROPERTIES[second.noun])
    return four_of(first, second, draw.choice(VERBS), told)


def _open_two(
    draw: random.Random, choice: Sequence[tuple[str, str]], coloured: bool
) -> tuple[PronounSentence, ...]:
    first, second = _two_things(draw, choice, coloured)
    verb, told = draw.choice(VERBS), draw.choice(OPEN_PROPERTIES)
    one = PronounSentence(subject=first, verb=verb, object=second, quality=told, referent=None)
    return one, one.swapped


def _two_things(
    draw: random.Random, choice: Sequence[tuple[str, str]], coloured: bool
) -> tuple[Thing, Thing]:
    first, second = draw.choice(choice)
    colours = draw.sample(COLOURS, 2) if coloured else (None, None)
    return Thing(first, colours[0]), Thing(second, colours[1])


def _thing(draw: random.Random, noun: str, coloured: bool) -> Thing:
    return Thing(noun, draw.choice(COLOURS) if coloured else None)


def _property_text(draw: random.Random) -> str:
    thing = _thing(draw, draw.choice(_NOUNS), draw.random() < 0.5)
    told = draw.choice((*_PROPERTIES[thing.noun], *OPEN_PROPERTIES))
    sentence = f"{thing.phrase} was {told} ."
    end = "one ." if thing.colour else "."
    return f"{sentence} {QUESTION} {thing.answer} {end}" if draw.random() < 0.5 else sentence


def _plain(draw: random.Random) -> str:
    return f"the {draw.choice((*_NOUNS, *PEOPLE))} {draw.choice(PLAIN_VERBS)} ."


def _bank_text(draw: random.Random) -> str:
    which = draw.choice(tuple(BANKS))
    sentence = f"the {draw.choice(PEOPLE)} sat near the bank with the {draw.choice(BANKS[which])} ."
    return f"{sentence} which bank ? the {which} ."


_NOUNS = tuple(noun for kind in KINDS.values() for noun in (*kind.nouns, *kind.unseen_nouns))
_PROPERTIES = {
    noun: kind.properties for kind in KINDS.values() for noun in (*kind.nouns, *kind.unseen_nouns)
}
