"""The Text tab: its numbers against PyTorch in double precision, its words against Python's."""

import re

import numpy as np
import pytest
import torch
from playwright.sync_api import expect
from torch import Tensor

from clearhead.data import WordTokenizer
from clearhead.data.tokenizer import split_words
from clearhead.microscope.shipped import SENTENCES, measure_sentences, read_shipped
from clearhead.models.text import TextTransformer
from clearhead.recording import capture
from tests.microscope.driver import Microscope, number

DOG = "The dog chased the ball because it was hungry."
TEXTS = (
    DOG,
    "cat",
    "The red wolf hit the blue car because it was rusty. Which one? The [mask] one.",
    "The girl sat near the bank with the coin .",
    "Zebras eat the ball",
)
WORDS = (
    DOG,
    "it's Über-naïve, don’t!",
    "  two  spaces\tand\nlines ",
    "a_b 3.5 … (one) [mask] [MASK] [x1]",
    "Ⅷ ½ é e\u0301 日本",
    "",
)
CLOSE = 1e-9
PREDICTIONS = ".text .panel .small:last-child"
SHARES = r"(\w+) ([\d.]+)\u202f%"


def ids_of(model: TextTransformer, text: str) -> Tensor:
    return torch.tensor([WordTokenizer(model.config.vocabulary).encode(text).ids])


def weights_of(model: TextTransformer, text: str) -> Tensor:
    """Attention weights: layers × heads × queries × keys."""
    with torch.no_grad(), capture() as recording:
        model(ids_of(model, text))
    return torch.cat([record.weights for record in recording.records])


@pytest.mark.parametrize("text", TEXTS)
def test_weights_and_logits_equal_pytorchs(
    text: str, microscope: Microscope, text_twin: TextTransformer
) -> None:
    found = microscope.evaluate(
        """(text) => {
          const { textModel, forwardText, wordLogits, encode } = clearhead;
          const { ids } = encode(text, textModel.placeOf);
          const run = forwardText(textModel, ids);
          return {
            weights: run.layers.map(({ heads }) => heads.map(({ weights }) => [...weights])),
            logits: ids.map((_, place) => [...wordLogits(textModel, run, place)]),
          };
        }""",
        text,
    )
    weights = weights_of(text_twin, text)
    with torch.no_grad():
        logits = text_twin(ids_of(text_twin, text))[0]
    found_weights = np.reshape(found["weights"], weights.shape)
    np.testing.assert_allclose(found_weights, weights, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(found["logits"], logits, rtol=0, atol=CLOSE)


def test_a_causal_model_attends_to_no_later_word(
    microscope: Microscope, text_twin: TextTransformer
) -> None:
    found = microscope.evaluate(
        """(text) => {
          const { textModel, forwardText, encode } = clearhead;
          const causal = { ...textModel, config: { ...textModel.config, causal: true } };
          const run = forwardText(causal, encode(text, textModel.placeOf).ids);
          return run.layers.map(({ heads }) => heads.map(({ weights }) => [...weights]));
        }""",
        DOG,
    )
    weights = np.reshape(found, weights_of(text_twin, DOG).shape)
    assert (np.triu(weights, 1) == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-12)


def test_words_are_split_as_in_python(microscope: Microscope) -> None:
    for text in WORDS:
        found = microscope.evaluate("(text) => clearhead.encode(text, new Map())", text)
        words = split_words(text)
        assert found["words"] == list(words)
        assert found["unknown"] == list(dict.fromkeys(words))


def test_table_and_matrix_show_the_weights_of_the_chosen_word(
    microscope: Microscope, text_twin: TextTransformer
) -> None:
    microscope.show(tab="text", word=7, textLayer=2, textHead=0)
    expected = weights_of(text_twin, DOG)[1].mean(0)[6]
    rows = microscope.table(".text-maps > .table-holder")
    words = split_words(DOG)
    assert [row[0] for row in rows] == list(words)
    shown = [number(row[1]) / 100 for row in rows]
    np.testing.assert_allclose(shown, expected, atol=0.0051)
    best = words[int(expected.argmax())]
    assert microscope.text(".text .sentence").startswith(f"“it” attends most to “{best}”:")
    microscope.show(tab="text", word=2, textLayer=1, textHead=4)
    labels = microscope.evaluate(
        """() => [...document.querySelectorAll(".text .matrix .cell.in-row")].map(
          (cell) => cell.getAttribute("aria-label"))"""
    )
    shown = [number(label.split(": ")[1]) / 100 for label in labels]
    np.testing.assert_allclose(shown, weights_of(text_twin, DOG)[0][3][1], atol=0.0051)


def test_the_last_word_and_the_two_nouns_can_be_changed(microscope: Microscope) -> None:
    view = microscope.show(tab="text").page.locator(".text")
    view.get_by_role("radio", name="round").click()
    field = view.get_by_label("Sentence")
    expect(field).to_have_value("The dog chased the ball because it was round.")
    swap = view.get_by_role("button", name="Swap")
    swap.click()
    expect(field).to_have_value("The ball chased the dog because it was round.")
    field.fill("The cat sat.")
    expect(swap).to_be_disabled()
    expect(view.locator(".words button")).to_have_count(4)
    expect(microscope.page).to_have_url(re.compile("sentence=The[+]cat[+]sat"))


def test_unknown_words_and_too_long_sentences_are_named(
    microscope: Microscope, text_twin: TextTransformer
) -> None:
    limit = text_twin.config.context_length
    for sentence, note in (
        ("The+zebra+sat.", "zebra"),
        ("+".join(["cat"] * (limit + 1)), f"at most {limit}"),
        ("+", "Write a sentence."),
    ):
        assert note in microscope.show(tab="text", sentence=sentence).text(".text .small")


def test_the_predictions_for_which_one_are_the_models(
    microscope: Microscope, text_twin: TextTransformer
) -> None:
    question = f"{DOG} which one ? the [mask] ."
    ids, vocabulary = ids_of(text_twin, question), text_twin.config.vocabulary
    place = ids[0].tolist().index(vocabulary.index("[mask]"))
    with torch.no_grad():
        probabilities, best = text_twin(ids)[0, place].softmax(0).topk(3)
    shown = microscope.show(tab="text").text(PREDICTIONS)
    found = re.findall(SHARES, shown)
    assert [word for word, _ in found] == [vocabulary[i] for i in best.tolist()]
    shares = [float(share) / 100 for _, share in found]
    np.testing.assert_allclose(shares, probabilities, atol=0.0051)
    absent = [word for word, _ in found if word not in DOG.lower()]
    assert absent
    assert shown.endswith(f"{', '.join(absent)}.")
    assert "full stop" not in shown
    microscope.show(tab="text", sentence=DOG.removesuffix(".").replace(" ", "+"))
    assert microscope.page.locator(".words button").count() == 9
    assert re.findall(SHARES, microscope.text(PREDICTIONS)) == found
    assert "full stop" in microscope.text(PREDICTIONS)
    expect(microscope.page.get_by_role("button", name="Swap")).to_be_enabled()


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("The+cat+sat.", "needs a sentence like"),
        ("The+zebra+chased+the+ball+because+it+was+fast.", "needs known words"),
    ],
)
def test_where_which_one_does_not_apply_the_reason_is_shown(
    sentence: str, reason: str, microscope: Microscope
) -> None:
    assert reason in microscope.show(tab="text", sentence=sentence).text(PREDICTIONS)


def test_the_logits_kept_for_the_self_check_equal_pytorchs(microscope: Microscope) -> None:
    kept, now = read_shipped(SENTENCES).facts, measure_sentences()
    assert kept["sha256"] == now["sha256"]
    for one, other in zip(kept["checks"], now["checks"], strict=True):  # type: ignore[call-overload]
        assert one["text"] == other["text"]
        np.testing.assert_allclose(one["logits"], other["logits"], rtol=0, atol=1e-8)
    assert 0 <= microscope.evaluate("() => clearhead.app.examples.difference") < 1e-8
    assert microscope.evaluate("() => clearhead.app.examples.failed") is False
