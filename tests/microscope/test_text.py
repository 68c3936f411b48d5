"""The Text tab: its numbers against PyTorch in double precision, its words against Python's."""

import json
import re

import numpy as np
import pytest
import torch
from playwright.sync_api import expect
from torch import Tensor

from clearhead.data import WordTokenizer
from clearhead.data.tokenizer import split_words
from clearhead.microscope.reference import rounded_model
from clearhead.microscope.sentences import FACTS, measure_text, shipped_text
from clearhead.models.build import load
from clearhead.models.text import TextTransformer
from clearhead.recording import capture
from tests.microscope.looking import Microscope

DOG = "The dog chased the ball because it was hungry."
TEXTS = (
    DOG,
    "cat",
    "The red wolf hit the blue car because it was rusty. Which one? The [mask] one.",
    "The girl sat near the bank with the coin .",
    "Zebras eat the ball",
)
CLOSE = 1e-9


@pytest.fixture(scope="module")
def twin() -> TextTransformer:
    return rounded_model(load("sentences"))


def ids_of(model: TextTransformer, text: str) -> Tensor:
    return torch.tensor([WordTokenizer(model.config.vocabulary).encode(text).ids])


def weights_of(model: TextTransformer, text: str) -> Tensor:
    """(layers, heads, queries, keys), captured while the model reads."""
    with torch.no_grad(), capture() as seen:
        model(ids_of(model, text))
    return torch.cat([record.weights for record in seen.records])


@pytest.mark.parametrize("text", TEXTS)
def test_weights_and_logits_are_pytorchs(
    text: str, microscope: Microscope, twin: TextTransformer
) -> None:
    found = microscope.ask(
        """(text) => {
          const { textModel, readText, wordLogits, encode } = clearhead;
          const { ids } = encode(text, textModel.placeOf);
          const run = readText(textModel, ids);
          return {
            weights: run.layers.map(({ heads }) => heads.map(({ weights }) => [...weights])),
            logits: ids.map((_, place) => [...wordLogits(textModel, run, place)]),
          };
        }""",
        text,
    )
    expected = weights_of(twin, text)
    np.testing.assert_allclose(
        np.reshape(found["weights"], expected.shape), expected, rtol=0, atol=CLOSE
    )
    with torch.no_grad():
        logits = twin(ids_of(twin, text))[0]
    np.testing.assert_allclose(found["logits"], logits, rtol=0, atol=CLOSE)


def test_a_causal_model_hears_nothing_that_comes_later(
    microscope: Microscope, twin: TextTransformer
) -> None:
    found = microscope.ask(
        """(text) => {
          const { textModel, readText, encode } = clearhead;
          const causal = { ...textModel, config: { ...textModel.config, causal: true } };
          const run = readText(causal, encode(text, textModel.placeOf).ids);
          return run.layers.map(({ heads }) => heads.map(({ weights }) => [...weights]));
        }""",
        DOG,
    )
    length = len(split_words(DOG))
    weights = np.reshape(found, (twin.config.depth, twin.config.num_heads, length, length))
    assert (np.triu(weights, 1) == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        DOG,
        "it's Über-naïve, don’t!",
        "  two  spaces\tand\nlines ",
        "a_b 3.5 … (one) [mask] [MASK] [x1]",
        "Ⅷ ½ é e\u0301 日本",
        "",
    ],
)
def test_words_are_split_as_in_python(text: str, microscope: Microscope) -> None:
    found = microscope.ask("(text) => clearhead.encode(text, new Map())", text)
    words = split_words(text)
    assert found["words"] == list(words)
    assert found["unknown"] == list(dict.fromkeys(words))


def test_the_table_says_what_the_chosen_word_asks(
    microscope: Microscope, twin: TextTransformer
) -> None:
    microscope.show(tab="text", word=7, textLayer=2, textHead=0)
    expected = weights_of(twin, DOG)[1].mean(0)[6]
    rows = microscope.ask(
        """() => [...document.querySelectorAll(".text-maps > .table-holder tbody tr")].map((row) =>
          [...row.children].map((cell) => cell.textContent))"""
    )
    assert [row[0] for row in rows] == list(split_words(DOG))
    shown = [float(row[1].replace("\u202f%", "")) / 100 for row in rows]
    np.testing.assert_allclose(shown, expected, atol=0.0051)
    assert abs(sum(shown) - 1) < 0.05
    best = split_words(DOG)[int(expected.argmax())]
    assert microscope.text(".text .sentence").startswith(f"“it” asked. “{best}” answered most:")
    microscope.show(tab="text", word=2, textLayer=1, textHead=4)
    one = weights_of(twin, DOG)[0][3][1]
    shown = microscope.ask(
        """() => [...document.querySelectorAll(".text .matrix .cell.in-row")].map((cell) => {
          const [, said] = /: (.+) percent/.exec(cell.getAttribute("aria-label"));
          return Number(said.replace("−", "-"));
        })"""
    )
    np.testing.assert_allclose(np.array(shown) / 100, one, atol=0.0051)


def test_the_last_word_and_the_two_things_can_be_changed(microscope: Microscope) -> None:
    microscope.show(tab="text")
    view = microscope.page.locator(".text")
    view.get_by_role("radio", name="round").click()
    field = view.get_by_label("Sentence")
    expect(field).to_have_value("The dog chased the ball because it was round.")
    view.get_by_role("button", name="Swap the two things").click()
    expect(field).to_have_value("The ball chased the dog because it was round.")
    field.fill("The cat sat.")
    expect(view.get_by_role("button", name="Swap the two things")).to_be_disabled()
    expect(view.locator(".words button")).to_have_count(4)
    expect(microscope.page).to_have_url(re.compile("sentence=The[+]cat[+]sat"))


def test_what_it_cannot_read_is_said(microscope: Microscope, twin: TextTransformer) -> None:
    microscope.show(tab="text", sentence="The+zebra+sat.")
    assert "never met: zebra" in microscope.text(".text .small")
    microscope.show(tab="text", sentence="+".join(["cat"] * (twin.config.context_length + 1)))
    assert f"at most {twin.config.context_length}" in microscope.text(".text .small")
    microscope.show(tab="text", sentence="+")
    assert microscope.text(".text .small") == "Write a sentence."


def test_the_answer_to_which_one_is_the_models(
    microscope: Microscope, twin: TextTransformer
) -> None:
    microscope.show(tab="text")
    asked = f"{DOG} which one ? the [mask] ."
    ids = ids_of(twin, asked)
    place = ids[0].tolist().index(twin.config.vocabulary.index("[mask]"))
    with torch.no_grad():
        probabilities = twin(ids)[0, place].softmax(0)
    best = twin.config.vocabulary[int(probabilities.argmax())]
    said = microscope.text(".text .panel .small:last-child")
    found = re.search(r"the model says: (\w+) ([\d.]+)\u202f%", said)
    assert found
    assert found[1] == best
    assert abs(float(found[2]) / 100 - float(probabilities.max())) < 0.0051


def test_the_view_is_saved_with_its_words(microscope: Microscope) -> None:
    microscope.show(tab="text", word=7)
    picture = microscope.ask(
        """() => {
          const picture = clearhead.pictureOf(clearhead.app);
          return { ...picture, panels: picture.panels.length, csv: clearhead.toCsv(picture),
            svg: clearhead.toSvg(picture) };
        }"""
    )
    assert ["asks", "it"] in picture["facts"]
    lines = picture["csv"].splitlines()
    assert lines[0] == "# Clearhead microscope: Text"
    assert sum(not line.startswith("#") for line in lines) == 1 + 10 * 10
    assert picture["svg"].count(">because</text>") == 2


def test_what_the_page_keeps_is_what_pytorch_computes() -> None:
    kept, now = json.loads(FACTS.read_bytes()), measure_text()
    assert kept["sha256"] == now["sha256"]
    for one, other in zip(kept["checks"], now["checks"], strict=True):  # type: ignore[call-overload]
        assert one["text"] == other["text"]
        np.testing.assert_allclose(one["logits"], other["logits"], rtol=0, atol=1e-8)
    assert shipped_text().settings["checks"] == kept["checks"]


def test_other_numbers_for_a_text_fail_the_self_check(microscope: Microscope) -> None:
    assert microscope.settle().ask("() => clearhead.app.examples.failed") is False
    difference = microscope.ask("() => clearhead.app.examples.difference")
    assert 0 <= difference < 1e-8


@pytest.mark.parametrize("width", [1280, 320])
def test_rows_of_colours_stand_beside_their_words_however_many(
    width: int, microscope: Microscope
) -> None:
    microscope.page.set_viewport_size({"width": width, "height": 800})
    sentence = "+".join(["cat", "dog", "the", "ball", "because"] * 6)
    microscope.show(tab="text", sentence=sentence)
    lines = microscope.ask(
        """() => [...document.querySelectorAll(".of-words .line")].slice(1).map((line) =>
          [...line.children].slice(0, 2).map((one) => {
            const { top, height } = one.getBoundingClientRect();
            return [top, height];
          }))"""
    )
    assert len(lines) == 30
    np.testing.assert_allclose([line[0] for line in lines], [line[1] for line in lines], atol=0.6)
    assert min(line[0][1] for line in lines) >= 14
    heads = microscope.ask(
        """() => [...document.querySelectorAll(".of-words [role=columnheader]:not(.corner) span")]
          .map((one) => one.getBoundingClientRect()).map(({ left, right }) => [left, right])"""
    )
    ends = np.array(heads)
    assert (ends[:-1, 1] <= ends[1:, 0] + 0.5).all()
    assert microscope.ask("() => document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 320])
def test_a_very_long_word_is_cut_and_can_still_be_read_whole(
    width: int, microscope: Microscope
) -> None:
    microscope.page.set_viewport_size({"width": width, "height": 800})
    long = "x" * 150
    microscope.show(tab="text", sentence=f"The+{long}+chased+the+ball.")
    assert microscope.ask("() => document.documentElement.scrollWidth") <= width
    button = microscope.page.get_by_role("radio", name=f"“{long}” asks")
    assert button.get_attribute("title") == long
    head = microscope.page.get_by_role("rowheader", name=long).first
    assert head.get_attribute("title") == long
    for one in (button, head.locator("span")):
        assert one.evaluate("(one) => one.scrollWidth > one.clientWidth")
        assert one.evaluate("(one) => getComputedStyle(one).textOverflow") == "ellipsis"
    table = microscope.page.locator(".text-maps > .table-holder")
    assert table.evaluate("(one) => one.scrollWidth <= one.clientWidth")


def test_a_sentence_without_a_full_stop_is_asked_about_all_the_same(microscope: Microscope) -> None:
    said = ".text .panel .small:last-child"
    microscope.show(tab="text")
    whole = microscope.text(said)
    assert "full stop" not in whole
    microscope.show(tab="text", sentence=DOG.removesuffix(".").replace(" ", "+"))
    microscope.page.locator(".words button").nth(8).wait_for()
    assert microscope.page.locator(".words button").count() == 9
    shares = re.findall(r"\w+ [\d.]+\u202f%", whole)
    assert len(shares) == 3
    assert re.findall(r"\w+ [\d.]+\u202f%", microscope.text(said)) == shares
    assert "read as if it ended with a full stop" in microscope.text(said)
    expect(microscope.page.get_by_role("button", name="Swap the two things")).to_be_enabled()


def test_where_which_one_is_not_asked_the_reason_is_said(microscope: Microscope) -> None:
    said = ".text .panel .small:last-child"
    microscope.show(tab="text", sentence="The+cat+sat.")
    assert "is asked only of sentences like" in microscope.text(said)
    microscope.show(tab="text", sentence="The+zebra+chased+the+ball+because+it+was+fast.")
    assert "a word that the model has never met" in microscope.text(said)


def test_an_answer_that_is_not_in_the_sentence_is_named_as_such(microscope: Microscope) -> None:
    microscope.show(tab="text")
    said = microscope.text(".text .panel .small:last-child")
    answers = re.findall(r"(\w+) [\d.]+\u202f%", said)
    absent = [word for word in answers if word not in DOG.lower()]
    assert absent
    assert said.endswith(f"A tiny model may name what is not in the sentence: {', '.join(absent)}.")
