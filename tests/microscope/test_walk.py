"""The walk: a tick comes from the act that was asked for, and what a step changed is taken back."""

import re

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from tests.microscope.looking import Microscope

WEIGHTS = """() => {
  const { state, reading } = clearhead.app;
  const { weights } = reading.run.layers[state.layer].heads[state.head];
  return [...weights.slice(16 * state.asker, 16 * state.asker + 16)];
}"""
BLANK = "() => clearhead.app.reading.blank"
TEMPERATURE = "() => clearhead.app.state.temperature"


@pytest.fixture
def walk(microscope: Microscope) -> Microscope:
    """No step is done."""
    microscope.page.reload()
    return microscope.settle()


def ticked(walk: Microscope) -> Locator:
    return walk.page.locator(".tick-box.ticked")


def frames(walk: Microscope) -> None:
    walk.ask(
        "async () => { for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame); }"
    )


def press(walk: Microscope, name: str) -> None:
    """A button of the walk, whatever it says besides."""
    walk.page.locator(".walk").get_by_role("button", name=name).first.click()
    frames(walk)


def to_temperature(walk: Microscope, temperature: float) -> None:
    """The slider, as a hand moves it: places are even steps of the logarithm from 0.1 to 4."""
    place = round(200 * np.log(temperature / 0.1) / np.log(40))
    walk.page.locator(".walk input[type=range]").fill(str(place))
    frames(walk)


def silence(walk: Microscope, patch: int) -> None:
    walk.page.locator(".walk .experiment .patches .cell").nth(patch).click()
    frames(walk)


def test_the_first_five_attempts_are_ticked_when_they_are_done(walk: Microscope) -> None:
    walk.show(step=1)
    walk.page.get_by_role("button", name="Example 3").click()
    expect(ticked(walk)).to_be_visible()
    walk.show(step=2)
    inked = walk.ask(BLANK).index(False)
    walk.page.locator(".walk .patches .cell").nth(inked).click()
    expect(ticked(walk)).to_be_visible()
    walk.show(step=3)
    press(walk, "Positions: on")
    expect(ticked(walk)).to_be_visible()
    walk.show(step=4)
    walk.page.get_by_role("radio", name="Head C").click()
    expect(ticked(walk)).to_be_visible()
    walk.show(step=5)
    scores = walk.ask(
        "() => [...clearhead.app.reading.run.layers[2].heads[0].scores.slice(32, 48)]"
    )
    walk.page.locator(".walk .matrix .cell").nth(32 + int(np.argmax(scores))).click()
    expect(ticked(walk)).to_be_visible()


def test_scaling_is_ticked_only_when_it_is_off_and_the_next_step_was_seen(walk: Microscope) -> None:
    walk.show(step=7)
    to_temperature(walk, 1.5)
    press(walk, "Back")
    assert ticked(walk).count() == 0
    press(walk, "Divide by √d: on")
    assert ticked(walk).count() == 0
    press(walk, "Next")
    expect(walk.page.locator(".step").nth(5)).to_have_class(re.compile("done"))
    assert ticked(walk).count() == 0
    press(walk, "Back")
    expect(ticked(walk)).to_be_visible()


def test_the_next_step_alone_ticks_no_scaling(walk: Microscope) -> None:
    walk.show(step=6)
    press(walk, "Divide by √d: on")
    press(walk, "Divide by √d: off")
    press(walk, "Next")
    assert walk.page.locator(".step.done").count() == 0


def test_the_temperature_must_be_lowered_until_the_row_passes_what_it_had_not(
    walk: Microscope,
) -> None:
    walk.show(step=7)
    assert max(walk.ask(WEIGHTS)) == pytest.approx(0.9, abs=0.01)
    assert "passes 95\u202f%" in walk.text(".attempt")
    to_temperature(walk, 0.95)
    assert 0.9 < max(walk.ask(WEIGHTS)) < 0.95
    to_temperature(walk, 1.5)
    assert ticked(walk).count() == 0
    to_temperature(walk, 0.5)
    assert max(walk.ask(WEIGHTS)) > 0.95
    expect(ticked(walk)).to_be_visible()


def test_a_row_that_is_high_already_must_become_higher_or_come_down(walk: Microscope) -> None:
    walk.show(step=7, temperature=0.7)
    assert 0.95 < max(walk.ask(WEIGHTS)) < 0.99
    assert "passes 99\u202f%" in walk.text(".attempt")
    walk.show(step=7, temperature=0.1)
    assert "Raise the temperature until no weight of this row passes 50\u202f%" in walk.text(
        ".attempt"
    )
    to_temperature(walk, 0.5)
    assert ticked(walk).count() == 0
    to_temperature(walk, 4)
    assert max(walk.ask(WEIGHTS)) < 0.5
    expect(ticked(walk)).to_be_visible()


def test_only_the_patch_that_answered_most_counts_as_silenced(walk: Microscope) -> None:
    walk.show(step=8)
    best = int(np.argmax(walk.ask(WEIGHTS)))
    silence(walk, 0)
    silence(walk, (best + 1) % 16)
    assert ticked(walk).count() == 0
    silence(walk, best)
    expect(ticked(walk)).to_be_visible()


def test_only_the_shown_head_counts_as_removed_and_it_is_marked(walk: Microscope) -> None:
    walk.show(step=9, layer=3, head=2)
    marked = walk.page.locator(".shown-head")
    assert marked.all_text_contents() == ["3B"]
    assert "shown now" in str(marked.get_attribute("aria-label"))
    press(walk, "1A: layer 1, head A")
    assert ticked(walk).count() == 0
    press(walk, "3B: layer 3, head B")
    expect(ticked(walk)).to_be_visible()


@pytest.mark.parametrize("digit", [0, 4, 6, 7, 8])
def test_the_lens_is_ticked_for_the_first_layer_with_the_answer_and_no_other(
    digit: int, walk: Microscope
) -> None:
    walk.page.get_by_role("button", name=f"Example {digit}", exact=True).click()
    frames(walk)
    walk.ask("() => clearhead.app.set({ step: 9 })")
    walk.settle()
    answers = walk.ask(
        "() => clearhead.app.reading.lens.map((row) => row.indexOf(Math.max(...row)))"
    )
    first = answers.index(answers[-1])
    cells = walk.page.locator(".walk .lens-cell")
    for layer in set(range(7)) - {first}:
        cells.nth(layer).click()
        frames(walk)
        assert ticked(walk).count() == 0, layer
    walk.ask("(layer) => clearhead.app.set({ layer })", max(0, first - 1))
    frames(walk)
    assert ticked(walk).count() == 0
    cells.nth(first).click()
    expect(ticked(walk)).to_be_visible()


@pytest.mark.parametrize(
    ("step", "change"),
    [
        (3, lambda walk: press(walk, "Positions: on")),
        (3, lambda walk: press(walk, "Shuffle patches")),
        (7, lambda walk: to_temperature(walk, 0.3)),
        (8, lambda walk: silence(walk, 5)),
        (9, lambda walk: press(walk, "3A: layer 3, head A")),
    ],
)
@pytest.mark.parametrize("way", ["Next", "Back", "10"])
def test_what_a_step_changed_is_taken_back_when_it_is_left(
    step: int, change: object, way: str, walk: Microscope
) -> None:
    trained = "() => clearhead.app.reading.run.logits"
    walk.show(step=step)
    before = walk.ask(trained)
    change(walk)  # type: ignore[operator]
    assert walk.ask(trained) != before
    press(walk, way)
    assert walk.ask(trained) == before
    assert not walk.page.locator(".badges").is_visible()
    expect(walk.page.locator(".live")).to_contain_text("Back as it was before this step.")


def test_scaling_stays_off_through_the_next_step_and_no_longer(walk: Microscope) -> None:
    for last in ("Next", "Back", "2"):
        walk.show(step=6, temperature=2)
        press(walk, "Divide by √d: on")
        press(walk, "Next")
        assert walk.ask(TEMPERATURE) == 0.25
        press(walk, last)
        assert walk.ask(TEMPERATURE) == 2
    walk.show(step=6)
    press(walk, "Divide by √d: on")
    press(walk, "5")
    assert walk.ask(TEMPERATURE) == 1


def test_what_was_changed_in_explore_stays(walk: Microscope) -> None:
    walk.show(step=7, removed="3", temperature=0.8)
    press(walk, "Next")
    press(walk, "Back")
    to_temperature(walk, 0.3)
    walk.page.get_by_role("tab", name="Explore").click()
    walk.page.get_by_role("radio", name="Experiments").click()
    walk.page.locator(".explore input[type=range]").first.fill("170")
    frames(walk)
    chosen = walk.ask(TEMPERATURE)
    assert chosen > 1.5
    walk.page.get_by_role("tab", name="Walk").click()
    frames(walk)
    press(walk, "Next")
    assert walk.ask("() => [clearhead.app.state.temperature, clearhead.app.state.removed]") == [
        chosen,
        [2],
    ]


def test_reset_in_a_step_is_not_taken_back(walk: Microscope) -> None:
    walk.show(step=7, temperature=0.5)
    to_temperature(walk, 0.2)
    walk.page.get_by_role("button", name="Reset").click()
    frames(walk)
    press(walk, "Next")
    assert walk.ask(TEMPERATURE) == 1


def test_every_formula_says_whose_numbers_it_holds(walk: Microscope) -> None:
    expected = {
        3: "Patch 11:",
        4: "Patch 11, layer 3, head B:",
        5: "Patch 11 asks patch 15, layer 3, head B:",
        6: "Patch 11 asks patch 15, layer 3, head B:",
        7: "Patch 11 asks patch 15, layer 3, head B:",
        8: "Patch 11, layer 3, head B:",
        9: "Patch 11, layer 3:",
    }
    for step, place in expected.items():
        walk.show(step=step, head=2)
        assert walk.text(".formula").startswith(place), step


def test_the_terms_of_the_weighted_sum_add_up_to_all_of_it(walk: Microscope) -> None:
    walk.show(step=8, asker=1)
    names = walk.page.locator(".taken .strip-name").all_text_contents()
    assert len(names) == 10
    rest = re.fullmatch(r"\+ 8 more patches, together ([\d.]+)\u202f%", names[8])
    assert rest
    weights = sorted(walk.ask(WEIGHTS), reverse=True)
    assert float(rest[1]) / 100 == pytest.approx(sum(weights[8:]), abs=0.00501)
    shown = [float(re.match(r"[\d.]+", name)[0]) for name in names[:8]]  # type: ignore[index]
    assert sum(shown) + float(rest[1]) == pytest.approx(100, abs=1)


def test_the_first_step_says_that_the_drawing_is_not_centred(walk: Microscope) -> None:
    walk.show(step=1)
    assert "centre of mass is in the middle" in walk.text(".lead")
    walk.page.get_by_label("Centre it for me").click()
    frames(walk)
    assert "Centring is off" in walk.text(".lead")
    assert "moved until" not in walk.text(".lead")
    assert "not centred: drawn where you drew it" in walk.text(".badges")
