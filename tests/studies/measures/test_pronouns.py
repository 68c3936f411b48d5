"""Against sums written out, and on models made so that the result is known."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import clearhead as ch
from clearhead.data import (
    WordTokenizer,
    counterbalanced_set,
    pronoun_sentences,
    vocabulary,
)
from clearhead.models import build
from clearhead.models.config import TextConfig
from clearhead.models.text import TextTransformer
from clearhead.studies.measures import pronouns
from clearhead.studies.measures.pronouns import (
    FIRST,
    MODELS,
    PRONOUN,
    SECOND,
    SPLITS,
    at_answer,
    at_pronoun,
    attention_accuracy,
    noun_weights,
    pronoun_models,
    referent_accuracy,
    referent_preferred,
    resolve_pronouns,
    without_keys,
)
from clearhead.training import TextTrainConfig
from tests.studies.random_models import trial

SENTENCES = pronoun_sentences("unseen", 5, 0)
WORDS = vocabulary()


def untrained(*, causal: bool = False, seed: int = 0) -> TextTransformer:
    torch.manual_seed(seed)
    return build(TextConfig(vocabulary=WORDS, causal=causal)).eval()


def test_positions_are_those_of_the_words() -> None:
    for causal in (False, True):
        model = untrained(causal=causal)
        alone, questions = at_pronoun(model, SENTENCES), at_answer(model, SENTENCES)
        assert alone.position == PRONOUN
        for row, item in enumerate(SENTENCES):
            words = [WORDS[word] for word in alone.ids[row].tolist()]
            assert words[PRONOUN] == "it"
            assert words[int(alone.referent[row])] == item.referent
            assert words[int(alone.distractor[row])] == item.distractor
            assert bool(alone.is_first[row]) == (item.referent == item.subject)
            text = [WORDS[word] for word in questions.ids[row].tolist()]
            assert text[questions.position + causal] == "[mask]"
            assert text[:10] == words


def test_every_set_has_each_noun_as_the_referent_in_each_position_once() -> None:
    batch = at_pronoun(untrained(), counterbalanced_set("dog", "ball", "hit", ("hungry", "round")))
    assert sorted(batch.referent.tolist()) == [FIRST, FIRST, SECOND, SECOND]
    assert batch.is_first.tolist() == [True, False, False, True]


@pytest.mark.parametrize("causal", [False, True])
def test_weights_are_those_of_the_recording(causal: bool) -> None:
    model = untrained(causal=causal)
    for batch in (at_pronoun(model, SENTENCES), at_answer(model, SENTENCES)):
        right, other = noun_weights(model, batch)
        assert right.shape == (2, 4, len(SENTENCES))
        with torch.no_grad(), ch.capture() as recording:
            model(batch.ids)
        for layer, record in enumerate(recording.records):
            for row in range(len(SENTENCES)):
                whole = record.weights[row, :, batch.position]
                assert whole[:, batch.referent[row]].allclose(right[layer, :, row])
                assert whole[:, batch.distractor[row]].allclose(other[layer, :, row])


def test_weights_by_position_prefer_the_referent_in_exactly_half() -> None:
    """The larger weight always on the first noun, on the second, or on neither."""
    batch = at_pronoun(untrained(), SENTENCES)
    first, second = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([0.1, 0.3, 0.5])
    right = torch.where(batch.is_first, first[:, None], second[:, None])[None]
    other = torch.where(batch.is_first, second[:, None], first[:, None])[None]
    assert referent_preferred(right, other).tolist() == [[0.5, 0.5, 0.5, 0.5]]
    assert referent_preferred(other + 0.7, other).tolist() == [[1.0, 1.0, 1.0, 1.0]]


def test_the_mean_of_heads_can_prefer_the_referent_where_no_head_does() -> None:
    right = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]])
    other = torch.tensor([[[0.0, 0.2], [0.3, 0.0]]])
    assert referent_preferred(right, other).tolist() == [[0.5, 0.5, 1.0]]


def test_masked_weights_equal_a_mask_on_the_scores() -> None:
    """The renormalised rest of the row is the softmax without that key."""
    model = untrained(seed=3)
    batch = at_pronoun(model, SENTENCES)
    mask = torch.ones(len(SENTENCES), 1, 10, 10, dtype=torch.bool)
    mask[torch.arange(len(SENTENCES)), 0, PRONOUN, batch.referent] = False
    with torch.no_grad():
        tokens = model.blocks(model.embedded(batch.ids), attn_mask=mask)
        logits = model.head(model.norm(tokens))[:, PRONOUN]
    rows = torch.arange(len(SENTENCES))
    prefers = (
        logits[rows, batch.ids[:, FIRST]] > logits[rows, batch.ids[:, SECOND]]
    ) == batch.is_first
    expected = float(prefers.double().mean())
    assert referent_accuracy(model, batch, batch.referent) == expected
    with torch.no_grad():
        uncut = model(batch.ids)[:, PRONOUN]
        with ch.intervene(without_keys(batch.referent)):
            cut = model(batch.ids)[:, PRONOUN]
    assert not uncut.allclose(logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(cut, logits, rtol=0, atol=1e-6)


def test_a_causal_model_has_no_information_at_it_about_later_words() -> None:
    """The same at "it" for both qualities: right in half."""
    model = untrained(causal=True, seed=5)
    batch = at_pronoun(model, SENTENCES)
    right, other = noun_weights(model, batch)
    assert referent_preferred(right, other).eq(0.5).all()
    assert referent_accuracy(model, batch) == 0.5
    tokens = WordTokenizer(WORDS)
    assert tokens.decode(batch.ids[0, :7].tolist()).endswith("because it")


def test_the_head_is_chosen_where_it_is_not_measured() -> None:
    attention = {
        "seen": {"named": [[0.2, 0.7], [0.6, 0.1]]},
        "unseen": {"named": [[0.3, 0.4], [1.0, 0.9]]},
    }
    assert attention_accuracy("some")({"some": {"at_it": attention}}) == 0.4


TRIAL = trial("models", texts=200, epochs=1, epochs_on=1, fours=3)


def test_a_trial_measures_every_model_and_is_small() -> None:
    measured = resolve_pronouns(TRIAL)
    assert tuple(measured) == tuple(MODELS)
    assert len(json.dumps(measured, allow_nan=False)) < 20_000
    for values in measured.values():
        assert set(values["at_it"]) == set(SPLITS)
        assert len(values["at_it"]["unseen"]["named"]) == 2


def test_one_bidirectional_model_is_trained_on_questions_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs: list[TextTrainConfig] = []

    def fit(config: TextTrainConfig, **_: object) -> SimpleNamespace:
        configs.append(config)
        return SimpleNamespace(result=None)

    monkeypatch.setattr(pronouns, "fit", fit)
    pronoun_models(trial("models", texts=10, epochs=3, epochs_on=2))
    causal, at_it, afterwards = configs
    assert (causal.model.causal, at_it.model.causal) == (True, False)
    assert (causal.epochs, at_it.epochs) == (3, 2)
    assert at_it.referent_prob > 0
    assert afterwards == replace(at_it, referent_prob=0.0)


def test_bidirectional_models_start_from_the_causal_one() -> None:
    models = pronoun_models(TRIAL)
    assert [models[name].config.causal for name in MODELS] == [True, False, False, False, True]
    weights = {name: models[name].head.weight for name in MODELS}
    assert not weights["asked at it"].equal(weights["asked afterwards"])
    near = (weights["asked at it"] - weights["causal"]).norm()
    assert near < (weights["asked at it"] - weights["untrained"]).norm()
