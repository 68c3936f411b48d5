"""The numbers that stand on the screen, read there and computed again from the weights."""

import math
import re

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from clearhead.attention import AttentionStages, attention_stages
from clearhead.microscope.payload import examples
from clearhead.microscope.reference import example_pixels, rounded_model
from clearhead.models.build import load
from clearhead.models.layers import Block
from clearhead.models.vit import VisionTransformer
from tests.microscope.looking import Microscope

SEVEN = 14  # the example that the page starts with


def number(text: str) -> float:
    """The first number in a text as people read it."""
    found = re.search(r"(−?\d+(?:\.\d+)?)(?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    assert found, text
    power = (found[2] or "⁰").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(f"{found[1].replace('−', '-')}e{power}")


@pytest.fixture(scope="module")
def twin() -> VisionTransformer:
    model = load()
    assert isinstance(model, VisionTransformer)
    return rounded_model(model)


@torch.no_grad()
def head_stages(twin: VisionTransformer, layer: int, head: int) -> AttentionStages:
    tokens = twin.embedded(example_pixels(twin)[SEVEN : SEVEN + 1])
    tokens = twin.blocks[:layer](tokens)
    block = twin.blocks[layer]
    assert isinstance(block, Block)
    qkv = block.attn.qkv(block.norm1(tokens)).unflatten(-1, (3, 4, 16))
    query, key, value = qkv[0].permute(1, 2, 0, 3)
    return attention_stages(query[head], key[head], value[head])


@pytest.mark.parametrize(("layer", "head", "asker", "answerer"), [(3, 1, 11, 15), (5, 4, 2, 7)])
def test_one_cell_in_full_adds_up_to_what_pytorch_computes(
    layer: int,
    head: int,
    asker: int,
    answerer: int,
    microscope: Microscope,
    twin: VisionTransformer,
) -> None:
    microscope.show(tab="explore", layer=layer, head=head, asker=asker, answerer=answerer)
    s = head_stages(twin, layer - 1, head - 1)
    place = (asker - 1, answerer - 1)
    shown = {
        name: number(microscope.text(f".explore dd[data-number={name}]"))
        for name in ("score", "divided", "power", "weight")
    }
    assert shown["score"] == pytest.approx(float(s.scores[place]), abs=0.00501)
    assert shown["divided"] == pytest.approx(float(s.scaled[place]), abs=0.00501)
    assert shown["power"] == pytest.approx(math.exp(float(s.scaled[place])), abs=0.00501)
    assert shown["weight"] / 100 == pytest.approx(float(s.weights[place]), abs=0.00501)
    columns = microscope.page.locator(".explore .vectors tbody tr").all_text_contents()
    rows = [re.findall(r"−?\d+\.\d\d", line[len(str(i + 1)) :]) for i, line in enumerate(columns)]
    products = [float(row[2].replace("−", "-")) for row in rows]
    assert len(products) == 16
    assert sum(products) == pytest.approx(shown["score"], abs=16 * 0.005 + 0.01)


def test_every_cell_of_the_matrix_says_its_weight(
    microscope: Microscope, twin: VisionTransformer
) -> None:
    microscope.show(tab="explore", layer=4, head=3)
    labels = microscope.page.locator(".explore .matrix .cell").evaluate_all(
        "(cells) => cells.map((cell) => cell.getAttribute('aria-label'))"
    )
    expected = head_stages(twin, 3, 2).weights
    assert len(labels) == 256
    for i, label in enumerate(labels):
        said = re.fullmatch(
            r"Patch (\d+) asks patch (\d+): (.+) percent, (\S+) times even share", label
        )
        assert said, label
        place = (int(said[1]) - 1, int(said[2]) - 1)
        assert place == (i // 16, i % 16)
        assert number(said[3]) / 100 == pytest.approx(float(expected[place]), abs=0.00501)
        assert float(said[4]) == pytest.approx(16 * float(expected[place]), abs=0.0501)


def test_the_table_behind_the_matrix_holds_the_same_numbers(
    microscope: Microscope, twin: VisionTransformer
) -> None:
    microscope.show(tab="explore", layer=2, head=1, stage="scores")
    button = microscope.page.locator(".explore .matrix-holder .quiet")
    button.click()
    cells = microscope.page.locator(".explore .matrix-holder td").all_text_contents()
    found = np.array([number(cell) for cell in cells]).reshape(16, 16)
    np.testing.assert_allclose(found, head_stages(twin, 1, 0).scores, rtol=0, atol=0.00501)
    button.click()
    assert microscope.page.locator(".explore .matrix-holder td").count() == 0


def test_answer_and_lens_are_the_models(microscope: Microscope, twin: VisionTransformer) -> None:
    with torch.no_grad():
        expected = twin(example_pixels(twin)[SEVEN : SEVEN + 1]).softmax(-1)[0]
    shown = microscope.page.locator(".answer .value").all_text_contents()
    found = [number(text) / 100 for text in shown]
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.00501)
    assert microscope.text(".answer-words").startswith("Reads 7")
    assert examples()[SEVEN].label == "7"
    assert microscope.text(".lens-cell:last-child b") == "7"


def test_asked_and_answered_is_sorted_and_measures_silencing(
    microscope: Microscope, twin: VisionTransformer
) -> None:
    microscope.show(tab="explore", layer=3, head=1, asker=6).settle()
    rows = microscope.page.locator(".answered tbody tr")
    texts = [
        [cell.replace("\u202f", " ") for cell in rows.nth(i).locator("th, td").all_text_contents()]
        for i in range(rows.count())
    ]
    weights = [number(row[1]) for row in texts]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(100, abs=1.0)
    s = head_stages(twin, 2, 0)
    best = int(s.weights[5].argmax())
    assert texts[0][0] == f"Patch {best + 1}"
    with torch.no_grad():
        tokens = twin.embedded(example_pixels(twin)[SEVEN : SEVEN + 1])
        allowed = torch.ones(16, 16, dtype=torch.bool)
        allowed[:, best] = False
        before = twin.head(twin.norm(twin.blocks(tokens)).mean(1)).softmax(-1)
        for block in twin.blocks:
            tokens = block(tokens, attn_mask=allowed)
        after = twin.head(twin.norm(tokens).mean(1)).softmax(-1)
    change = float(after[0, 7] - before[0, 7]) * 100
    assert number(texts[0][4].replace("+", "")) == pytest.approx(change, abs=0.0501)


def test_the_columns_of_asked_and_answered_are_listeners(microscope: Microscope) -> None:
    microscope.show(tab="explore", listeners=1, asker=6, layer=2, head=1)
    shown = microscope.page.locator(".answered td[data-number=weight]").all_text_contents()
    column = microscope.ask(
        "() => clearhead.app.reading.run.layers[1].heads[0].weights.filter((_, i) => i % 16 === 5)"
    )
    expected = sorted(column.values() if isinstance(column, dict) else column, reverse=True)
    np.testing.assert_allclose([number(x) / 100 for x in shown], expected, rtol=0, atol=0.00501)


def test_every_stretched_scale_carries_its_badge(microscope: Microscope) -> None:
    microscope.show(tab="explore", scale="stretched")
    largest = microscope.ask(
        "() => Math.max(...clearhead.app.reading.run.layers[2].heads[0].weights)"
    )
    badge = microscope.text(".legend-note.warning")
    assert badge.startswith("Stretched: brightest is")
    assert number(badge) / 100 == pytest.approx(largest, abs=0.00501)
    microscope.show(tab="explore")
    assert microscope.page.locator(".legend-note.warning").count() == 0


def test_scores_keep_their_colours_when_they_are_scaled(microscope: Microscope) -> None:
    microscope.show(tab="walk", step=6)
    ends = microscope.page.locator(".pair .legend-ticks").all_text_contents()
    assert len(ends) == 2
    assert ends[0] == ends[1]


def test_no_step_of_the_walk_has_more_than_sixty_words(microscope: Microscope) -> None:
    for step in range(1, 11):
        microscope.show(tab="walk", step=step)
        words = microscope.text(".lead") + " " + microscope.text(".attempt")
        assert 10 < len(words.split()) <= 60, step


def test_a_head_is_named_only_above_its_threshold(microscope: Microscope) -> None:
    microscope.show(tab="heads").settle()
    roles = microscope.page.locator(".card .role").all_text_contents()
    assert len(roles) == 24
    rows = microscope.page.locator(".heads .table-holder tbody tr")
    assert rows.count() == 24
    assert set(roles) <= {
        "looks at itself",
        "looks at blank paper",
        "all ask one patch",
        "looks nearby",
        "spreads evenly",
        "no clear role",
    }
    entropies = microscope.ask(
        """() => clearhead.app.examples.read.map(({ run }) => {
          const { weights } = run.layers[0].heads[0];
          return -weights.reduce((sum, w) => sum + w * Math.log2(w), 0) / 16;
        })"""
    )
    even = np.mean(entropies) >= 0.95 * 4
    assert (roles[0] == "spreads evenly") == even


def test_what_is_taken_from_all_patches_adds_up_to_the_context(microscope: Microscope) -> None:
    microscope.show(tab="walk", step=8)
    microscope.page.locator(".walk .tabled", has=microscope.page.locator(".taken")).get_by_role(
        "button", name="Show table"
    ).click()
    rows = microscope.ask(
        """() => [...document.querySelectorAll(".walk .table-holder tbody tr")].map((row) =>
          [...row.children].slice(1).map(({ textContent }) =>
            Number(textContent.replace("\u2212", "-"))))"""
    )
    taken, context = np.array(rows[:-1]), np.array(rows[-1])
    assert taken.shape == (16, 16)
    np.testing.assert_allclose(taken.sum(axis=0), context, atol=16 * 0.005)
    assert np.abs(context).max() > 0.3


TOPS = """() => [...document.querySelectorAll(".walk-head button, .walk-title h3")]
  .map((one) => one.getBoundingClientRect().toJSON())"""


def test_neither_a_tick_nor_a_message_moves_the_page(microscope: Microscope) -> None:
    microscope.page.set_viewport_size({"width": 1280, "height": 720})
    microscope.page.reload()  # no step is done
    microscope.settle().show(tab="walk", step=2)
    before = microscope.ask(TOPS)
    microscope.ask("() => clearhead.app.set({ asker: 5 })")
    microscope.page.locator(".step.done").wait_for()
    expect(microscope.page.locator(".said:visible")).to_contain_text("done")
    assert microscope.ask(TOPS) == before


def test_a_message_goes_away(microscope: Microscope) -> None:
    waited = microscope.ask(
        """() => {
          const later = globalThis.setTimeout;
          const calls = [];
          globalThis.setTimeout = (call, wait) => (calls.push([call, wait]), calls.length);
          clearhead.app.say("Saved.");
          globalThis.setTimeout = later;
          globalThis.setTimeout = (call, wait) => (calls.push([call, wait]), calls.length);
          calls[0][0](); // it is told
          globalThis.setTimeout = later;
          calls[1][0](); // its time is over
          return calls[1][1];
        }"""
    )
    assert 5_000 <= waited <= 30_000  # read in peace, and not stale
    assert microscope.text(".live") == ""


def test_about_says_that_it_has_no_picture(microscope: Microscope) -> None:
    microscope.show(tab="about")
    microscope.page.get_by_role("button", name="PNG", exact=True).click()
    expect(microscope.page.locator(".said:visible")).to_contain_text("This tab has no picture.")


def test_a_heads_name_stands_beside_the_mean_that_decides_it(
    microscope: Microscope, twin: VisionTransformer
) -> None:
    microscope.settle().show(tab="heads", layer=2, head=3)
    rows = microscope.page.locator(".details tbody tr").all_text_contents()
    itself = next(row for row in rows if row.startswith("On itself"))
    here, usual = (float(x) for x in re.findall(r"[\d.]+(?=\s*%)", itself))
    weights = head_stages(twin, 1, 2).weights
    assert here == pytest.approx(100 * float(weights.diagonal().mean()), rel=0.02)
    with torch.no_grad():
        block = twin.blocks[1]
        assert isinstance(block, Block)
        tokens = twin.blocks[:1](twin.embedded(example_pixels(twin)))
        qkv = block.attn.qkv(block.norm1(tokens)).unflatten(-1, (3, 4, 16))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        every = attention_stages(query, key, value).weights[:, 2]
    mean = float(every.diagonal(dim1=-2, dim2=-1).mean())
    assert usual == pytest.approx(100 * mean, rel=0.02)
    assert here != usual


def test_on_a_small_screen_all_words_and_their_shares_are_seen(microscope: Microscope) -> None:
    microscope.page.set_viewport_size({"width": 320, "height": 700})
    microscope.show(tab="text")
    seen = microscope.ask(
        """() => [...document.querySelectorAll(".words button")].map((word) => ({
          right: word.getBoundingClientRect().right,
          bar: parseFloat(getComputedStyle(word, "::after").width),
          room: word.clientWidth,
          share: Number(word.style.getPropertyValue("--weight")),
        }))"""
    )
    field = microscope.ask(
        "() => { const it = document.querySelector('#sentence');"
        " return [it.scrollHeight, it.clientHeight]; }"
    )
    assert field[0] <= field[1]
    assert max(word["right"] for word in seen) <= 320
    assert sum(word["share"] for word in seen) == pytest.approx(1)
    for word in seen:
        assert word["bar"] == pytest.approx((word["room"] - 4) * word["share"], abs=1)


def test_a_share_has_two_digits_that_count_and_one_notation(microscope: Microscope) -> None:
    shares = [1, 0.907, 0.0995, 0.0623, 0.0062, 0.001, 0.00072, 0.0000951, 0.0000301, 3.2e-8, 0]
    expected = "100 91 10 6.2 0.62 0.10 0.072 0.0095 0.0030 3×10⁻⁶ 0".split()
    shown = []
    for share in shares:
        microscope.ask(
            """(share) => {
              const { app } = clearhead;
              const { probabilities } = app.reading.run;
              probabilities[0] = share;
              app.set({});
              const frame = () => new Promise(requestAnimationFrame);
              return frame().then(frame);
            }""",
            share,
        )
        shown.append(microscope.text(".answer .value").replace(" × ", "×").replace("\u202f%", ""))
    microscope.page.reload()  # the numbers as they were
    microscope.settle()
    assert shown == expected


def test_no_bar_strikes_through_its_number(microscope: Microscope) -> None:
    microscope.show(tab="explore", layer=3, head=1, asker=11)
    ends = microscope.ask(
        """() => [...document.querySelectorAll(".answered .bar-cell")].map((cell) => {
          const [bar, number] = cell.children;
          return [bar.getBoundingClientRect(), number.getBoundingClientRect(), cell.clientWidth]
            .map((one) => one.width ?? one)
            .concat(bar.getBoundingClientRect().right, number.getBoundingClientRect().left);
        })"""
    )
    assert all(right < left for *_, right, left in ends)
    shares = [
        number(text) for text in microscope.page.locator(".answered .bar-cell").all_text_contents()
    ]
    assert ends[0][0] / ends[1][0] == pytest.approx(shares[0] / shares[1], rel=0.3)
    assert ends[0][0] > 0.4 * ends[0][2]


def test_without_a_digit_explore_has_no_headings_over_nothing(microscope: Microscope) -> None:
    microscope.show(tab="explore", strokes="")
    assert microscope.page.locator("#view :is(h3, h4):visible").count() == 0
    assert microscope.page.get_by_text("Draw a digit, or choose an example.").first.is_visible()
    microscope.show(tab="explore")
    assert microscope.page.locator("#view :is(h3, h4):visible").count() >= 3


def test_paper_in_the_patch_of_numbers_has_an_edge(microscope: Microscope) -> None:
    microscope.show(step=2)
    edges = microscope.page.locator(".patch-numbers td").evaluate_all(
        "(cells) => cells.map((cell) => getComputedStyle(cell).borderTopWidth)"
    )
    assert set(edges) == {"1px"}


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_on_a_small_screen_the_step_comes_into_view(motion: str, microscope: Microscope) -> None:
    top = "(selector) => document.querySelector(selector).getBoundingClientRect().top"
    microscope.page.set_viewport_size({"width": 390, "height": 800})
    microscope.page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
    try:
        microscope.show(tab="walk", step=1)
        microscope.page.evaluate("scrollTo(0, 0)")
        assert microscope.ask(top, ".walk-title h3") > 700
        for name in ("Next", "4 Q K V", "Back"):
            button = microscope.page.locator(".walk-head").get_by_role("button", name=name)
            button.dispatch_event("click")
            microscope.page.wait_for_function(f"() => ({top})('.walk-title h3') < 300")
            assert microscope.ask(top, ".walk-head") >= 48  # under the answer's strip
            microscope.page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        microscope.page.get_by_role("tab", name="Heads").click()
        microscope.page.wait_for_function(f"() => ({top})('#view') < 100")
    finally:
        microscope.page.emulate_media(reduced_motion="null")


def test_on_a_large_screen_nothing_is_scrolled(microscope: Microscope) -> None:
    microscope.show(tab="walk", step=5)
    microscope.page.evaluate("scrollTo(0, 30)")
    microscope.page.locator(".walk-head").get_by_role("button", name="Next").click()
    microscope.page.wait_for_timeout(200)
    assert microscope.ask("() => scrollY") == 30
