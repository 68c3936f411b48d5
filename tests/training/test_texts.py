"""Masked words, cloze texts and referents as inputs and labels of a text model."""

from typing import Any

import pytest
import torch
from torch import Tensor

from clearhead.data import TrainingText, training_texts
from clearhead.data.tokenizer import split_words
from clearhead.errors import ConfigError
from clearhead.models import TextConfig
from clearhead.training import TextTrainConfig, initial_model
from clearhead.training.batches import NO_LABEL
from clearhead.training.distributed import ALONE, World
from clearhead.training.loop import train_step
from clearhead.training.start import initial_state
from clearhead.training.texts import (
    TextBatches,
    config_with_vocabulary,
    encode_texts,
    generate_texts,
    next_words,
)

SMALL = TextConfig(embed_dim=14, num_heads=7, depth=1)
DOG = "the dog hit the ball because it was hungry ."


def config(**changes: Any) -> TextTrainConfig:
    settings: dict[str, Any] = {"model": SMALL, "texts": 301, **changes}
    return config_with_vocabulary(TextTrainConfig(**settings))


def decoded(settings: TextTrainConfig, ids: Tensor, labels: Tensor) -> list[list[tuple[str, str]]]:
    """Word and label (or nothing) at every position."""
    words = (*settings.model.vocabulary, "")
    return [
        [
            (words[word], words[label] if label != NO_LABEL else "")
            for word, label in zip(row, row_labels, strict=True)
        ]
        for row, row_labels in zip(ids.tolist(), labels.tolist(), strict=True)
    ]


def examples(settings: TextTrainConfig, texts: list[TrainingText]) -> list[list[tuple[str, str]]]:
    """Inputs and labels of these texts, in their order."""
    data = encode_texts(texts, settings)
    batches = TextBatches(data, settings, ALONE)
    (ids, mask), labels, _ = batches.batch(0, torch.arange(len(texts)))
    assert mask.equal(data.padding_mask)
    return decoded(settings, ids, labels)


def test_a_cloze_masks_the_answer_alone() -> None:
    settings = config(batch_size=2, cloze_prob=1.0, cue_prob=0.0, referent_prob=0.0)
    texts = [
        TrainingText(f"{DOG} which one ? the dog .", ("dog",)),
        TrainingText(f"{DOG}", ("dog", "first")),
    ]
    with_answer, without = examples(settings, texts)
    answers = [position for position, (_, label) in enumerate(with_answer) if label]
    assert answers == [14]
    assert with_answer[14] == ("[mask]", "dog")
    assert with_answer[8] == ("hungry", "")
    assert all(label == "" for _, label in without)


def test_a_cloze_masks_the_cue_instead_with_probability_cue_prob() -> None:
    settings = config(batch_size=1, cloze_prob=1.0, cue_prob=1.0, referent_prob=1.0)
    (row,) = examples(settings, [TrainingText(f"{DOG} first or second ? the first .", ("first",))])
    assert [position for position, (_, label) in enumerate(row) if label] == [8]
    assert row[8] == ("[mask]", "hungry")
    assert row[15] == ("first", "")


def test_the_label_of_a_pronoun_is_its_referent() -> None:
    settings = config(batch_size=400, cloze_prob=1.0, cue_prob=0.0, referent_prob=1.0)
    plain = TrainingText(DOG, ("dog", "first"))
    place = TrainingText(f"the cow sat . {DOG} first or second ? the first .", ("first",))
    rows = examples(settings, [plain, place] * 200)
    alone = [row[6] for row in rows[::2]]
    assert {label for _, label in alone} == {"dog", "first"}
    assert {word for word, _ in alone} == {"it", "[mask]"}
    assert 60 < sum(word == "it" for word, _ in alone) < 140
    assert 60 < sum(label == "dog" for _, label in alone) < 140
    for row in rows[1::2]:
        assert row[10][1] == "first"
        assert row[19] == ("[mask]", "first")
        assert sum(label != "" for _, label in row) == 2


def test_a_pronoun_without_referent_has_no_label_of_its_own() -> None:
    settings = config(batch_size=50, cloze_prob=1.0, cue_prob=1.0, referent_prob=1.0)
    for row in examples(settings, [TrainingText("the dog hit the ball because it was old .")] * 50):
        assert row[6] != ("it", "it")
        assert row[6][1] in ("", "it")  # masked as any other word


def test_a_cloze_without_a_pronoun_masks_the_answer_alone() -> None:
    settings = config(batch_size=50, cloze_prob=1.0, cue_prob=1.0, referent_prob=1.0)
    for row in examples(settings, [TrainingText("the dog was old . which one ? the dog .")] * 50):
        assert [word for word, _ in row] == "the dog was old . which one ? the [mask] .".split()
        assert [label for _, label in row if label] == ["dog"]


def test_loss_and_accuracy_count_labelled_positions_only() -> None:
    settings = config(batch_size=101)
    model = initial_model(settings)
    state = initial_state(settings, model, total_steps=9)
    batch = TextBatches(generate_texts(settings), settings, ALONE).batch(0, torch.arange(101))
    inputs, labels, _ = batch
    with torch.no_grad():
        logits = model(*inputs)
    labelled = labels != NO_LABEL
    expected = torch.nn.functional.cross_entropy(logits[labelled], labels[labelled])
    loss = train_step(model, state, batch)
    assert loss == pytest.approx(float(expected), abs=1e-6)
    assert state.sums.labels == int(labelled.sum()) < int(inputs[1].sum())
    assert state.sums.correct == int((logits.argmax(dim=-1) == labels)[labelled].sum())
    assert state.sums.loss == pytest.approx(float(expected) * int(labelled.sum()), rel=1e-5)


def test_without_a_cloze_words_are_masked_by_chance_and_padding_never() -> None:
    settings = config(texts=2000, batch_size=2000, cloze_prob=0.0, mask_prob=0.25)
    data = generate_texts(settings)
    (ids, mask), labels, _ = TextBatches(data, settings, ALONE).batch(0, torch.arange(2000))
    masked = labels != NO_LABEL
    assert not masked[~mask].any()
    assert abs(float(masked[mask].double().mean()) - 0.25) < 0.01
    assert ids[masked].eq(settings.model.vocabulary.index("[mask]")).all()
    assert labels[masked].equal(data.ids[masked])
    assert ids[~masked].equal(data.ids[~masked])


def test_the_labels_of_a_causal_model_are_the_next_words() -> None:
    settings = config(model=TextConfig(causal=True), batch_size=2)
    first, second = examples(
        settings, [TrainingText("the cat sat ."), TrainingText("the dog hit the cow .")]
    )
    assert [label for _, label in first] == ["cat", "sat", ".", "", "", ""]
    assert [label for _, label in second] == ["dog", "hit", "the", "cow", ".", ""]
    ids = torch.tensor([[3, 5, 7, 0]])
    assert next_words(ids, torch.tensor([[True, True, True, False]])).tolist() == [
        [5, 7, NO_LABEL, NO_LABEL]
    ]


def test_batches_depend_on_seed_and_step_alone_and_are_shared_by_processes() -> None:
    settings = config(seed=5)
    data, rows = generate_texts(settings), torch.randperm(301)[:53]
    first, second = (TextBatches(data, settings, ALONE) for _ in range(2))
    whole = first.batch(7, rows)
    again = second.batch(7, rows)
    assert whole.inputs[0].equal(again.inputs[0])
    assert whole.labels.equal(again.labels)
    assert not whole.labels.equal(first.batch(2, rows).labels)  # the same texts, masked elsewhere
    parts = [
        TextBatches(data, settings, World(rank, 3, torch.device("cpu"))).batch(7, rows)
        for rank in range(3)
    ]
    for index in range(2):
        whole_input = whole.inputs[index]
        assert torch.cat([part.inputs[index] for part in parts]).equal(whole_input)
    assert torch.cat([part.labels for part in parts]).equal(whole.labels)


def test_texts_are_encoded_with_pronouns_and_answers() -> None:
    settings = config()
    data, texts = generate_texts(settings), training_texts(301, settings.seed)
    assert len(data) == 301
    for row, text in enumerate(texts):
        words = split_words(text.text)
        assert int(data.padding_mask[row].sum()) == len(words)
        if "it" in words:
            assert int(data.pronoun[row]) == words.index("it")
        answers = data.answers[row].nonzero().flatten().tolist()
        assert answers == ([words.index("?") + 2] if "?" in words else [])


def test_a_context_that_is_too_short_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"context_length \(9\) is too short"):
        generate_texts(config(model=TextConfig(context_length=9)))
