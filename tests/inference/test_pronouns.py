"""Pronoun scores of models whose predictions are known because they are written by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clearhead.data import PronounSentence, pronoun_sentences, vocabulary
from clearhead.data.sentences import KINDS
from clearhead.data.tokenizer import split_words
from clearhead.errors import InputError
from clearhead.inference import pronoun_score, pronoun_scores
from clearhead.models.config import TextConfig
from clearhead.models.text import TextTransformer

WORDS = vocabulary()
KIND_OF = {
    word: name
    for name, kind in KINDS.items()
    for word in (*kind.nouns, *kind.unseen_nouns, *kind.qualities)
}


class Scripted(TextTransformer):
    """Gives logit 1 to the word that `answer` returns, and 2 to "bank" if it is hesitant."""

    def __init__(
        self,
        answer: Callable[[tuple[str, ...]], str],
        *,
        causal: bool = False,
        hesitant: bool = False,
    ) -> None:
        nn.Module.__init__(self)
        self.config = TextConfig(vocabulary=WORDS, causal=causal)
        self.answer = answer
        self.hesitant = hesitant

    def forward(self, ids: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        logits = torch.zeros(*ids.shape, len(WORDS))
        for row, word_ids in enumerate(ids.tolist()):
            words = tuple(WORDS[word] for word in word_ids)
            position = words.index("[mask]") - self.config.causal
            logits[row, position, WORDS.index(self.answer(words))] = 1.0
        if self.hesitant:
            logits[..., WORDS.index("bank")] = 2.0
        return logits


def by_meaning(words: tuple[str, ...]) -> str:
    subject, thing, quality = words[1], words[4], words[8]
    noun = subject if KIND_OF[subject] == KIND_OF[quality] else thing
    if "second" not in words:
        return noun
    return "first" if noun == subject else "second"


def by_position(words: tuple[str, ...]) -> str:
    return "first" if "second" in words else words[1]


@pytest.mark.parametrize("causal", [False, True])
def test_choosing_by_position_gives_half_of_the_nouns_and_no_complete_set(causal: bool) -> None:
    scores = pronoun_scores(Scripted(by_meaning, causal=causal), num_sets=7)
    assert [(score.question, score.pairs) for score in scores] == [
        (question, pairs)
        for question in ("noun", "place")
        for pairs in ("seen", "unseen", "unseen nouns")
    ]
    for score in scores:
        assert (score.total, score.correct, score.accuracy, score.set_accuracy) == (28, 28, 1, 1)
        assert score.top1_accuracy == 1.0
    for score in pronoun_scores(Scripted(by_position, causal=causal), num_sets=7):
        assert (score.correct, score.accuracy, score.set_accuracy) == (14, 0.5, 0.0)
        assert score.top1_accuracy == 0.5


def test_a_set_is_right_if_its_four_sentences_are() -> None:
    items = pronoun_sentences("seen", 5, 0)
    second = {tuple(split_words(item.text)) for item in items[4:8]}

    def answer(words: tuple[str, ...]) -> str:
        return by_position(words) if words[:10] in second else by_meaning(words)

    score = pronoun_score(Scripted(answer), items, "seen", "noun")
    assert (score.correct, score.set_accuracy) == (18, 0.8)


def test_accuracy_compares_the_two_nouns_and_top1_all_words() -> None:
    model = Scripted(by_meaning, hesitant=True)
    score = pronoun_score(model, pronoun_sentences("seen", 5, 0), "seen", "noun")
    assert (score.accuracy, score.top1_accuracy) == (1.0, 0.0)
    assert score.to_dict()["top1_accuracy"] == 0.0


def test_a_sentence_without_referent_has_no_score() -> None:
    item = PronounSentence(subject="dog", verb="hit", object="ball", quality="old", referent=None)
    with pytest.raises(InputError, match="has no referent"):
        pronoun_score(Scripted(by_meaning), [item], "seen", "noun")
