"""Drawing by mouse, finger, taps and keys; reaching and leaving every control."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.microscope.driver import IDLE_ON_DEMAND, TABS, Microscope

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession

Point = tuple[float, float]

FOCUSED = """() => {
  const at = document.activeElement;
  if (at === document.body) return "";
  const name = at.getAttribute("aria-label") ?? at.textContent.trim();
  return `${at.tagName} ${at.getAttribute("role") ?? ""} ${name}`;
}"""
# The number of the control that has the focus; controls are numbered as they are reached.
NUMBERED = """() => {
  const at = document.activeElement;
  globalThis.numbered = (globalThis.numbered ?? 0) + 1;
  at.dataset.stop ??= String(globalThis.numbered);
  return at === document.body ? "" : at.dataset.stop;
}"""
TAB_STOPS = """() => [...document.querySelectorAll("a[href], button, input, textarea, [tabindex]")]
  .filter((one) => one.tabIndex >= 0 && !one.disabled && one.getClientRects().length > 0).length"""


def tab_to(microscope: Microscope, wanted: str) -> None:
    for _ in range(80):
        microscope.press("Tab")
        if wanted in microscope.evaluate(FOCUSED):
            return
    pytest.fail(f"Tab never reached {wanted}")


def prediction(microscope: Microscope) -> str:
    return microscope.frames().text(".prediction-words")


def test_a_seven_drawn_by_keys_alone_is_classified(microscope: Microscope) -> None:
    tab_to(microscope, "Clear")
    microscope.press("Enter")
    tab_to(microscope, "Keys")
    microscope.press("Enter")
    assert "Drawing canvas" in microscope.evaluate(FOCUSED)
    microscope.press(*["ArrowLeft"] * 6, " ", *["ArrowRight"] * 11)
    microscope.press(*["ArrowDown", "ArrowDown", "ArrowDown", "ArrowLeft"] * 5)
    assert any(message.startswith("Pen down") for message in microscope.messages())
    microscope.press(" ")
    assert prediction(microscope).startswith("Predicted 7")
    microscope.press("Backspace")
    assert prediction(microscope) == "Nothing to classify yet."
    microscope.press("Escape")
    assert "Undo" in microscope.evaluate(FOCUSED)


def test_a_stroke_of_the_mouse_is_drawn_and_classified(microscope: Microscope) -> None:
    box = microscope.show(strokes="").page.locator("canvas.pad").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + 40
    mouse = microscope.page.mouse
    mouse.move(x, y)
    mouse.down()
    mouse.move(x - 4, y + box["height"] - 80, steps=12)
    mouse.up()
    assert prediction(microscope).startswith("Predicted 1")
    assert len(microscope.state("strokes")) == 1
    microscope.click("Undo", ".draw")
    assert prediction(microscope) == "Nothing to classify yet."


def test_taps_are_joined_to_a_line(microscope: Microscope) -> None:
    microscope.show(strokes="").click("Tap", ".draw")
    canvas = microscope.page.locator("canvas.pad")
    for x, y in ((60, 60), (200, 60), (120, 220)):
        canvas.click(position={"x": x, "y": y})
    assert prediction(microscope).startswith("Predicted 7")
    assert [len(stroke) for stroke in microscope.state("strokes")] == [3]
    microscope.click("Tap", ".draw")


def drag_finger(session: "CDPSession", places: Sequence[Point]) -> None:
    """Touch the screen, as the browser's own input: down, along the places, up."""
    kinds = ["touchStart"] + ["touchMove"] * (len(places) - 1)
    for kind, (x, y) in zip(kinds, places, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def between(start: Point, end: Point) -> list[Point]:
    return [
        (start[0] + (end[0] - start[0]) * t / 10, start[1] + (end[1] - start[1]) * t / 10)
        for t in range(11)
    ]


@pytest.mark.slow
def test_a_finger_draws_on_the_canvas_and_scrolls_beside_it(
    browser: "Browser", page_file: Path
) -> None:
    with browser.new_context(
        viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True
    ) as context:
        context.add_init_script(IDLE_ON_DEMAND)
        page = context.new_page()
        microscope = Microscope(page, page_file).show(strokes="")
        session = context.new_cdp_session(page)
        page.locator("canvas.pad").scroll_into_view_if_needed()
        box = page.locator("canvas.pad").bounding_box()
        assert box
        left, top, size = box["x"], box["y"], box["width"]
        corner = (left + 0.7 * size, top + 0.2 * size)
        at_first = page.evaluate("scrollY")
        stroke = between((left + 0.25 * size, top + 0.2 * size), corner)
        drag_finger(session, [*stroke, *between(corner, (left + 0.45 * size, top + 0.85 * size))])
        expect(page.locator(".prediction-words").first).to_contain_text("Predicted 7")
        assert len(microscope.state("strokes")) == 1
        assert page.evaluate("scrollY") == at_first
        drag_finger(session, between((3, 600), (3, 200)))
        page.wait_for_function("(before) => scrollY > before", arg=at_first)
        assert len(microscope.state("strokes")) == 1
        assert (microscope.complaints, microscope.requests) == ([], [])


def test_only_the_canvas_keeps_touches_from_scrolling(microscope: Microscope) -> None:
    kept = microscope.evaluate(
        """() => [...document.querySelectorAll("*")].filter(
          (one) => getComputedStyle(one).touchAction === "none").map((one) => one.className)"""
    )
    assert kept == ["pad"]


@pytest.mark.parametrize("tab", TABS)
def test_tab_reaches_every_control_and_leaves_again(tab: str, microscope: Microscope) -> None:
    microscope.show(tab=tab, focus="experiments", step=7)
    expected = microscope.evaluate(TAB_STOPS)
    reached: list[str] = []
    for _ in range(expected + 5):
        microscope.press("Tab")
        now = microscope.evaluate(NUMBERED)
        if reached and now == reached[0]:
            break
        reached += [now] if now else []  # at the end of the page the browser may have the focus
    assert len(set(reached)) == len(reached) == expected


def test_arrows_move_in_the_matrix_and_in_the_tabs(microscope: Microscope) -> None:
    microscope.show(tab="explore", queryToken=1, keyToken=1)
    microscope.page.locator(".explore .matrix .cell[tabindex='0']").focus()
    microscope.press("ArrowDown", "ArrowRight", "ArrowRight", "Control+End", "ArrowUp", "Home")
    assert (microscope.state("queryToken"), microscope.state("keyToken")) == (14, 0)
    assert microscope.evaluate(FOCUSED).startswith("DIV gridcell Patch 15 attends to patch 1:")
    microscope.page.locator("#tab-explore").focus()
    microscope.press("ArrowRight", "ArrowRight", "End", "Home", "ArrowLeft")
    assert microscope.state("tab") == "about"


def test_a_dot_is_visible(microscope: Microscope) -> None:
    microscope.show(strokes="3w3w")  # one stroke of one point, in the middle
    inked = microscope.evaluate(
        """() => {
          const canvas = document.querySelector("canvas.pad");
          const { data } = canvas.getContext("2d").getImageData(0, 0, 280, 280);
          return data.filter((value, i) => i % 4 === 3 && value > 128).length;
        }"""
    )
    assert inked == pytest.approx(3.14 * 11**2, rel=0.05)  # the pen is 22 units wide


def test_the_first_tab_stop_skips_to_the_view(fresh: Microscope) -> None:
    fresh.show(tab="explore", removed="3").press("Tab")
    assert "Skip to the view" in fresh.evaluate(FOCUSED)
    assert fresh.page.locator(".skip").bounding_box()["y"] >= 0  # type: ignore[index]
    fresh.press("Enter")
    assert fresh.evaluate("() => document.activeElement.id") == "view"
    fresh.press("Tab")
    assert "Layer" in fresh.evaluate(FOCUSED)
    assert fresh.state("removed") == [2]


def test_a_cleared_canvas_can_be_restored(microscope: Microscope) -> None:
    before = microscope.state("strokes")
    hint = microscope.page.locator(".draw .pad-hint")
    microscope.click("Clear", ".draw")
    assert hint.is_visible()
    microscope.click("Undo", ".draw")
    assert not hint.is_visible()
    assert microscope.state("strokes") == before
    microscope.click("Clear", ".draw")
    microscope.click("Example 3")
    new = microscope.state("strokes")
    microscope.click("Undo", ".draw")  # a stroke of the new digit, not the old one
    assert microscope.state("strokes") == new[:-1]
