"""How "it" is read: against sums written out, and on models made so that the answer is known."""

import pytest
import torch
from torch import Tensor

import clearhead as ch
from clearhead.data import (
    WordTokenizer,
    ambiguous_sentences,
    counterbalanced_set,
    pronoun_sentences,
    vocabulary,
)
from clearhead.models import build
from clearhead.models.config import TextConfig
from clearhead.models.text import TextTransformer
from clearhead.studies.measures.pronouns import (
    FIRST,
    PRONOUN,
    SECOND,
    _without,
    at_answer,
    at_pronoun,
    certainty,
    named,
    noun_weights,
    probe_accuracy,
    read_rightly,
    states_at,
)

ABOUT = pronoun_sentences("unseen", 5, 0)
WORDS = vocabulary()


def fresh(*, causal: bool = False, seed: int = 0) -> TextTransformer:
    torch.manual_seed(seed)
    return build(TextConfig(vocabulary=WORDS, causal=causal)).eval()


def test_words_stand_where_the_places_say() -> None:
    for causal in (False, True):
        model = fresh(causal=causal)
        alone, asked = at_pronoun(model, ABOUT), at_answer(model, ABOUT)
        assert alone.asked == PRONOUN
        for row, one in enumerate(ABOUT):
            words = [WORDS[word] for word in alone.ids[row].tolist()]
            assert words[PRONOUN] == "it"
            assert words[int(alone.right[row])] == one.referent
            assert words[int(alone.other[row])] == one.distractor
            assert bool(alone.is_first[row]) == (one.referent == one.subject)
            told = [WORDS[word] for word in asked.ids[row].tolist()]
            assert told[asked.asked + causal] == "[mask]"
            assert told[:10] == words


def test_every_four_has_each_noun_once_in_each_place() -> None:
    reading = at_pronoun(fresh(), counterbalanced_set("dog", "ball", "hit", ("hungry", "round")))
    assert sorted(reading.right.tolist()) == [FIRST, FIRST, SECOND, SECOND]
    assert reading.is_first.tolist() == [True, False, False, True]


@pytest.mark.parametrize("causal", [False, True])
def test_weights_are_those_that_capture_shows(causal: bool) -> None:
    model = fresh(causal=causal)
    for reading in (at_pronoun(model, ABOUT), at_answer(model, ABOUT)):
        right, other = noun_weights(model, reading)
        assert right.shape == (2, 4, len(ABOUT))
        with torch.no_grad(), ch.capture() as seen:
            model(reading.ids)
        for layer, record in enumerate(seen.records):
            for row in range(len(ABOUT)):
                whole = record.weights[row, :, reading.asked]
                assert whole[:, reading.right[row]].allclose(right[layer, :, row])
                assert whole[:, reading.other[row]].allclose(other[layer, :, row])


def test_who_goes_by_place_names_the_noun_in_exactly_half() -> None:
    """The larger weight always on the first noun, on the second, or on neither."""
    reading = at_pronoun(fresh(), ABOUT)
    first, second = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([0.1, 0.3, 0.5])
    right = torch.where(reading.is_first, first[:, None], second[:, None])[None]
    other = torch.where(reading.is_first, second[:, None], first[:, None])[None]
    assert named(right, other).tolist() == [[0.5, 0.5, 0.5, 0.5]]
    assert named(other + 0.7, other).tolist() == [[1.0, 1.0, 1.0, 1.0]]


def test_two_heads_for_one_half_each_name_the_noun_together() -> None:
    right = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]])
    other = torch.tensor([[[0.0, 0.2], [0.3, 0.0]]])
    assert named(right, other).tolist() == [[0.5, 0.5, 1.0]]


class Copier(TextTransformer):
    """Reads "it" as whatever its last layer's attention at "it" brings: it is cut off by a cut.

    Its attention is fixed by hand: from "it" all goes to the noun of the kind that can have the
    quality, and values are the words themselves.
    """

    def forward(self, ids: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        count, words = ids.shape[1], len(WORDS)
        value = torch.nn.functional.one_hot(ids, words).float()[:, None]
        query = torch.zeros(len(ids), 1, count, 2)
        query[:, :, PRONOUN, 0] = 9.0
        key = torch.zeros(len(ids), 1, count, 2)
        tokens = [[WORDS[word] for word in row] for row in ids.tolist()]
        for row, some in enumerate(tokens):
            for place in (FIRST, SECOND):
                key[row, 0, place, 0] = 2.0 if some[place] == RIGHT[tuple(some[:9])] else 1.0
        out: Tensor = ch.scaled_dot_product_attention(query, key, value)[:, 0]
        return out


RIGHT: dict[tuple[str, ...], str] = {
    tuple(one.text.split()[:9]): str(one.referent) for one in ABOUT
}


def test_a_cut_takes_away_what_attention_brought_and_nothing_else() -> None:
    torch.manual_seed(0)
    model = Copier(TextConfig(vocabulary=WORDS)).eval()
    reading = at_pronoun(model, ABOUT)
    right, other = noun_weights(model, reading)
    assert named(right, other).tolist() == [[1.0, 1.0]]
    assert read_rightly(model, reading, "noun") == 1.0
    assert read_rightly(model, reading, "noun", reading.other) == 1.0
    assert read_rightly(model, reading, "noun", reading.right) == 0.0


def test_a_cut_equals_a_mask_on_the_scores() -> None:
    """The rest of the row, made to sum to one, is the softmax without that key."""
    model = fresh(seed=3)
    reading = at_pronoun(model, ABOUT)
    mask = torch.ones(len(ABOUT), 1, 10, 10, dtype=torch.bool)
    mask[torch.arange(len(ABOUT)), 0, PRONOUN, reading.right] = False
    with torch.no_grad():
        tokens = model.blocks(model.embedded(reading.ids), attn_mask=mask)
        logits = model.head(model.norm(tokens))[:, PRONOUN]
    rows = torch.arange(len(ABOUT))
    prefers = (
        logits[rows, reading.ids[:, FIRST]] > logits[rows, reading.ids[:, SECOND]]
    ) == reading.is_first
    expected = float(prefers.double().mean())
    assert read_rightly(model, reading, "noun", reading.right) == expected
    with torch.no_grad():
        uncut = model(reading.ids)[:, PRONOUN]
        with ch.intervene(_without(reading.right)):
            cut = model(reading.ids)[:, PRONOUN]
    assert not uncut.allclose(logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(cut, logits, rtol=0, atol=1e-6)


def test_who_always_says_first_is_right_in_half_and_sure() -> None:
    model = fresh()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias[WORDS.index("first")] = 9.0
    reading = at_answer(model, ABOUT)
    assert read_rightly(model, reading, "place") == 0.5
    assert certainty(model, reading) == pytest.approx(1 / (1 + torch.e**-9))
    undecided = at_answer(model, ambiguous_sentences("seen", 4, 0))
    assert certainty(model, undecided) == pytest.approx(1 / (1 + torch.e**-9))


def test_states_are_the_tokens_before_the_last_norm() -> None:
    model = fresh()
    reading = at_pronoun(model, ABOUT)
    found = states_at(model, reading)
    with torch.no_grad():
        expected = model.blocks(model.embedded(reading.ids))[:, PRONOUN].double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_probe_finds_what_a_straight_cut_can_tell_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(401, 7, generator=generator, dtype=torch.float64)
    new = torch.randn(203, 7, generator=generator, dtype=torch.float64)
    told, unseen = x[:, 2] > 0.3, new[:, 2] > 0.3
    assert probe_accuracy((x, told), (new, unseen)) > 0.9
    neither = (x[:, 2] > 0) ^ (x[:, 4] > 0), (new[:, 2] > 0) ^ (new[:, 4] > 0)
    assert 0.35 < probe_accuracy((x, neither[0]), (new, neither[1])) < 0.65


def test_a_causal_models_it_knows_nothing_of_what_comes_after() -> None:
    """Whatever its weights, the same at "it" for both qualities: right in half."""
    model = fresh(causal=True, seed=5)
    reading = at_pronoun(model, ABOUT)
    right, other = noun_weights(model, reading)
    assert named(right, other).eq(0.5).all()
    assert read_rightly(model, reading, "noun") == 0.5
    tokens = WordTokenizer(WORDS)
    assert tokens.decode(reading.ids[0, :7].tolist()).endswith("because it")
