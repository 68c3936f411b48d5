"""Associative recall: pairs of a key and a value, then keys alone, whose values are predicted.

(Arora et al. 2023, "Zoology", arXiv 2312.04927; in language models the induction heads of Olsson et
al. 2022, arXiv 2209.11895, do this.) The keys and values of each text are drawn anew, without
repetition, so that neither a word nor its position predicts a value, and counting the values of the
text finds it in one of `NUM_PAIRS` cases. No value follows its query, or the last ones would be
known by elimination.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from clearhead.models.config import TextConfig
from clearhead.models.text import TextTransformer
from clearhead.training.batches import generator_for

NUM_PAIRS, NUM_QUERIES, NUM_WORDS = 4, 4, 8
"""Pairs and queries of a text; keys, and values, of the vocabulary"""
VOCABULARY = tuple(f"{kind}{number}" for kind in "kv" for number in range(NUM_WORDS))
FIRST_QUERY = 2 * NUM_PAIRS
LENGTH = FIRST_QUERY + NUM_QUERIES
MODEL = TextConfig(vocabulary=VOCABULARY, context_length=LENGTH, embed_dim=32, depth=2)


@dataclass(frozen=True, eq=False)
class RecallTexts:
    """Texts of pairs and queries.

    Attributes:
        ids: Key, value, key, value, …, then the keys of the queries.
        answers: The id of the value of each query.
        pairs: The number of the pair, from 0, that each query is about; its value is token
            `2 * pairs + 1`.
    """

    ids: Int[Tensor, "texts tokens"]
    answers: Int[Tensor, "texts queries"]
    pairs: Int[Tensor, "texts queries"]


def recall_texts(split: str, count: int, seed: int) -> RecallTexts:
    """Texts drawn with `seed`; "train" and "test" have different ones."""
    generator = generator_for("recall", split, seed)
    keys, values = (
        torch.rand(count, NUM_WORDS, generator=generator).argsort(dim=1)[:, :NUM_PAIRS] + first
        for first in (0, NUM_WORDS)
    )
    pairs = torch.rand(count, NUM_PAIRS, generator=generator).argsort(dim=1)[:, :NUM_QUERIES]
    paired = torch.stack([keys, values], dim=2).flatten(1)
    ids = torch.cat([paired, keys.gather(1, pairs)], dim=1)
    return RecallTexts(ids, values.gather(1, pairs), pairs)


@torch.no_grad()
def recall_accuracy(model: TextTransformer, texts: RecallTexts) -> float:
    """Per cent of the queries whose value has the largest logit."""
    predicted = model(texts.ids)[:, FIRST_QUERY:].argmax(dim=-1)
    return 100 * float((predicted == texts.answers).double().mean())
