"""Accuracy of text models at pronoun resolution, on counterbalanced sets of four sentences.

The sentences of a set share their words: two properties, each with its two nouns in both orders. A
model that goes by a word's position, or by its frequency, gets half of a set right.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.data import PronounSentence, WordTokenizer, pronoun_sentences
from clearhead.data.sentences import QUESTIONS, NounSplit, Question
from clearhead.data.tokenizer import MASK
from clearhead.errors import InputError
from clearhead.models.text import TextTransformer

PAIRS: tuple[NounSplit, ...] = ("seen", "unseen", "unseen nouns")
NUM_SETS = 250


@dataclass(frozen=True, kw_only=True)
class PronounScore:
    """Accuracy of a text model on counterbalanced sets.

    Attributes:
        pairs: Whether the pairs of nouns occurred in training.
        question: Whether the answer is a noun or its position, first or second.
        total: Number of sentences.
        correct: Sentences whose referent got a larger logit than the other noun.
        accuracy: `correct / total`.
        top1_accuracy: Share of sentences whose referent got the largest logit of all words.
        set_accuracy: Share of sets with all four sentences correct.
    """

    pairs: NounSplit
    question: Question
    total: int
    correct: int
    accuracy: float
    top1_accuracy: float
    set_accuracy: float

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON types.

        Returns:
            All fields by name.
        """
        return asdict(self)


def pronoun_scores(
    model: TextTransformer, *, num_sets: int = NUM_SETS, seed: int = 0
) -> tuple[PronounScore, ...]:
    """Scores on new sentences: both questions, with seen pairs, unseen pairs and unseen nouns.

    Args:
        model: A bidirectional or a causal model.
        num_sets: Counterbalanced sets, of four sentences each, for each kind of noun pairs.
        seed: Another seed draws other sentences.

    Returns:
        One score for each question and kind of noun pairs.
    """
    return tuple(
        pronoun_score(model, pronoun_sentences(pairs, num_sets, seed), pairs, question)
        for question in QUESTIONS
        for pairs in PAIRS
    )


@torch.no_grad()
def pronoun_score(
    model: TextTransformer, items: Sequence[PronounSentence], pairs: NounSplit, question: Question
) -> PronounScore:
    """The score on whole counterbalanced sets of sentences.

    Args:
        model: A bidirectional model fills in a masked answer, a causal one continues the question.
        items: Sentences, each set's four in a row.
        pairs: The kind of noun pairs in them, for the score.
        question: The question that follows each sentence.

    Returns:
        The score.

    Raises:
        InputError: A sentence has no referent.
    """
    tokenizer = WordTokenizer(model.config.vocabulary)
    answers = []
    for item in items:
        if item.referent is None or item.distractor is None:
            raise InputError(f"the sentence {item.text!r} has no referent; give one that has")
        nouns = (item.referent, item.distractor)
        answers.append([tokenizer.token_ids[item.answer(noun, question)] for noun in nouns])
    ids, padding_mask = tokenizer.pad(
        [tokenizer.encode(item.with_question(question, MASK)).ids for item in items]
    )
    positions = (ids == tokenizer.mask_id).int().argmax(dim=1) - int(model.config.causal)
    logits: Float[Tensor, "sentences words"]
    logits = model(ids, padding_mask)[torch.arange(len(ids)), positions]
    right, wrong = logits.gather(1, torch.tensor(answers)).unbind(dim=1)
    preferred, top1 = right > wrong, logits.argmax(dim=1) == torch.tensor(answers)[:, 0]
    correct, total = int(preferred.sum()), len(items)
    return PronounScore(
        pairs=pairs,
        question=question,
        total=total,
        correct=correct,
        accuracy=correct / total,
        top1_accuracy=float(top1.double().mean()),
        set_accuracy=float(preferred.reshape(-1, 4).all(dim=1).double().mean()),
    )
