"""Generated sentences in which the last word decides what the pronoun "it" refers to.

Each choice of words gives a counterbalanced set of four sentences, so that neither the position of
a word nor its frequency predicts the referent:

    the dog chased the ball because it was hungry . which one ? the dog .
    the dog chased the ball because it was round .  which one ? the ball .
    the ball chased the dog because it was hungry . which one ? the dog .
    the ball chased the dog because it was round .  which one ? the ball .

A bag of words is enough to find the noun (it is in the sentence, and of the kind that can be
hungry). So half of the cloze questions are "first or second ? the first .", which needs the noun's
position.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from clearhead.data.tokenizer import SPECIAL_TOKENS, split_words

Question = Literal["noun", "place"]
"""A cloze question after the sentence: which noun the pronoun refers to, or its position."""
NounSplit = Literal["seen", "unseen", "unseen nouns"]
"""Noun pairs by their use in training: with a pronoun, never together, no pronoun for either."""

QUESTIONS: Mapping[Question, str] = {"noun": "which one ? the", "place": "first or second ? the"}
POSITIONS = ("first", "second")
_TEMPLATE = re.compile(r"the \w+ \w+ the \w+ because it was \w+ \.")


@dataclass(frozen=True, kw_only=True)
class NounKind:
    """Nouns of one kind, and the qualities that fit this kind and no other.

    `unseen_nouns` never occur in a training sentence with a pronoun.
    """

    nouns: tuple[str, ...]
    unseen_nouns: tuple[str, ...]
    qualities: tuple[str, ...]

    @property
    def all_nouns(self) -> tuple[str, ...]:
        """Both sorts of nouns."""
        return self.nouns + self.unseen_nouns


KINDS: Mapping[str, NounKind] = {
    "animal": NounKind(
        nouns=("dog", "cat", "horse", "fox", "wolf", "rabbit", "mouse", "cow"),
        unseen_nouns=("lamb", "goat"),
        qualities=("hungry", "thirsty", "tired", "scared"),
    ),
    "toy": NounKind(
        nouns=("ball", "balloon", "marble", "hoop", "bead", "top", "ring", "puck"),
        unseen_nouns=("disc", "globe"),
        qualities=("round", "shiny", "plastic", "smooth"),
    ),
    "food": NounKind(
        nouns=("apple", "cake", "pear", "bun", "carrot", "cookie", "plum", "pie"),
        unseen_nouns=("peach", "melon"),
        qualities=("sweet", "tasty", "fresh", "ripe"),
    ),
    "vehicle": NounKind(
        nouns=("car", "truck", "bus", "train", "tractor", "van", "bike", "tram"),
        unseen_nouns=("taxi", "jeep"),
        qualities=("rusty", "parked", "noisy", "electric"),
    ),
}
AMBIGUOUS_QUALITIES = ("fast", "slow", "small", "old")  # fit every kind
VERBS = ("chased", "followed", "passed", "hit", "touched", "found", "missed", "pushed")
INTRANSITIVE_VERBS = ("sat", "slept", "fell", "stopped", "moved", "waited")
PEOPLE = ("girl", "boy", "man", "woman")
BANKS: Mapping[str, tuple[str, ...]] = {  # the two senses of "bank", and words for each
    "river": ("water", "fish", "boat", "mud"),
    "money": ("coin", "loan", "cash", "gold"),
}

_NOUNS = tuple(noun for kind in KINDS.values() for noun in kind.all_nouns)
_QUALITIES = {noun: kind.qualities for kind in KINDS.values() for noun in kind.all_nouns}


@dataclass(frozen=True, kw_only=True)
class PronounSentence:
    """One sentence with the pronoun "it", and its referent.

    Args:
        subject: The first noun.
        verb: A transitive verb.
        object: The second noun.
        quality: The last word, which decides the referent.
        referent: The noun that "it" refers to; None if the quality fits both.
    """

    subject: str
    verb: str
    object: str
    quality: str
    referent: str | None

    @property
    def text(self) -> str:
        """The sentence: the dog chased the ball because it was hungry ."""
        clause = f"the {self.subject} {self.verb} the {self.object}"
        return f"{clause} because it was {self.quality} ."

    @property
    def distractor(self) -> str | None:
        """The noun that is not the referent."""
        if self.referent is None:
            return None
        return self.object if self.referent == self.subject else self.subject

    @property
    def swapped(self) -> "PronounSentence":
        """The same sentence with the two nouns exchanged."""
        return replace(self, subject=self.object, object=self.subject)

    def with_question(self, question: Question, answer: str) -> str:
        """The sentence, a cloze question and an answer.

        Args:
            question: "noun" for "which one?", or "place" for "first or second?".
            answer: A word, or [mask].

        Returns:
            The text, with a space between all tokens.
        """
        return f"{self.text} {QUESTIONS[question]} {answer} ."

    def answer(self, noun: str, question: Question) -> str:
        """The answer to the question that stands for this noun.

        Args:
            noun: One of the two nouns.
            question: "noun" or "place".

        Returns:
            The noun itself, or "first" or "second".
        """
        return noun if question == "noun" else POSITIONS[noun == self.object]


@dataclass(frozen=True)
class TrainingText:
    """A text to train on, and the words that its pronoun stands for.

    `pronoun_targets` is empty where nothing decides, the answer where the text has a question, and
    the referent and its position where it has none.
    """

    text: str
    pronoun_targets: tuple[str, ...] = ()


def counterbalanced_set(
    first: str, second: str, verb: str, qualities: tuple[str, str]
) -> tuple[PronounSentence, ...]:
    """Four sentences of the same words, with either referent in either position.

    Args:
        first: A noun.
        second: A noun of another kind.
        verb: A transitive verb.
        qualities: A quality of the first noun, and one of the second.

    Returns:
        Both qualities with the nouns in this order, then both with the nouns exchanged.
    """
    straight = [
        PronounSentence(subject=first, verb=verb, object=second, quality=quality, referent=referent)
        for quality, referent in zip(qualities, (first, second), strict=True)
    ]
    return (*straight, *(sentence.swapped for sentence in straight))


def noun_pairs(split: NounSplit = "seen") -> tuple[tuple[str, str], ...]:
    """Unordered pairs of nouns of different kinds.

    Args:
        split: "seen" pairs occur in training with a pronoun; "unseen" pairs never do, but each of
            their nouns does (one pair in four); of "unseen nouns", neither noun does.

    Returns:
        The pairs of this split.
    """
    pairs: list[tuple[str, str]] = []
    for one, other in combinations(KINDS.values(), 2):
        if split == "unseen nouns":
            pairs += [(a, b) for a in one.unseen_nouns for b in other.unseen_nouns]
            continue
        for row, a in enumerate(one.nouns):
            for column, b in enumerate(other.nouns):
                # A Latin square: each noun lacks the same number of partners.
                unseen = (column - row) % len(other.nouns) < 2
                if unseen == (split == "unseen"):
                    pairs.append((a, b))
    return tuple(pairs)


def pronoun_sentences(split: NounSplit, num_sets: int, seed: int) -> tuple[PronounSentence, ...]:
    """Test sentences whose last word decides the referent.

    Args:
        split: Which noun pairs to use.
        num_sets: Number of counterbalanced sets, of four sentences each.
        seed: The same seed gives the same sentences.

    Returns:
        4 · `num_sets` sentences, set by set.
    """
    rng = random.Random(f"{split} {seed}")  # noqa: S311, no secret
    pairs = noun_pairs(split)
    return tuple(sentence for _ in range(num_sets) for sentence in _decided_set(rng, pairs))


def training_texts(count: int, seed: int) -> tuple[TrainingText, ...]:
    """Generated texts: a bit more than half with a pronoun, the others teach what words mean.

    Args:
        count: Number of texts.
        seed: The same seed gives the same texts; a larger count begins with the same ones.

    Returns:
        The texts, in the order of their generation.
    """
    texts = _training_texts(random.Random(f"training {seed}"))  # noqa: S311, no secret
    return tuple(next(texts) for _ in range(count))


def matches_pronoun_template(text: str) -> bool:
    """Whether a text has the form of a `PronounSentence`, with any words in it."""
    return _TEMPLATE.fullmatch(" ".join(split_words(text))) is not None


def vocabulary() -> tuple[str, ...]:
    """Every token of the generated texts: the special tokens, then the words in their order.

    Returns:
        The tokens, in the order of their ids.
    """
    words = {
        *(*_NOUNS, *AMBIGUOUS_QUALITIES, *VERBS, *INTRANSITIVE_VERBS, *PEOPLE, *BANKS, *POSITIONS),
        *(word for kind in KINDS.values() for word in kind.qualities),
        *(word for clues in BANKS.values() for word in clues),
        *(word for question in QUESTIONS.values() for word in split_words(question)),
        *split_words("the because it was . bank near with"),
    }
    return (*SPECIAL_TOKENS, *sorted(words))


def _training_texts(rng: random.Random) -> Iterator[TrainingText]:
    pairs = noun_pairs("seen")
    while True:
        kind = rng.random()
        if kind < 0.5:
            decided = _decided_set(rng, pairs)
            yield from _with_questions(rng, [(one, one.referent or "") for one in decided])
        elif kind < 0.55:
            ambiguous = _ambiguous_pair(rng, pairs)
            yield from _with_questions(
                rng, [(one, noun) for one in ambiguous for noun in (one.subject, one.object)]
            )
        elif kind < 0.75:
            yield TrainingText(_quality_text(rng))
        elif kind < 0.85:
            yield TrainingText(
                f"the {rng.choice(_NOUNS)} {rng.choice(VERBS)} the {rng.choice(_NOUNS)} ."
            )
        elif kind < 0.90:
            yield TrainingText(_intransitive_text(rng))
        else:
            yield TrainingText(_bank_text(rng))


def _with_questions(
    rng: random.Random, answered: Sequence[tuple[PronounSentence, str]]
) -> Iterator[TrainingText]:
    """The four texts of a set, all with the same question or none, some after another sentence."""
    prefix = f"{_intransitive_text(rng)} " if rng.random() < 0.3 else ""
    question = rng.choice((*QUESTIONS, *QUESTIONS, None))
    for sentence, noun in answered:
        if question is None:
            targets = tuple(sentence.answer(noun, kind) for kind in QUESTIONS)
            yield TrainingText(prefix + sentence.text, targets if sentence.referent else ())
        else:
            answer = sentence.answer(noun, question)
            yield TrainingText(prefix + sentence.with_question(question, answer), (answer,))


def _decided_set(
    rng: random.Random, pairs: Sequence[tuple[str, str]]
) -> tuple[PronounSentence, ...]:
    first, second = rng.choice(pairs)
    qualities = rng.choice(_QUALITIES[first]), rng.choice(_QUALITIES[second])
    return counterbalanced_set(first, second, rng.choice(VERBS), qualities)


def _ambiguous_pair(
    rng: random.Random, pairs: Sequence[tuple[str, str]]
) -> tuple[PronounSentence, ...]:
    first, second = rng.choice(pairs)
    verb, quality = rng.choice(VERBS), rng.choice(AMBIGUOUS_QUALITIES)
    sentence = PronounSentence(
        subject=first, verb=verb, object=second, quality=quality, referent=None
    )
    return sentence, sentence.swapped


def _quality_text(rng: random.Random) -> str:
    noun = rng.choice(_NOUNS)
    qualities = _QUALITIES[noun] if rng.random() < 0.8 else AMBIGUOUS_QUALITIES
    text = f"the {noun} was {rng.choice(qualities)} ."
    return f"{text} {QUESTIONS['noun']} {noun} ." if rng.random() < 0.5 else text


def _intransitive_text(rng: random.Random) -> str:
    return f"the {rng.choice((*_NOUNS, *PEOPLE))} {rng.choice(INTRANSITIVE_VERBS)} ."


def _bank_text(rng: random.Random) -> str:
    sense = rng.choice(tuple(BANKS))
    text = f"the {rng.choice(PEOPLE)} sat near the bank with the {rng.choice(BANKS[sense])} ."
    return f"{text} which bank ? the {sense} ."
