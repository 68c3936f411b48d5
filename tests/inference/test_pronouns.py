"""Scores of text models, on models whose answers are known because they are written by hand."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from clearhead.data.text.lexicon import KINDS
from clearhead.data.text.sentences import Asked, PronounSentence, sentences, vocabulary
from clearhead.errors import InputError
from clearhead.inference.pronouns import (
    answer_logits,
    pronoun_score,
    pronoun_scores,
    question_ids,
    referents,
)
from clearhead.models.config import TextConfig
from clearhead.models.text import TextTransformer

WORDS = vocabulary()
KIND_OF = {
    word: name
    for name, kind in KINDS.items()
    for word in (*kind.nouns, *kind.unseen_nouns, *kind.qualities)
}
Answer = Callable[[tuple[str, ...]], str]


class Scripted(TextTransformer):
    """Says, where it must answer, what `answer` makes of the words."""

    def __init__(self, answer: Answer, *, causal: bool = False) -> None:
        nn.Module.__init__(self)
        self.config = TextConfig(vocabulary=WORDS, causal=causal)
        self.answer = answer

    def forward(self, ids: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        logits = torch.zeros(*ids.shape, len(WORDS))
        for row, some in enumerate(ids.tolist()):
            words = tuple(WORDS[word] for word in some)
            place = words.index("[mask]") - self.config.causal
            logits[row, place, WORDS.index(self.answer(words))] = 1.0
        return logits


def knowing(words: tuple[str, ...]) -> str:
    subject, thing, quality = words[1], words[4], words[8]
    noun = subject if KIND_OF[subject] == KIND_OF[quality] else thing
    if "second" not in words:
        return noun
    return "first" if noun == subject else "second"


def by_place(words: tuple[str, ...]) -> str:
    return "first" if "second" in words else words[1]


@pytest.mark.parametrize("causal", [False, True])
def test_who_knows_is_always_right_and_who_goes_by_place_in_half(causal: bool) -> None:
    known = pronoun_scores(Scripted(knowing, causal=causal), fours=7)
    assert [(score.asked, score.pairs) for score in known] == [
        (asked, pairs)
        for asked in ("noun", "place")
        for pairs in ("seen", "unseen", "unseen nouns")
    ]
    for score in known:
        assert (score.total, score.correct, score.accuracy, score.fours) == (28, 28, 1.0, 1.0)
        assert score.best == 1.0
    for score in pronoun_scores(Scripted(by_place, causal=causal), fours=7):
        assert (score.correct, score.accuracy, score.fours) == (14, 0.5, 0.0)
        assert score.best == 0.5


def test_to_prefer_is_not_to_say() -> None:
    """A model that says neither noun, but the right one rather than the other."""

    class Hesitant(Scripted):
        def forward(self, ids: Tensor, padding_mask: Tensor | None = None) -> Tensor:
            logits = super().forward(ids, padding_mask)
            logits[..., WORDS.index("bank")] = 2.0
            return logits

    score = pronoun_score(Hesitant(knowing), sentences("seen", 5, 0), "seen", "noun")
    assert (score.accuracy, score.best) == (1.0, 0.0)


@pytest.mark.parametrize("asked", ["noun", "place"])
def test_a_causal_model_answers_one_word_earlier(asked: Literal["noun", "place"]) -> None:
    about = sentences("unseen", 3, 0)
    for causal in (False, True):
        ids, mask, places = question_ids(Scripted(knowing, causal=causal), about, asked)
        hidden = (ids == WORDS.index("[mask]")).nonzero()[:, 1]
        assert places.equal(hidden - int(causal))
        assert mask.all()
        logits = answer_logits(Scripted(knowing, causal=causal), about, asked)
        assert logits.argmax(dim=1).equal(referents(Scripted(knowing), about, asked)[0])


def test_answers_are_nouns_or_places() -> None:
    (one,) = (x for x in sentences("seen", 1, 0)[:1])
    for asked in ("noun", "place"):
        right, other = referents(Scripted(knowing), [one], _asked(asked))
        assert WORDS[int(right)] == one.called(str(one.referent), _asked(asked))
        assert WORDS[int(other)] == one.called(str(one.other), _asked(asked))


def test_what_nothing_decides_has_no_score() -> None:
    one = PronounSentence(subject="dog", verb="hit", object="ball", quality="old", referent=None)
    with pytest.raises(InputError, match="nothing decides what is meant"):
        referents(Scripted(knowing), [one], "noun")


def _asked(name: str) -> Asked:
    return "noun" if name == "noun" else "place"
