"""The walk: a step is ticked once its task is done, and leaving a step undoes its changes."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from tests.microscope.driver import Microscope

WEIGHTS = """() => {
  const { state, result } = clearhead.app;
  const { weights } = result.run.layers[state.layer].heads[state.head];
  return [...weights.slice(16 * state.queryToken, 16 * state.queryToken + 16)];
}"""


def is_ticked(walk: Microscope) -> bool:
    return walk.frames().page.locator(".tick-box.ticked").count() == 1


def press(walk: Microscope, name: str) -> None:
    """Press a button of the walk."""
    walk.click(name, ".walk")


def set_temperature(walk: Microscope, temperature: float) -> None:
    """Move the slider: its places are even steps of the logarithm from 0.1 to 4."""
    place = round(200 * np.log(temperature / 0.1) / np.log(40))
    walk.page.locator(".walk input[type=range]").fill(str(place))
    walk.frames()


def mask(walk: Microscope, patch: int) -> None:
    walk.page.locator(".walk .experiment .patches .cell").nth(patch).click()
    walk.frames()


def test_first_five_exercises_are_ticked_when_done(fresh: Microscope) -> None:
    fresh.show(step=1).click("Example 3")
    assert is_ticked(fresh)
    fresh.show(step=2)
    inked = fresh.evaluate("() => clearhead.app.result.blank").index(False)
    fresh.page.locator(".walk .patches .cell").nth(inked).click()
    assert is_ticked(fresh)
    press(fresh.show(step=3), "Positions: on")
    assert is_ticked(fresh)
    fresh.show(step=4).page.get_by_role("radio", name="Head 3").click()
    assert is_ticked(fresh)
    scores = fresh.show(step=5).evaluate(
        "() => [...clearhead.app.result.run.layers[2].heads[0].scores.slice(32, 48)]"
    )
    fresh.page.locator(".walk .matrix .cell").nth(32 + int(np.argmax(scores))).click()
    assert is_ticked(fresh)


def test_scaling_is_ticked_once_it_is_off_and_the_next_step_was_opened(
    fresh: Microscope,
) -> None:
    fresh.show(step=6)
    press(fresh, "Divide by √d: on")
    press(fresh, "Divide by √d: off")
    press(fresh, "Next")
    assert fresh.page.locator(".step.done").count() == 0
    set_temperature(fresh, 1.5)
    press(fresh, "Back")
    press(fresh, "Divide by √d: on")
    assert not is_ticked(fresh)
    press(fresh, "Next")
    assert not is_ticked(fresh)
    press(fresh, "Back")
    assert is_ticked(fresh)


def show_largest_weight(microscope: Microscope, low: float, high: float) -> float:
    """Show the row at a temperature at which its largest weight is in this range; returns it."""
    for tenths in range(2, 41):
        microscope.show(step=7, temperature=tenths / 10)
        if low < max(microscope.evaluate(WEIGHTS)) < high:
            return tenths / 10
    raise AssertionError(f"no temperature gives a largest weight between {low} and {high}")


def test_temperature_is_ticked_when_the_largest_weight_crosses_the_threshold(
    fresh: Microscope,
) -> None:
    temperature = show_largest_weight(fresh, 0.8, 0.95)
    assert "95\u202f%" in fresh.text(".task")
    set_temperature(fresh, 2 * temperature)
    assert max(fresh.evaluate(WEIGHTS)) < 0.95
    assert not is_ticked(fresh)
    set_temperature(fresh, temperature / 2)
    assert max(fresh.evaluate(WEIGHTS)) > 0.95
    assert is_ticked(fresh)


def test_a_row_above_the_threshold_must_rise_further_or_fall_below_it(fresh: Microscope) -> None:
    show_largest_weight(fresh, 0.95, 0.99)
    assert "99\u202f%" in fresh.text(".task")
    fresh.show(step=7, temperature=0.1)
    assert re.search("Raise the temperature .*50\u202f%", fresh.text(".task"))
    set_temperature(fresh, 0.5)
    assert not is_ticked(fresh)
    set_temperature(fresh, 4)
    assert max(fresh.evaluate(WEIGHTS)) < 0.5
    assert is_ticked(fresh)


def test_only_the_patch_with_the_largest_weight_counts_as_masked(fresh: Microscope) -> None:
    best = int(np.argmax(fresh.show(step=8).evaluate(WEIGHTS)))
    mask(fresh, 0)
    mask(fresh, (best + 1) % 16)
    assert not is_ticked(fresh)
    mask(fresh, best)
    assert is_ticked(fresh)


def test_only_the_shown_head_counts_as_removed_and_it_is_marked(fresh: Microscope) -> None:
    marked = fresh.show(step=9, layer=3, head=2).page.locator(".shown-head")
    assert marked.all_text_contents() == ["L3 H2"]
    assert "shown now" in str(marked.get_attribute("aria-label"))
    press(fresh, "L1 H1")
    assert not is_ticked(fresh)
    press(fresh, "L3 H2")
    assert is_ticked(fresh)


@pytest.mark.parametrize(  # decided after another layer each
    "digit", [0, pytest.param(6, marks=pytest.mark.slow)]
)
def test_the_lens_is_ticked_for_the_first_layer_with_the_final_prediction_alone(
    digit: int, fresh: Microscope
) -> None:
    fresh.page.get_by_role("button", name=f"Example {digit}", exact=True).click()
    fresh.evaluate("() => clearhead.app.set({ step: 9 })")
    predictions = fresh.frames().evaluate(
        "() => clearhead.app.result.lens.map((row) => row.indexOf(Math.max(...row)))"
    )
    first = predictions.index(predictions[-1])
    cells = fresh.page.locator(".walk .lens-cell")
    for layer in set(range(7)) - {first}:
        cells.nth(layer).click()
        assert not is_ticked(fresh), layer
    fresh.evaluate("(layer) => clearhead.app.set({ layer })", max(0, first - 1))
    assert not is_ticked(fresh)
    cells.nth(first).click()
    assert is_ticked(fresh)


CHANGES: dict[str, tuple[int, Callable[[Microscope], None]]] = {
    "positions": (3, lambda walk: press(walk, "Positions: on")),
    "order": (3, lambda walk: press(walk, "Shuffle patches")),
    "temperature": (7, lambda walk: set_temperature(walk, 0.3)),
    "masked": (8, lambda walk: mask(walk, 5)),
    "removed": (9, lambda walk: press(walk, "L3 H1")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_leaving_a_step_undoes_its_change(name: str, microscope: Microscope) -> None:
    step, change = CHANGES[name]
    for way in ("Next", "Back", "10"):
        before = microscope.show(step=step).logits()
        change(microscope)
        assert microscope.logits() != before
        press(microscope, way)
        assert microscope.logits() == before
        assert not microscope.page.locator(".badges").is_visible()
        assert "The changes of this step were undone." in microscope.messages()


def test_scaling_stays_off_through_the_next_step_and_no_longer(microscope: Microscope) -> None:
    for last in ("Next", "Back", "2"):
        microscope.show(step=6, temperature=2)
        press(microscope, "Divide by √d: on")
        press(microscope, "Next")
        assert microscope.state("temperature") == 0.25
        press(microscope, last)
        assert microscope.state("temperature") == 2
    press(microscope.show(step=6), "Divide by √d: on")
    press(microscope, "5")
    assert microscope.state("temperature") == 1


def test_changes_made_in_explore_and_by_reset_stay(microscope: Microscope) -> None:
    microscope.show(step=7, removed="3", temperature=0.8)
    press(microscope, "Next")
    press(microscope, "Back")
    set_temperature(microscope, 0.3)
    microscope.page.get_by_role("tab", name="Explore").click()
    microscope.page.get_by_role("radio", name="Experiments").click()
    microscope.page.locator(".explore input[type=range]").first.fill("170")
    chosen = microscope.frames().state("temperature")
    assert chosen > 1.5
    microscope.page.get_by_role("tab", name="Walk").click()
    press(microscope.frames(), "Next")
    assert (microscope.state("temperature"), microscope.state("removed")) == (chosen, [2])
    set_temperature(microscope.show(step=7, temperature=0.5), 0.2)
    microscope.click("Reset")
    press(microscope, "Next")
    assert microscope.state("temperature") == 1


def test_every_formula_names_the_patches_layer_and_head_of_its_numbers(
    microscope: Microscope,
) -> None:
    pair = "Query patch 11, key patch 15, L3 H2:"
    expected = {
        3: "Patch 11:",
        4: "Patch 11, L3 H2:",
        **dict.fromkeys((5, 6, 7), pair),
        8: "Patch 11, L3 H2:",
        9: "Patch 11, L3:",
    }
    for step, place in expected.items():
        assert microscope.show(step=step, head=2).text(".formula").startswith(place), step


def test_the_terms_of_the_weighted_sum_add_up(microscope: Microscope) -> None:
    names = microscope.show(step=8, queryToken=1).texts(".weighted-sum .strip-name")
    assert len(names) == 10
    rest = re.fullmatch(r"\+ 8 more patches, together ([\d.]+)\u202f%", names[8])
    assert rest
    weights = sorted(microscope.evaluate(WEIGHTS), reverse=True)
    assert float(rest[1]) / 100 == pytest.approx(sum(weights[8:]), abs=0.00501)
    shown = [float(re.match(r"[\d.]+", name)[0]) for name in names[:8]]  # type: ignore[index]
    assert sum(shown) + float(rest[1]) == pytest.approx(100, abs=1)
    tabled = microscope.page.locator(".walk .tabled", has=microscope.page.locator(".weighted-sum"))
    tabled.get_by_role("button", name="Show table").click()
    rows = microscope.table(".walk .table-holder")
    taken = np.array([[float(cell.replace("−", "-")) for cell in row[1:]] for row in rows])
    assert taken.shape == (17, 16)
    np.testing.assert_allclose(taken[:16].sum(axis=0), taken[16], atol=16 * 0.005)
    assert np.abs(taken[16]).max() > 0.3


def test_the_first_step_shows_that_the_drawing_is_not_centred(microscope: Microscope) -> None:
    microscope.show(step=1)
    assert "centre of mass is in the middle" in microscope.text(".lead")
    microscope.page.get_by_label("Centre it for me").click()
    assert "Centring is off" in microscope.frames().text(".lead")
    assert "moved until" not in microscope.text(".lead")
    assert "not centred" in microscope.text(".badges")


def test_no_step_has_more_than_sixty_words(microscope: Microscope) -> None:
    for step in range(1, 11):
        microscope.show(step=step)
        words = microscope.text(".lead") + " " + microscope.text(".task")
        assert 10 < len(words.split()) <= 60, step
