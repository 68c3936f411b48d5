"""Nothing moves under the hand, and nothing that is said for a moment covers anything."""

import re

import pytest
from playwright.sync_api import expect

from tests.microscope.looking import Microscope

LONG = "The browser did not allow copying. The address bar holds the same link."
COVERED = """(selector) => {
  const said = [...document.querySelectorAll(".said")].find((one) => one.getClientRects().length);
  const box = said.getBoundingClientRect();
  const inside = (one) => one.contains(said) || said.contains(one);
  return [...document.querySelectorAll("#app *")].filter((one) => {
    if (inside(one) || one.matches(".hidden, .hidden *, .skip, .badges *")) return false;
    const { left, right, top, bottom } = one.getBoundingClientRect();
    return left < box.right && right > box.left && top < box.bottom && bottom > box.top;
  }).map((one) => one.className || one.tagName);
}"""


def places(microscope: Microscope, selector: str) -> list[dict[str, float]]:
    found = microscope.ask(
        """(selector) => [...document.querySelectorAll(selector)].map((one) => {
          const { x, y, width, height } = one.getBoundingClientRect();
          return { x, y: y + scrollY, width, height };
        })""",
        selector,
    )
    assert found
    return list(found)


@pytest.mark.parametrize(
    ("which", "width"),
    [("Patches with noise", 1280), ("Silenced patches", 768), ("Patches with noise", 320)],
)
def test_the_patches_of_an_experiment_stay_where_they_are(
    which: str, width: int, microscope: Microscope
) -> None:
    microscope.page.set_viewport_size({"width": width, "height": 900})
    microscope.show(tab="explore", focus="experiments").settle()
    cells = microscope.page.get_by_role("grid", name=which).get_by_role("gridcell")
    before = places(microscope, ".experiment .patches .cell")
    for patch in (4, 14):  # 15 is the patch whose cell is shown in full
        microscope.fresh()
        cells.nth(patch).click()
        microscope.settle()
        assert places(microscope, ".experiment .patches .cell") == before
    state = microscope.ask("() => [clearhead.app.state.noisyPatches, clearhead.app.state.silenced]")
    assert [4, 14] in state
    assert microscope.page.locator(".badges").is_visible()


@pytest.mark.parametrize("width", [1280, 320])
def test_however_much_is_changed_the_page_keeps_its_place(
    width: int, microscope: Microscope
) -> None:
    microscope.page.set_viewport_size({"width": width, "height": 900})
    microscope.show(tab="explore", focus="experiments").settle()
    before = places(microscope, ".desk")[0]["y"]
    microscope.show(
        tab="explore",
        focus="experiments",
        temperature=2,
        positions=0,
        seed=3,
        removed="1.9",
        values="zero",
        silenced="4.5.6.7.8.9.10",
        noisyPatches="6.7",
        centred=0,
    )
    assert places(microscope, ".desk")[0]["y"] == before
    assert microscope.page.get_by_role("button", name="Reset").is_visible()
    assert microscope.ask("() => document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 320])
@pytest.mark.parametrize("tab", ["walk", "text"])
def test_a_message_covers_nothing(tab: str, width: int, microscope: Microscope) -> None:
    microscope.page.set_viewport_size({"width": width, "height": 900})
    microscope.page.reload()  # nothing waits to be said
    microscope.settle().show(tab=tab, removed="3").settle()
    before = places(microscope, ".desk")
    microscope.ask("(message) => clearhead.app.say(message)", LONG)
    shown = microscope.page.locator(".said:visible", has_text="did not allow")
    expect(shown).to_have_count(1)
    assert microscope.ask(COVERED) == []
    assert places(microscope, ".desk") == before
    cut = shown.evaluate("(one) => one.scrollHeight > one.clientHeight + 1")
    assert not cut


def test_a_tick_does_not_displace_the_answer(microscope: Microscope) -> None:
    microscope.page.reload()
    microscope.settle().show(step=1)
    microscope.page.get_by_role("button", name="Example 3").click()
    live = microscope.page.locator(".live")
    expect(live).to_have_text(re.compile(r"^Reads 3, \d+\u202f%\. Step 1, try this: done\.$"))


def test_where_the_pen_is_and_what_is_read_are_both_said(microscope: Microscope) -> None:
    microscope.show(strokes="")
    microscope.page.locator("canvas.pad").first.focus()
    live = microscope.page.locator(".live")
    expect(live).to_contain_text("Nothing to read yet.")
    microscope.page.keyboard.press(" ")
    expect(live).to_have_text(
        re.compile(r"^Very small: draw larger\. Pen down, column \d+, row \d+ of 28\.$")
    )
    expect(microscope.page.locator(".said:visible")).to_have_text(re.compile("^Pen down"))


def test_what_is_said_soon_after_waits_until_the_first_was_begun(microscope: Microscope) -> None:
    first, second = microscope.ask(
        """async () => {
          const live = document.querySelector(".live");
          const now = () => new Promise((done) => setTimeout(() => done(live.textContent), 60));
          await new Promise((done) => setTimeout(done, 2200));
          clearhead.app.say("One.");
          const first = await now();
          clearhead.app.say("Two.");
          clearhead.app.say("Three.");
          return [first, await now()];
        }"""
    )
    assert (first, second) == ("One.", "One.")
    expect(microscope.page.locator(".live")).to_have_text("Two. Three.")


@pytest.mark.parametrize("width", [1280, 768, 320])
def test_the_temperature_is_not_moved_by_what_it_changes(
    width: int, microscope: Microscope
) -> None:
    microscope.page.set_viewport_size({"width": width, "height": 900})
    microscope.show(tab="explore", focus="experiments").settle()
    before = places(microscope, ".experiment input[type=range]")
    for place in ("40", "150"):
        microscope.fresh()
        microscope.page.locator(".explore input[type=range]").first.fill(place)
        microscope.settle()
        assert places(microscope, ".experiment input[type=range]") == before
