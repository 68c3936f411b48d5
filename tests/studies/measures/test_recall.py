"""Associative recall: answers by an independent look-up, and no shortcut by counting."""

import torch

from clearhead.models import TextTransformer, build
from clearhead.studies.measures.tasks import (
    FIRST_QUERY,
    NUM_PAIRS,
    NUM_WORDS,
    RECALL_MODEL,
    VOCABULARY,
    recall_accuracy,
    recall_texts,
)

COUNT = 400


def test_answers_are_the_values_that_follow_the_keys_in_the_text() -> None:
    texts = recall_texts("test", COUNT, 3)
    for ids, answers, pairs in zip(
        texts.ids.tolist(), texts.answers.tolist(), texts.pairs.tolist(), strict=True
    ):
        words = [VOCABULARY[x] for x in ids]
        values = dict(zip(words[:FIRST_QUERY:2], words[1:FIRST_QUERY:2], strict=True))
        assert len(values) == len(set(values.values())) == NUM_PAIRS
        assert {word[0] for word in values} == {"k"}
        assert {word[0] for word in values.values()} == {"v"}
        assert [values[word] for word in words[FIRST_QUERY:]] == [VOCABULARY[x] for x in answers]
        assert [ids[2 * pair + 1] for pair in pairs] == answers


def test_neither_position_nor_frequency_predicts_an_answer() -> None:
    texts = recall_texts("test", 4_000, 3)
    for query in range(texts.pairs.shape[1]):
        position = torch.bincount(texts.pairs[:, query], minlength=NUM_PAIRS) / 4_000
        assert (position - 1 / NUM_PAIRS).abs().max() < 0.03
    word = torch.bincount(texts.answers.flatten() - NUM_WORDS, minlength=NUM_WORDS)
    assert (word / word.sum() - 1 / NUM_WORDS).abs().max() < 0.01
    key = texts.ids[:, FIRST_QUERY]
    same_key = texts.answers[key == key[0], 0]  # the values of one key are as varied
    assert torch.bincount(same_key).max() / len(same_key) < 0.2


def test_texts_depend_on_the_seed_and_the_split() -> None:
    one, again = (recall_texts("train", COUNT, 7) for _ in range(2))
    assert torch.equal(one.ids, again.ids)
    for other in (recall_texts("train", COUNT, 8), recall_texts("test", COUNT, 7)):
        assert not torch.equal(one.ids, other.ids)
    test = {tuple(x) for x in recall_texts("test", COUNT, 7).ids.tolist()}
    assert not test & {tuple(x) for x in one.ids.tolist()}


def test_accuracy_is_that_of_the_largest_logit_at_the_queries() -> None:
    texts = recall_texts("test", 20, 1)
    torch.manual_seed(0)
    model: TextTransformer = build(RECALL_MODEL).eval()
    logits = torch.zeros(20, texts.ids.shape[1], len(VOCABULARY))
    logits[:, FIRST_QUERY:].scatter_(2, texts.answers[:, :, None], 1.0)
    logits[0, FIRST_QUERY:] = -logits[0, FIRST_QUERY:]
    model.head.register_forward_hook(lambda *_: logits)
    assert recall_accuracy(model, texts) == 95.0
