"""Learning from sentences: what is hidden, what is asked, and the training as a whole."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clearhead.data.text.sentences import Text, training_texts
from clearhead.data.text.words import split_words
from clearhead.errors import ConfigError
from clearhead.models.build import load
from clearhead.models.config import TextConfig
from clearhead.models.pretrained import RUN
from clearhead.training import loop
from clearhead.training.config import TextTrainConfig
from clearhead.training.distributed import World
from clearhead.training.state import TrainingState
from clearhead.training.step import NO_LABEL, train_step
from clearhead.training.text import TextBatches, encode_texts, fitted, next_words, text_data
from clearhead.training.text_job import run_text_job

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
SMALL = TextConfig(embed_dim=14, num_heads=7, depth=1)
DOG = "the dog hit the ball because it was hungry ."


def config(**changes: Any) -> TextTrainConfig:
    settings: dict[str, Any] = {"model": SMALL, "texts": 301, **changes}
    return fitted(TextTrainConfig(**settings))


def read(settings: TextTrainConfig, ids: Tensor, labels: Tensor) -> list[list[tuple[str, str]]]:
    """Word and label (or nothing) at every place."""
    words = (*settings.model.vocabulary, "")
    return [
        [
            (words[word], words[label] if label != NO_LABEL else "")
            for word, label in zip(row, told, strict=True)
        ]
        for row, told in zip(ids.tolist(), labels.tolist(), strict=True)
    ]


def asked(settings: TextTrainConfig, texts: list[Text]) -> list[list[tuple[str, str]]]:
    """What is given and what should be answered, for these texts in their order."""
    data = encode_texts(texts, settings)
    batches = TextBatches(data, settings, ALONE)
    (ids, mask), labels = batches.batch(0, torch.arange(len(texts)))
    assert mask.equal(data.padding_mask)
    return read(settings, ids, labels)


def test_the_answer_alone_is_hidden_when_all_is_asked() -> None:
    settings = config(batch_size=2, asked=1.0, hidden_ends=0.0, asked_pronouns=0.0)
    told = [Text(f"{DOG} which one ? the dog .", ("dog",)), Text(f"{DOG}", ("dog", "first"))]
    with_answer, without = asked(settings, told)
    answers = [place for place, (_, label) in enumerate(with_answer) if label]
    assert answers == [14]
    assert with_answer[14] == ("[mask]", "dog")
    assert with_answer[8] == ("hungry", "")
    assert all(label == "" for _, label in without)


def test_the_deciding_word_is_hidden_instead_where_the_settings_say_so() -> None:
    settings = config(batch_size=1, asked=1.0, hidden_ends=1.0, asked_pronouns=1.0)
    (found,) = asked(settings, [Text(f"{DOG} first or second ? the first .", ("first",))])
    assert [place for place, (_, label) in enumerate(found) if label] == [8]
    assert found[8] == ("[mask]", "hungry")
    assert found[15] == ("first", "")


def test_at_the_pronoun_the_label_is_what_it_stands_for() -> None:
    settings = config(batch_size=400, asked=1.0, hidden_ends=0.0, asked_pronouns=1.0)
    plain = Text(DOG, ("dog", "first"))
    place = Text(f"the cow sat . {DOG} first or second ? the first .", ("first",))
    found = asked(settings, [plain, place] * 200)
    alone = [row[6] for row in found[::2]]
    assert {label for _, label in alone} == {"dog", "first"}
    assert {word for word, _ in alone} == {"it", "[mask]"}
    assert 60 < sum(word == "it" for word, _ in alone) < 140
    assert 60 < sum(label == "dog" for _, label in alone) < 140
    for row in found[1::2]:
        assert row[10][1] == "first"
        assert row[19] == ("[mask]", "first")
        assert sum(label != "" for _, label in row) == 2


def test_what_nothing_decides_is_not_asked_at_the_pronoun() -> None:
    settings = config(batch_size=50, asked=1.0, hidden_ends=1.0, asked_pronouns=1.0)
    for row in asked(settings, [Text("the dog hit the ball because it was old .")] * 50):
        assert row[6] != ("it", "it")
        assert row[6][1] in ("", "it")  # hidden as any other word at most


def test_without_a_pronoun_the_answer_alone_is_hidden() -> None:
    settings = config(batch_size=50, asked=1.0, hidden_ends=1.0, asked_pronouns=1.0)
    for row in asked(settings, [Text("the dog was old . which one ? the dog .")] * 50):
        assert [word for word, _ in row] == "the dog was old . which one ? the [mask] .".split()
        assert [label for _, label in row if label] == ["dog"]


def test_loss_and_accuracy_count_what_was_asked_and_no_other_word() -> None:
    settings = config(batch_size=101)
    state = TrainingState.start(settings, ALONE.device)
    inputs, labels = TextBatches(text_data(settings), settings, ALONE).batch(0, torch.arange(301))
    with torch.no_grad():
        logits = state.model(*inputs)
    there = labels != NO_LABEL
    expected = torch.nn.functional.cross_entropy(logits[there], labels[there])
    told = train_step(
        state.model, state, (inputs, labels), settings, ALONE, total_steps=9, bfloat16=False
    )
    assert told == pytest.approx(float(expected), abs=1e-6)
    assert state.sums.answers == int(there.sum()) < int(inputs[1].sum())
    assert state.sums.correct == int((logits.argmax(dim=-1) == labels)[there].sum())
    assert state.sums.loss == pytest.approx(float(expected) * int(there.sum()), rel=1e-5)


def test_in_other_texts_words_are_hidden_by_chance_and_padding_never() -> None:
    settings = config(texts=2000, batch_size=2000, asked=0.0, hidden=0.25)
    data = text_data(settings)
    (ids, mask), labels = TextBatches(data, settings, ALONE).batch(0, torch.arange(2000))
    hidden = labels != NO_LABEL
    assert not hidden[~mask].any()
    assert abs(float(hidden[mask].double().mean()) - 0.25) < 0.01
    assert ids[hidden].eq(settings.model.vocabulary.index("[mask]")).all()
    assert labels[hidden].equal(data.ids[hidden])
    assert ids[~hidden].equal(data.ids[~hidden])


def test_a_causal_model_learns_each_next_word() -> None:
    settings = config(model=TextConfig(causal=True), batch_size=2)
    found = asked(settings, [Text("the cat sat ."), Text("the dog hit the cow .")])
    assert [label for _, label in found[0]] == ["cat", "sat", ".", "", "", ""]
    assert [label for _, label in found[1]] == ["dog", "hit", "the", "cow", ".", ""]
    ids = torch.tensor([[3, 5, 7, 0]])
    assert next_words(ids, torch.tensor([[True, True, True, False]])).tolist() == [
        [5, 7, NO_LABEL, NO_LABEL]
    ]


def test_batches_follow_from_seed_and_step_alone_and_share_out() -> None:
    settings = config(batch_size=53, seed=5)
    data = text_data(settings)
    one, other = (TextBatches(data, settings, ALONE) for _ in range(2))
    assert one.per_epoch == 5
    order = one.order(1)
    assert sorted(order.tolist()) == list(range(301))
    whole = one.batch(7, order)
    again = other.batch(7, order)
    assert whole[0][0].equal(again[0][0])
    assert whole[1].equal(again[1])
    assert not whole[1].equal(one.batch(2, order)[1])  # the same texts, hidden elsewhere
    parts = [
        TextBatches(data, settings, World(rank=rank, size=3, device=torch.device("cpu"))).batch(
            7, order
        )
        for rank in range(3)
    ]
    assert torch.cat([part[0][0] for part in parts]).equal(whole[0][0])
    assert torch.cat([part[1] for part in parts]).equal(whole[1])


def test_texts_are_where_the_data_say() -> None:
    settings = config()
    data, texts = text_data(settings), training_texts(301, settings.seed)
    assert len(data) == 301
    for row, text in enumerate(texts):
        words = split_words(text.words)
        assert int(data.padding_mask[row].sum()) == len(words)
        if "it" in words:
            assert int(data.pronoun[row]) == words.index("it")
        asked_at = data.answers[row].nonzero().flatten().tolist()
        assert asked_at == ([words.index("?") + 2] if "?" in words else [])


def test_a_context_that_is_too_short_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"context_length \(9\) is too short"):
        text_data(config(model=TextConfig(context_length=9)))


@pytest.mark.parametrize("name", ["hidden", "asked", "hidden_ends", "asked_pronouns"])
def test_shares_lie_between_nothing_and_all(name: str) -> None:
    for value in (-0.1, 1.1, float("nan")):
        settings: dict[str, Any] = {name: value}
        with pytest.raises(ConfigError, match=f"{name} must lie in 0 … 1"):
            TextTrainConfig(**settings)
    with pytest.raises(ConfigError, match="texts must be at least 1"):
        TextTrainConfig(texts=0)


@pytest.mark.parametrize("causal", [False, True])
def test_a_training_ends_with_a_model_and_its_scores(causal: bool, tmp_path: Path) -> None:
    settings = TextTrainConfig(
        model=TextConfig(embed_dim=14, num_heads=7, depth=1, causal=causal), texts=301, epochs=2
    )
    done = run_text_job(settings, tmp_path / "one", device="cpu")
    again = run_text_job(settings, tmp_path / "two", device="cpu")
    assert done.scores is not None
    assert done.scores == again.scores
    for name, tensor in done.trained.model.state_dict().items():
        assert tensor.equal(again.trained.model.state_dict()[name])
    model = load(tmp_path / "one")
    assert model.config.causal is causal
    assert "hungry" in model.config.vocabulary
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert [score.to_dict() for score in done.scores] == metrics["all"]
    assert metrics["test"]["accuracy"] == metrics["all"][4]["accuracy"]
    assert set(json.loads((tmp_path / "one" / RUN).read_text())) == {"config", "texts"}


def test_a_bidirectional_training_starts_from_a_causal_model(tmp_path: Path) -> None:
    causal = TextConfig(embed_dim=14, num_heads=7, depth=1, causal=True)
    run_text_job(TextTrainConfig(model=causal, texts=301, epochs=1), tmp_path / "causal")
    on = TextTrainConfig(
        model=SMALL,
        texts=301,
        epochs=1,
        start=str(tmp_path / "causal"),
        learning_rate=1e-12,
        matrix_learning_rate=1e-12,
    )
    first = load(tmp_path / "causal")
    went_on = run_text_job(on, tmp_path / "both").trained.model
    assert not went_on.config.causal
    for name, tensor in went_on.state_dict().items():
        torch.testing.assert_close(tensor, first.state_dict()[name], rtol=0, atol=1e-9)
    other = TextConfig(embed_dim=28, num_heads=7, depth=1)
    with pytest.raises(ConfigError, match="other model settings"):
        run_text_job(
            TextTrainConfig(model=other, texts=301, start=str(tmp_path / "causal")),
            tmp_path / "third",
        )


def test_a_stopped_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TextTrainConfig(model=SMALL, texts=301, epochs=2)
    whole = run_text_job(settings, tmp_path / "whole", device="cpu")
    steps = []

    def interrupted(*args: object, **options: object) -> float:
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "train_step", interrupted)
    stopped = run_text_job(settings, tmp_path / "cut", device="cpu")
    assert stopped.scores is None
    assert stopped.trained.step == 3
    resumed = run_text_job(settings, tmp_path / "cut", device="cpu")
    for name, tensor in whole.trained.model.state_dict().items():
        assert tensor.equal(resumed.trained.model.state_dict()[name])
