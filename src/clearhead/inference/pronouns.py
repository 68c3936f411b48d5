"""Does a text model know which thing "it" is? Asked by questions whose answer it must give.

A sentence is one of a four that share their words: two properties, each with the two things in
both places. Who goes by the place of a word, or by how common it is, gets half of a four right.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead.data.text.sentences import QUESTIONS, Asked, Pairs, PronounSentence, sentences
from clearhead.data.text.words import MASK, WordTokenizer
from clearhead.errors import InputError
from clearhead.models.text import TextTransformer

PAIRS: tuple[Pairs, ...] = ("seen", "unseen", "unseen nouns")
FOURS = 250


@dataclass(frozen=True, kw_only=True)
class PronounScore:
    """How often the model was right about fours of one sort.

    `accuracy`: the thing that is meant got more than the other one of the sentence. `best`: more
    than every other word. `fours`: the share of fours without a mistake.
    """

    pairs: Pairs
    asked: Asked
    total: int
    correct: int
    accuracy: float
    best: float
    fours: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def pronoun_scores(
    model: TextTransformer, *, fours: int = FOURS, seed: int = 0
) -> tuple[PronounScore, ...]:
    """Known pairs of nouns, unseen pairs, unseen nouns; each asked for by noun and by place."""
    return tuple(
        pronoun_score(model, sentences(pairs, fours, seed), pairs, asked)
        for asked in QUESTIONS
        for pairs in PAIRS
    )


def pronoun_score(
    model: TextTransformer, about: Sequence[PronounSentence], pairs: Pairs, asked: Asked
) -> PronounScore:
    """The score over whole fours of sentences."""
    logits, (right, other) = answer_logits(model, about, asked), referents(model, about, asked)
    preferred = _at(logits, right) > _at(logits, other)
    correct, total = int(preferred.sum()), len(about)
    return PronounScore(
        pairs=pairs,
        asked=asked,
        total=total,
        correct=correct,
        accuracy=correct / total,
        best=float((logits.argmax(dim=1) == right).double().mean()),
        fours=float(preferred.reshape(-1, 4).all(dim=1).double().mean()),
    )


@torch.no_grad()
def answer_logits(
    model: TextTransformer, about: Sequence[PronounSentence], asked: Asked
) -> Float[Tensor, "sentences words"]:
    """What the model gives every word as the answer to a question about each sentence.

    A bidirectional model fills in a hidden answer; a causal one goes on after the question.
    """
    ids, padding_mask, places = question_ids(model, about, asked)
    logits: Tensor = model(ids, padding_mask)
    return logits[torch.arange(len(ids)), places]


def question_ids(
    model: TextTransformer, about: Sequence[PronounSentence], asked: Asked
) -> tuple[Int[Tensor, "sentences tokens"], Tensor, Int[Tensor, " sentences"]]:
    """Sentences and questions with a hidden answer; where words are; where the model answers."""
    tokenizer = WordTokenizer(model.config.vocabulary)
    ids, padding_mask = tokenizer.pad(
        [tokenizer.encode(one.told(asked, MASK)).ids for one in about]
    )
    places = (ids == tokenizer.mask).int().argmax(dim=1)
    return ids, padding_mask, places - 1 if model.config.causal else places


def referents(
    model: TextTransformer, about: Sequence[PronounSentence], asked: Asked
) -> tuple[Int[Tensor, " sentences"], Int[Tensor, " sentences"]]:
    """The answers for the thing that is meant and for the other, as places in the vocabulary."""
    place_of = WordTokenizer(model.config.vocabulary).place_of
    right, other = [], []
    for one in about:
        if one.referent is None or one.other is None:
            raise InputError(f"nothing decides what is meant in {one.sentence!r}")
        right.append(place_of[one.called(one.referent, asked)])
        other.append(place_of[one.called(one.other, asked)])
    return torch.tensor(right), torch.tensor(other)


def _at(logits: Tensor, words: Tensor) -> Tensor:
    return logits.gather(1, words[:, None])[:, 0]
