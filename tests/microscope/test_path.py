"""The path through the model: opening, strip, questions, experiments, hover and keyboard."""

import re
from typing import Any

import pytest

from tests.marks import slow_after
from tests.microscope.driver import PAGES, STEPS, Microscope, number

VISIBLE = """(selector) => {
  const box = document.querySelector(selector).getBoundingClientRect();
  return box.top >= 0 && box.bottom <= innerHeight && box.width > 0;
}"""


@pytest.mark.parametrize(
    "size", slow_after(2, [(1280, 720), (1024, 768), (1366, 768), (1440, 900), (1920, 1080)])
)
def test_every_step_and_case_fits_the_screen(size: tuple[int, int], microscope: Microscope) -> None:
    microscope.size(*size)
    states: list[dict[str, Any]] = [
        *(
            {"step": step, "reveal": reveal}
            for step in (*STEPS, "text")
            for reveal in (False, True)
        ),
        *({"step": "gallery", "case": case} for case in range(1, 7)),
    ]
    over = microscope.layouts(
        states,
        """() => [document.documentElement.scrollHeight - innerHeight,
                  document.documentElement.scrollWidth - innerWidth]""",
    )
    too_large = {
        str(state): sizes for state, sizes in zip(states, over, strict=True) if max(sizes) > 0
    }
    assert too_large == {}


@pytest.mark.parametrize(
    "size", slow_after(1, [(740, 360), (640, 360), (667, 375), (844, 390), (915, 412)])
)
def test_a_step_has_two_thirds_of_a_phone_on_its_side_and_the_strip_is_whole(
    size: tuple[int, int], microscope: Microscope
) -> None:
    microscope.size(*size)
    states: list[dict[str, Any]] = [{"step": step} for step in STEPS]
    states.append({"step": "join", "temperature": 4})
    places = microscope.layouts(
        states,
        """() => {
          scrollTo(0, 0);
          const strip = document.querySelector(".strip");
          const box = (one) => one.getBoundingClientRect();
          strip.scrollLeft = 0;
          const left = box(strip.firstElementChild).left - box(strip).left;
          strip.scrollLeft = 9999;
          const right = box(strip).right - box(strip.lastElementChild).right;
          return [box(document.querySelector("main")).top / innerHeight, left, right];
        }""",
    )
    for state, (top, *ends) in zip(states, places, strict=True):
        assert top <= 0.35, state
        assert min(ends) >= 0, state


@pytest.mark.parametrize("size", slow_after(1, [(390, 844), (320, 700), (720, 450)]))
def test_small_and_enlarged_screens_scroll_in_one_direction(
    size: tuple[int, int], microscope: Microscope
) -> None:
    microscope.size(*size)
    wide = microscope.layouts(
        [{"step": step} for step in PAGES],
        "() => document.documentElement.scrollWidth - innerWidth",
    )
    assert max(wide) <= 0, dict(zip(PAGES, wide, strict=True))


@pytest.mark.parametrize(
    ("step", "height"),
    [
        ("draw", 1100),
        *(
            pytest.param(*x, marks=pytest.mark.slow)
            for x in (("patches", 1100), ("softmax", 450), ("heads", 1100))
        ),
    ],
)
def test_nothing_overlaps_or_leaves_the_page_at_any_width(
    step: str, height: int, microscope: Microscope
) -> None:
    microscope.settle().show(step)
    for width in (360, 500, 640, 720, 799, 820, 999, 1024, 1180, 1280, 1920):
        faults = microscope.size(width, height).evaluate(
            """() => {
              const box = (one) => one.getBoundingClientRect();
              const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5
                && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0.5;
              const all = [...document.querySelectorAll("main *:not(.hidden)")];
              const wide = all.filter((one) => !one.closest(".formula, svg")
                && (box(one).right > innerWidth + 0.5 || box(one).left < -0.5));
              const cut = all.filter((one) => one.matches(".head-card, .caption, .data")
                && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0);
              const apart = all.filter((one) =>
                one.matches(`.head-card, .piece, .data, .opening-body > section,
                  .pair :is(input, h3, .matrix)`));
              const met = apart.filter((a, i) =>
                apart.slice(i + 1).some((b) => meet(box(a), box(b))));
              return [...wide, ...cut, ...met].map((one) => `${one.tagName} ${one.className}`);
            }"""
        )
        assert faults == [], (width, faults)


@pytest.mark.slow
def test_formulas_are_whole_on_a_phone(microscope: Microscope) -> None:
    microscope.size(390, 844)
    for step in STEPS:
        cut = microscope.show(step).evaluate(
            """() => [...document.querySelectorAll(".formula")].map(
              (formula) => formula.scrollWidth - formula.clientWidth)"""
        )
        assert not any(cut), step


def test_the_first_screen_has_a_sentence_a_pad_and_a_prediction(microscope: Microscope) -> None:
    microscope.show()
    assert microscope.text("h2").startswith("Draw a digit. Watch 16 pieces of it")
    for selector in (".pad", ".prediction-label", ".bars", ".strip"):
        assert microscope.evaluate(VISIBLE, selector)
    assert microscope.text(".prediction-label") == "7"
    assert len(microscope.texts(".strip .thumb")) == 24


def test_the_path_leads_through_all_steps_and_back(microscope: Microscope) -> None:
    microscope.show()
    seen = ["draw"]
    for _ in STEPS[1:]:
        microscope.click("Next")
        seen.append(microscope.state("step"))
        focused = microscope.evaluate("() => document.activeElement.textContent")
        assert focused.startswith("Next") or seen[-1] == "gallery"
        assert microscope.message() == microscope.text("h2") or seen[-1] == "gallery"
        (here,) = microscope.texts(".stop[aria-current=step]")
        assert here or seen[-1] in ("pixels", "patches", "tokens", "prediction", "gallery")
    assert tuple(seen) == STEPS
    for step in reversed(STEPS[:-1]):
        microscope.click("Back", ".way")
        assert microscope.state("step") == step
    microscope.show("mix")
    microscope.page.wait_for_url("**/*#step=mix")


def test_arrow_keys_turn_steps_and_few_tabs_lead_to_the_pad(microscope: Microscope) -> None:
    microscope.show()
    microscope.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert microscope.state("step") == "pixels"
    microscope.show("softmax").patch(11).focus()
    microscope.press("ArrowRight")  # moves within the picture
    assert microscope.state("step") == "softmax"
    microscope.show().evaluate("() => { document.activeElement.blur(); document.body.focus() }")
    tabs = 0
    while microscope.evaluate("() => document.activeElement.classList[0]") != "pad":
        microscope.press("Tab")
        tabs += 1
        assert tabs <= 12
    microscope.page.locator(".stop[tabindex='0']").focus()
    microscope.press("ArrowRight", "ArrowRight", "Enter")
    assert microscope.state("step") == "patches"


@pytest.mark.parametrize("size", [(1440, 900), (820, 1180), (390, 844), (320, 700)])
def test_next_is_on_the_first_screen_of_the_opening(
    size: tuple[int, int], microscope: Microscope
) -> None:
    microscope.size(*size).show()
    assert microscope.evaluate(VISIBLE, ".way .primary")


def test_the_exchange_runs_through_all_layers_until_the_picture_changes(
    microscope: Microscope,
) -> None:
    microscope.show()
    slider = microscope.page.get_by_label("Watch the patches exchange information: step")
    slider.fill("3")
    microscope.frames()
    assert microscope.text(".strip .layer.here .layer-name") == "Layer 3"
    assert "Layer 3 of 6: " in microscope.text(".readout")
    lines = microscope.page.locator(".arcs .arc").count()
    assert 8 < lines <= 16  # one of each patch
    assert microscope.page.locator(".arcs .pulse").count() == lines
    lens = microscope.evaluate("() => clearhead.store.result.value.lens[3]")
    shown = [number(text) / 100 for text in microscope.texts("[data-number=probability]")]
    assert shown == pytest.approx(lens, abs=0.0051)
    slider.fill("0")
    assert microscope.frames().page.locator(".strip .layer.here").count() == 0
    microscope.click("Play: Watch the patches exchange information")
    microscope.page.wait_for_function("() => clearhead.store.flow.value === 2")
    microscope.click("Example 4")
    microscope.page.wait_for_timeout(1100)
    assert slider.input_value() == "0"


def test_on_a_phone_an_open_case_begins_below_one_line_of_cards(microscope: Microscope) -> None:
    place = """() => {
      const [card, map] = [".card[aria-pressed=true]", ".content .digit-map"].map(
        (one) => document.querySelector(one).getBoundingClientRect());
      return [card.left, innerWidth - card.right, card.top, map.top / innerHeight];
    }"""
    microscope.size(390, 844)
    for case in (1, 3, 6):
        microscope.show("gallery").show("gallery", case=case)
        microscope.evaluate("() => scrollTo(0, 0)")
        *inside, top = microscope.evaluate(place)
        assert min(inside) >= 0
        assert top < 0.72


def test_no_animation_plays_before_play_is_pressed(microscope: Microscope) -> None:
    with microscope.media(reduced_motion="no-preference"):
        microscope.show("patches")
        assert microscope.page.locator(".piece.out").count() == 16
        microscope.click("Play")
        microscope.page.wait_for_function(
            "() => ![0, 1, 16].includes(document.querySelectorAll('.piece.out').length)"
        )


def test_a_masked_patch_keeps_its_switch(microscope: Microscope) -> None:
    microscope.show("mix", reveal=False).click("Just show me")
    said = microscope.text(".revealed")
    for on in ("true", "false"):
        switch = microscope.page.get_by_role("switch", name="Mask patch 15")
        switch.click()
        assert microscope.frames().text(".revealed") == said
        assert switch.get_attribute("aria-checked") == on


def test_terms_have_their_meaning(microscope: Microscope) -> None:
    microscope.show()
    term = microscope.page.get_by_role("button", name="uniform weight")
    assert "divided by the number of patches" in microscope.evaluate(
        "term => document.getElementById(term.getAttribute('aria-describedby')).textContent",
        term.element_handle(),
    )
    term.focus()
    microscope.press("Enter")
    assert microscope.page.locator(".meaning:popover-open").is_visible()
    microscope.press("Escape")
    assert microscope.page.locator(".meaning:popover-open").count() == 0


@pytest.mark.slow
def test_steps_keep_their_texts_without_a_picture(microscope: Microscope) -> None:
    for step in STEPS[1:-1]:
        microscope.show(step)
        texts = microscope.texts(".step-head h2, .step-head .lead")
        microscope.show(step, strokes="")
        assert microscope.texts(".step-head h2, .step-head .lead") == texts
        assert microscope.page.locator(".way .primary").is_visible()
    microscope.click("Use the example")
    assert microscope.page.locator(".nothing").count() == 0


def test_a_click_in_the_strip_opens_the_part(microscope: Microscope) -> None:
    microscope.show()
    microscope.click("L5 H3", ".strip")
    assert microscope.state("step") == "softmax"
    assert (microscope.state("layer"), microscope.state("head")) == (4, 2)
    assert "L5 H3" in microscope.text(".readout")
    for label, step in (("Tokens", "tokens"), ("Prediction", "prediction"), ("Gallery", "gallery")):
        microscope.page.locator(".part .open").filter(has_text=label).click()
        assert microscope.state("step") == step


def test_hover_links_digit_readout_formula_bars_and_matrix(microscope: Microscope) -> None:
    microscope.show("softmax")
    microscope.patch(6).hover()
    microscope.frames()
    assert "patch 11 attends to patch 6" in microscope.text(".readout")
    assert microscope.texts(".token-bars g.now .token") == ["6"]
    assert microscope.texts(".matrix [role=columnheader].now") == ["6"]
    assert microscope.text(".formula msub").startswith("w11,6")
    microscope.page.locator(".matrix [data-place]").nth(3 * 16 + 1).hover()
    microscope.frames()
    assert "patch 4 attends to patch 2" in microscope.text(".readout")
    assert microscope.page.locator(".patch.query").get_attribute("data-token") == "3"
    microscope.page.mouse.move(5, 5)
    microscope.frames()
    assert "patch 11 attends to patch 15" in microscope.text(".readout")


def test_lines_also_lead_from_the_patches_that_attend_to_the_chosen_one(
    microscope: Microscope,
) -> None:
    microscope.show("softmax").click("is attended to by", role="radio")
    column = microscope.evaluate(
        """() => Array.from({ length: 16 }, (_, i) =>
          clearhead.store.result.value.run.layers[2].heads[0].weights[i * 16 + 10])"""
    )
    best = column.index(max(column)) + 1
    assert f"patch {best} attends to patch 11" in microscope.text(".readout")
    microscope.patch(4).hover()
    assert "patch 4 attends to patch 11" in microscope.frames().text(".readout")
    assert microscope.page.locator(".arcs .arc").count() == sum(
        weight >= 1 / 32 for i, weight in enumerate(column) if i != 10
    )


def test_the_keyboard_reads_and_chooses_patches_and_entries(microscope: Microscope) -> None:
    microscope.show("softmax")
    microscope.patch(11).focus()
    microscope.press("ArrowUp")
    assert "patch 11 attends to patch 7" in microscope.text(".readout")
    assert "gets" in microscope.evaluate("() => document.activeElement.ariaLabel")
    microscope.press("Enter")
    assert microscope.state("query") == 6
    microscope.page.locator(".matrix [tabindex='0']").focus()
    microscope.press("Home", "ArrowRight", "ArrowDown")
    assert (microscope.state("query"), microscope.state("key")) == (7, 1)
    assert re.match(
        r"patch 8 attends to patch 2: .* percent",
        microscope.evaluate("() => document.activeElement.ariaLabel"),
    )


def test_arrow_keys_move_between_pixels_and_show_their_values(microscope: Microscope) -> None:
    microscope.show("pixels").page.locator(".pixel-holder [role=gridcell]").focus()
    ink = microscope.ink()
    row, column = divmod(int(ink.argmax()), 28)
    for keys in ((), ("ArrowDown", "ArrowDown"), ("ArrowRight",), ("Home", "ArrowRight")):
        microscope.press(*keys)
        row += keys.count("ArrowDown")
        column = keys.count("ArrowRight") + (0 if "Home" in keys else column)
        written = f"Row {row + 1}, column {column + 1}: {ink[row, column]:.2f}"
        assert microscope.text(".aside .readout").startswith(written)


def test_arrow_keys_follow_the_layout_of_the_heads_in_the_strip(microscope: Microscope) -> None:
    microscope.show("softmax").page.locator(".thumb.now").focus()
    places = "() => Number(document.activeElement.dataset.head)"
    for key, place in (("ArrowRight", 9), ("ArrowRight", 12), ("ArrowDown", 14), ("Home", 2)):
        microscope.press(key)
        assert microscope.evaluate(places) == place


@pytest.mark.parametrize(
    ("step", "group", "down"), [("patches", ".sequence", 8), ("heads", ".head-grid", 4)]
)
def test_many_buttons_have_one_tab_stop_and_arrow_keys(
    step: str, group: str, down: int, microscope: Microscope
) -> None:
    microscope.show(step, layer=3, head=1, query=3)
    buttons = microscope.page.locator(f"{group} button")
    (stop,) = (i for i in range(buttons.count()) if buttons.nth(i).get_attribute("tabindex") == "0")
    buttons.nth(stop).focus()
    microscope.press("ArrowDown", "ArrowRight")
    focused = "(group) => [...document.querySelectorAll(group)].indexOf(document.activeElement)"
    place = microscope.evaluate(focused, f"{group} button")
    assert place == stop + down + 1
    assert buttons.nth(stop).get_attribute("aria-pressed") == "true"
    microscope.press("Enter")
    assert buttons.nth(place).get_attribute("aria-pressed") == "true"
    assert microscope.state("step") == step


def test_switches_of_heads_name_their_head(microscope: Microscope) -> None:
    microscope.show("join", layer=2)
    for head in range(1, 5):
        switch = microscope.page.get_by_role("switch", name=f"L2 H{head} in use", exact=True)
        assert switch.count() == 1


def test_the_result_is_hidden_until_the_question_is_answered_or_skipped(
    microscope: Microscope,
) -> None:
    microscope.show("scores", reveal=False)
    assert microscope.page.locator(".waterfall").count() == 0
    assert microscope.page.locator(".arcs .arc").count() == 0
    assert "= ?" in microscope.text(".formula").replace("=?", "= ?")
    microscope.patch(15).click()
    microscope.frames()
    assert microscope.text(".revealed").startswith("Yes. The best match is patch 15")
    assert microscope.page.locator(".waterfall").count() == 1
    microscope.click("Predict again")
    microscope.patch(2).click()
    microscope.frames()
    assert microscope.text(".revealed").startswith("Not quite.")
    microscope.show("softmax", reveal=False)
    microscope.click("over 75 %")
    assert re.match(r"Yes\. Patch 15 gets (7[6-9]|[89]\d)", microscope.text(".revealed"))
    microscope.show("mix", reveal=False).click("Just show me")
    assert microscope.text(".revealed").startswith("A large weight does not make")


def test_the_products_add_up_step_by_step(microscope: Microscope) -> None:
    microscope.show("scores")
    total = number(microscope.text(".waterfall .sum"))
    for _ in range(3):
        microscope.click("One step back")
    partial = number(microscope.text(".waterfall .sum"))
    products = microscope.evaluate(
        """() => { const { query, key } = clearhead.store.result.value.run.layers[2].heads[0];
          return Array.from({ length: 16 }, (_, i) => query[160 + i] * key[224 + i]); }"""
    )
    assert total == pytest.approx(sum(products), abs=0.0051)
    assert partial == pytest.approx(sum(products[:13]), abs=0.0051)
    microscope.page.get_by_label("Add up the products: step").fill("0")
    assert microscope.frames().page.locator(".waterfall rect").count() == 0
    microscope.click("Play")
    microscope.page.locator(".waterfall rect").nth(1).wait_for()
    microscope.click("Pause")


def test_a_pinned_result_is_compared_with_the_next_one(microscope: Microscope) -> None:
    weights = "() => [...clearhead.store.result.value.run.layers[2].heads[0].weights]"
    before = microscope.show("softmax").evaluate(weights)
    microscope.click("Pin to compare")
    assert "Now minus pinned" not in microscope.text("main")
    microscope.evaluate("() => clearhead.store.set({ temperature: 2 })")
    after = microscope.frames().evaluate(weights)
    assert "Now minus pinned (7), in points" in microscope.text("main")
    label = microscope.page.locator("[data-place='174']").get_attribute("aria-label") or ""
    change = 100 * (after[174] - before[174])
    assert abs(change) > 10  # written in the cell, too: to whole points
    assert number(label.split(":")[1]) == pytest.approx(change, abs=0.51)
    microscope.click("Unpin")
    assert "Now minus pinned" not in microscope.text("main")


def test_a_switch_says_where_it_acts_and_what_it_did(microscope: Microscope) -> None:
    microscope.show("scale").click("Divide by √16, in all 6 layers", role="switch")
    assert microscope.state("temperature") == 0.25
    assert "÷ √d off in every layer" in microscope.text(".changes")
    assert re.match(r"q11·k15=[\d.]+,notdivided", microscope.text(".formula").replace(" ", ""))
    assert microscope.text(".effect").startswith("The prediction ")
    microscope.click("Reset")
    assert microscope.page.locator(".changes").count() == 0


def test_every_change_is_named_and_reset_undoes_all(microscope: Microscope) -> None:
    before = microscope.show().logits()
    microscope.show(
        "join",
        temperature=2,
        positions=0,
        seed=3,
        removed="1.9",
        reversed=1,
        masked="4",
        noisyPatches="6.7",
        centred=0,
    )
    named = microscope.text(".changes")
    for change in (
        "temperature 2.00 in every layer",
        "positions off",
        "patches shuffled",
        "2 heads removed",
        "values reversed in L3",
        "1 patch masked in every layer",
        "noise on 2 patches",
        "not centred",
        "Not the trained model",
    ):
        assert change in named
    microscope.click("Reset")
    assert microscope.logits() == before


def test_a_removed_head_shows_nothing(microscope: Microscope) -> None:
    microscope.show("heads", removed="9")
    assert microscope.page.locator(".strip .thumb.removed").count() == 1
    assert microscope.page.locator(".strip .thumb.removed canvas").count() == 0
    assert microscope.page.locator(".head-card.now canvas").count() == 0
    assert microscope.page.locator(".arcs .arc").count() == 0
    assert "is removed" in microscope.text(".readout")


def test_shuffled_patches_change_logits_only_with_positions(microscope: Microscope) -> None:
    microscope.show("tokens", positions=0, seed=5)
    assert number(microscope.text("[data-number=shuffle]").split("at most")[1]) < 1e-10
    microscope.show("tokens", seed=5)
    shown = microscope.text("[data-number=shuffle]")
    assert number(shown.split("at most")[1]) > 0.01
    assert "×" not in shown
    assert re.match("The prediction changes from 7 to ", shown)
    assert "The model is unchanged" in microscope.text(".changes")


def test_the_gallery_shows_each_case_and_what_to_keep(microscope: Microscope) -> None:
    microscope.show("gallery")
    assert len(microscope.texts(".takeaways li")) == 3
    assert microscope.page.locator("main .digit-map").count() == 0
    microscope.click("4 or 9?")
    shares = "() => [4, 9].map((one) => clearhead.store.result.value.run.probabilities[one])"
    assert min(microscope.page.evaluate(shares)) > 0.4
    microscope.click("Eight heads fewer")
    assert "8 heads removed" in microscope.text(".changes")
    assert "stays 3" in microscope.text(".effect")
    microscope.click("17")
    assert "17" in microscope.text(".several")
    assert microscope.text(".prediction-label") == microscope.text(".prediction-thumb") == "17"
    microscope.page.locator(".card").last.click()
    words = microscope.frames().text(".prediction-words")
    certainty, threshold = (number(text) for text in words.split("certainty, ")[1].split("below"))
    assert certainty < threshold
    assert (
        microscope.frames().evaluate("() => clearhead.store.result.value.predictions.length") == 1
    )


def test_an_address_of_a_case_of_the_gallery_opens_it(microscope: Microscope) -> None:
    microscope.show("gallery", case=2)
    assert "8 heads removed" in microscope.text(".changes")
    assert microscope.text(".card[aria-pressed=true] b") == "Eight heads fewer"
    assert microscope.evaluate("() => clearhead.store.hash()") == "step=gallery&case=2"
    microscope.show("gallery", case=2, removed="1")
    assert "1 head removed" in microscope.text(".changes")
    microscope.show("gallery", case=99)  # unknown
    assert microscope.page.locator(".card[aria-pressed=true]").count() == 0


def test_layer_head_and_word_of_a_text_are_chosen_and_in_the_link(microscope: Microscope) -> None:
    microscope.show("text")
    assert microscope.text("#sentence").startswith(
        "L2, mean of heads: “it” attends most to “dog” with"
    )
    for name in ("L1", "H3", "dog"):
        microscope.click(name, role="radio")
    assert microscope.text("#sentence").startswith("L1 H3: “dog” attends most to ")
    link = microscope.evaluate("() => clearhead.store.hash()")
    assert link == "step=text&word=2&textLayer=1&textHead=3"
    microscope.show("text", sentence="dog")
    rows = microscope.texts(".matrix [role=rowheader]")
    heads = (", mean of heads", " H1", " H2", " H3", " H4")
    assert rows == [f"L{layer}{head}" for layer in (1, 2) for head in heads]
    microscope.page.locator(".matrix [data-place]").nth(8).click()
    assert microscope.frames().text("#sentence").startswith("L2 H3: “dog”")
    assert (microscope.state("textLayer"), microscope.state("textHead")) == (1, 2)


@pytest.mark.slow
def test_exact_shapley_values_are_computed_on_request(microscope: Microscope) -> None:
    microscope.show("gallery").click("Attention is not importance")
    microscope.settle().click("Compute exact Shapley values")
    microscope.settle()
    microscope.page.wait_for_selector("figcaption:has-text('Exact')")
    rows = microscope.table()
    assert len(rows) == 16
    assert sum(number(row[2]) for row in rows) == pytest.approx(100, abs=1.5)
    assert max(abs(number(row[4])) for row in rows) > 0.5


def test_a_link_restores_the_whole_state(microscope: Microscope) -> None:
    state: dict[str, Any] = {
        "layer": 5,
        "head": 2,
        "query": 7,
        "key": 3,
        "scale": "even",
        "attendedBy": 1,
        "strokes": "2s1t4k1q5e1q.5e1q3s5c",
        "centred": 0,
        "temperature": 0.37,
        "positions": 0,
        "seed": 12,
        "removed": "3.24",
        "reversed": 1,
        "masked": "1.16",
        "noisyPatches": "2.5",
        "noise": 0.85,
        "theme": "dark",
    }
    link = microscope.show("softmax", **state).evaluate("() => clearhead.store.hash()")
    written = dict(part.split("=") for part in link.split("&"))
    assert written == {"step": "softmax", **{name: str(value) for name, value in state.items()}}
    logits = microscope.logits()
    microscope.show()
    assert microscope.logits() != logits
    microscope.evaluate("(hash) => clearhead.store.restore(hash)", link)
    assert microscope.frames().logits() == logits


def test_invalid_parts_of_a_link_are_ignored(microscope: Microscope) -> None:
    microscope.show("nowhere", layer=99, strokes="!!", temperature="1e9", images="AAAA")
    assert microscope.state("step") == "draw"
    assert microscope.state("layer") == 2
    assert microscope.text(".prediction-label") == "7"


def test_about_shows_the_self_check_and_the_accuracy(microscope: Microscope) -> None:
    shown = microscope.settle().show("about").text("[data-number=self-check]")
    assert shown.startswith("Passed: on 20 drawings")
    assert 0 < number(shown.split("at most")[1]) < 1e-5
    assert "of 10,000 test pictures" in microscope.text(".facts")


def test_a_failed_self_check_is_shown_at_once(microscope: Microscope) -> None:
    for failed in ("true", "false"):
        microscope.evaluate(
            f"""() => {{ const {{ examples }} = clearhead.store;
              examples.value = {{ ...examples.value, failed: {failed} }}; }}"""
        )
        count = microscope.frames().page.locator(".failed").count()
        assert count == (failed == "true")


def test_a_stroke_ends_when_another_step_is_opened_in_the_middle_of_it(
    microscope: Microscope,
) -> None:
    microscope.show(strokes="")
    pad = microscope.page.locator(".pad").bounding_box()
    assert pad is not None
    microscope.page.mouse.move(pad["x"] + 80, pad["y"] + 60)
    microscope.page.mouse.down()
    microscope.page.mouse.move(pad["x"] + 200, pad["y"] + 300, steps=5)
    microscope.evaluate("() => clearhead.store.go('softmax')")
    microscope.page.wait_for_selector("[data-step=softmax]")
    microscope.page.mouse.up()
    assert microscope.frames().evaluate("() => clearhead.store.drawn.value") is None
    assert len(microscope.state("strokes")) == 1


def test_the_browsers_back_leads_to_the_last_step(microscope: Microscope) -> None:
    written = "() => location.hash.includes('step=scores')"
    microscope.show("pixels", layer=2)
    microscope.page.wait_for_function("() => location.hash.includes('step=pixels')")
    microscope.show("scores", layer=2)
    microscope.page.wait_for_function(written)
    microscope.page.go_back()
    assert microscope.frames().state("step") == "pixels"
    microscope.page.go_forward()
    assert microscope.frames().state("step") == "scores"
