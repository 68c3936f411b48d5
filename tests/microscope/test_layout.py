"""Nothing moves under the pointer, nothing is covered, nothing is wider than the screen."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.microscope.driver import TABS, USUAL, Microscope

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LONG = "The browser did not allow copying. The address bar holds the same link."
COVERED = """() => {
  const shown = [...document.querySelectorAll(".message")]
    .find((one) => one.getClientRects().length);
  const box = shown.getBoundingClientRect();
  const inside = (one) => one.contains(shown) || shown.contains(one);
  return [...document.querySelectorAll("#app *")].filter((one) => {
    if (inside(one) || one.matches(".hidden, .hidden *, .skip, .badges *")) return false;
    const { left, right, top, bottom } = one.getBoundingClientRect();
    return left < box.right && right > box.left && top < box.bottom && bottom > box.top;
  }).map((one) => one.className || one.tagName);
}"""
DISTANCE = """(selector) => document.querySelector(selector).getBoundingClientRect().top"""
PAGE_WIDTH = "() => document.documentElement.scrollWidth"


def places(microscope: Microscope, selector: str) -> list[dict[str, float]]:
    """Where the elements are on the page, independent of scrolling."""
    found = microscope.evaluate(
        """(selector) => [...document.querySelectorAll(selector)].map((one) => {
          const { x, y, width, height } = one.getBoundingClientRect();
          return { x, y: y + scrollY, width, height };
        })""",
        selector,
    )
    assert found
    return list(found)


@pytest.mark.parametrize("width", [1280, pytest.param(768, marks=pytest.mark.slow), 320])
def test_experiments_do_not_move_while_in_use(width: int, microscope: Microscope) -> None:
    moving = ".experiment .patches .cell, .experiment input[type=range]"
    microscope.size(width).show(tab="explore", focus="experiments").settle()
    before = places(microscope, moving)
    for which in ("Patches with noise", "Masked patches"):
        cells = microscope.page.get_by_role("grid", name=which).get_by_role("gridcell")
        for patch in (4, 14):  # 15 is the patch whose entry is shown in full
            cells.nth(patch).click()
            assert places(microscope.frames(), moving) == before
    assert microscope.state("noisyPatches") == microscope.state("masked") == [4, 14]
    assert microscope.page.locator(".badges").is_visible()
    for place in ("40", "150"):
        microscope.page.locator(".explore input[type=range]").first.fill(place)
        assert places(microscope.frames(), moving) == before
    assert places(microscope.settle(), moving) == before


@pytest.mark.parametrize("width", [1280, 320])
def test_changes_do_not_scroll_the_page(width: int, microscope: Microscope) -> None:
    microscope.size(width).show(tab="explore", focus="experiments")
    before = places(microscope, ".desk")[0]["y"]
    microscope.show(
        tab="explore",
        focus="experiments",
        temperature=2,
        positions=0,
        seed=3,
        removed="1.9",
        values="zero",
        masked="4.5.6.7.8.9.10",
        noisyPatches="6.7",
        centred=0,
    )
    assert places(microscope, ".desk")[0]["y"] == before
    assert microscope.page.get_by_role("button", name="Reset").is_visible()
    assert microscope.evaluate(PAGE_WIDTH) <= width


@pytest.fixture(scope="module")
def clocked(browser: "Browser", page_file: Path) -> Iterator[Microscope]:
    with browser.new_context(viewport=USUAL) as context:
        context.clock.install()
        clocked = Microscope(context.new_page(), page_file)
        context.clock.pause_at(clocked.evaluate("() => Date.now() + 1000"))
        yield clocked


@pytest.fixture
def timed(clocked: Microscope) -> Microscope:
    """A page whose time passes only in `wait`, in its first state, all messages gone."""
    clocked.size(1280).evaluate("() => clearhead.app.set(clearhead.app.first)")
    assert wait(clocked, 30_000) == ""
    return clocked


def wait(timed: Microscope, milliseconds: int) -> str:
    """Let this time pass; returns the text of the live region, for screen readers."""
    timed.page.clock.run_for(milliseconds)
    return timed.text(".live")


def say(timed: Microscope, message: str) -> None:
    timed.evaluate("(message) => clearhead.app.announce(message)", message)


@pytest.mark.slow
def test_messages_are_a_second_apart_and_go_away(timed: Microscope) -> None:
    say(timed, "One.")
    assert wait(timed, 60) == "One."
    say(timed, "Two.")
    say(timed, "Three.")
    assert wait(timed, 800) == "One."
    assert wait(timed, 300) == "Two. Three."
    assert wait(timed, 5_000) == "Two. Three."
    assert wait(timed, 25_000) == ""


def test_the_prediction_is_announced_before_a_tick(timed: Microscope) -> None:
    timed.page.get_by_role("button", name="Example 3", exact=True).click()
    assert re.match(r"^Predicted 3, \d+\u202f%\. Step 1: done\.$", wait(timed, 100))


def test_the_pens_position_and_the_prediction_are_both_announced(timed: Microscope) -> None:
    timed.evaluate("() => clearhead.app.set({ strokes: [] })")
    assert wait(timed, 100) == "Nothing to classify yet."
    timed.page.locator("canvas.pad").first.focus()
    timed.page.keyboard.press(" ")
    both = r"^Very small: draw larger\. Pen down, column \d+, row \d+ of 28\.$"
    assert re.match(both, wait(timed, 1_100))
    assert timed.text(".message").startswith("Pen down")
    timed.page.keyboard.press("Escape")


@pytest.mark.parametrize("width", [1280, 320])
@pytest.mark.parametrize("tab", ["walk", "text"])
def test_a_message_covers_nothing(tab: str, width: int, timed: Microscope) -> None:
    timed.size(width).evaluate("(tab) => clearhead.app.set({ tab, removed: [2] })", tab)
    wait(timed, 15_000)
    before = places(timed, ".desk")
    say(timed, LONG)
    assert wait(timed, 1_100).endswith(LONG)
    shown = timed.page.locator(".message:visible", has_text="did not allow")
    assert shown.count() == 1
    assert timed.evaluate(COVERED) == []
    assert places(timed, ".desk") == before
    assert not shown.evaluate("(one) => one.scrollHeight > one.clientHeight + 1")


def test_a_tick_shifts_no_layout(fresh: Microscope) -> None:
    tops = ".walk-head button, .walk-title h3"
    before = places(fresh.size(1280, 720).show(step=2), tops)
    fresh.evaluate("() => clearhead.app.set({ queryToken: 5 })")
    assert fresh.frames().page.locator(".step.done").count() == 1
    assert places(fresh, tops) == before


def test_a_large_screen_is_never_scrolled(microscope: Microscope) -> None:
    microscope.show(tab="walk", step=5).evaluate("() => scrollTo(0, 30)")
    microscope.click("Next", ".walk-head")
    assert microscope.frames().evaluate("() => scrollY") == 30


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_a_small_screen_scrolls_to_the_step_that_is_opened(
    motion: str, microscope: Microscope
) -> None:
    with microscope.size(390, 800).media(reduced_motion=motion):
        microscope.show(tab="walk", step=1).evaluate("() => scrollTo(0, 0)")
        assert microscope.evaluate(DISTANCE, ".walk-title h3") > 700
        for name in ("Next", "4 Q K V", "Back"):
            button = microscope.page.locator(".walk-head").get_by_role("button", name=name)
            button.dispatch_event("click")
            microscope.page.wait_for_function(f"() => ({DISTANCE})('.walk-title h3') < 300")
            assert microscope.evaluate(DISTANCE, ".walk-head") >= 48  # under the prediction's strip
            microscope.evaluate("() => scrollTo({ top: 0, behavior: 'instant' })")
        microscope.page.get_by_role("tab", name="Heads").click()
        microscope.page.wait_for_function(f"() => ({DISTANCE})('#view') < 100")


@pytest.mark.parametrize("width", [320, 640])
def test_nothing_is_wider_than_a_narrow_screen(width: int, microscope: Microscope) -> None:
    microscope.size(width, 800)
    for tab in TABS:
        microscope.show(tab=tab, step=6, focus="experiments")
        assert microscope.evaluate(PAGE_WIDTH) <= width, tab
    assert microscope.page.locator(".strip-prediction").is_visible()
    sizes = microscope.show(tab="explore").evaluate(
        """() => [...document.querySelectorAll(".query-picker .patches .cell")].map(
          (cell) => cell.getBoundingClientRect().width)"""
    )
    assert min(sizes) >= 44
    words = microscope.show(tab="text").evaluate(
        """() => [...document.querySelectorAll(".words button")].map(
          (word) => word.getBoundingClientRect().right)"""
    )
    assert max(words) <= width


@pytest.mark.parametrize("width", [1280, 320])
def test_a_very_long_word_is_cut_and_its_title_is_whole(width: int, microscope: Microscope) -> None:
    long = "x" * 150
    microscope.size(width, 800).show(tab="text", sentence=f"The+{long}+chased+the+ball.")
    assert microscope.evaluate(PAGE_WIDTH) <= width
    button = microscope.page.get_by_role("radio", name=f"“{long}”")
    head = microscope.page.get_by_role("rowheader", name=long).first
    assert button.get_attribute("title") == head.get_attribute("title") == long
    for one in (button, head.locator("span")):
        assert one.evaluate("(one) => one.scrollWidth > one.clientWidth")
        assert one.evaluate("(one) => getComputedStyle(one).textOverflow") == "ellipsis"
    table = microscope.page.locator(".text-maps > .table-holder")
    assert table.evaluate("(one) => one.scrollWidth <= one.clientWidth")
