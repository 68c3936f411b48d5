"""Drawing by mouse, by taps and by keys; reaching and leaving every control."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.microscope.looking import Microscope

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession

FOCUSED = """() => {
  const at = document.activeElement;
  if (at === document.body) return "";
  const name = at.getAttribute("aria-label") ?? at.textContent.trim();
  return `${at.tagName} ${at.getAttribute("role") ?? ""} ${name}`;
}"""
NUMBERED = """() => {
  const at = document.activeElement;
  globalThis.numbered = (globalThis.numbered ?? 0) + 1;
  at.dataset.stop ??= String(globalThis.numbered);
  return at === document.body ? "" : at.dataset.stop;
}"""
TAB_STOPS = """() => [...document.querySelectorAll("a[href], button, input, textarea, [tabindex]")]
  .filter((one) => one.tabIndex >= 0 && !one.disabled && one.getClientRects().length > 0).length"""


def press(microscope: Microscope, *keys: str) -> None:
    for key in keys:
        microscope.page.keyboard.press(key)


def tab_to(microscope: Microscope, wanted: str) -> None:
    for _ in range(80):
        press(microscope, "Tab")
        if wanted in microscope.ask(FOCUSED):
            return
    pytest.fail(f"Tab never came to {wanted}")


def test_a_seven_is_drawn_and_read_by_keys_alone(microscope: Microscope) -> None:
    tab_to(microscope, "Clear")
    press(microscope, "Enter")
    assert microscope.text(".answer-words") in ("Nothing to read yet.", "Reads 7, 91\u202f%")
    tab_to(microscope, "Keys")
    press(microscope, "Enter")
    assert "Drawing canvas" in microscope.ask(FOCUSED)
    press(microscope, *["ArrowLeft"] * 6, " ", *["ArrowRight"] * 11)
    for _ in range(5):
        press(microscope, "ArrowDown", "ArrowDown", "ArrowDown", "ArrowLeft")
    expect(microscope.page.locator(".live")).to_contain_text("Pen down")
    press(microscope, " ")
    microscope.settle()
    assert microscope.text(".answer-words").startswith("Reads 7")
    press(microscope, "Backspace")
    microscope.page.locator(".answer-words.none").first.wait_for()
    press(microscope, "Escape")
    assert "Undo" in microscope.ask(FOCUSED)


def test_a_stroke_of_the_mouse_is_drawn_and_read(microscope: Microscope) -> None:
    microscope.show(strokes="")
    box = microscope.page.locator("canvas.pad").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + 40
    mouse = microscope.page.mouse
    mouse.move(x, y)
    mouse.down()
    mouse.move(x - 4, y + box["height"] - 80, steps=12)
    mouse.up()
    microscope.settle()
    assert len(microscope.ask("() => clearhead.app.state.strokes")) == 1
    assert microscope.text(".answer-words").startswith("Reads 1")
    microscope.page.locator(".draw").get_by_role("button", name="Undo").click()
    microscope.page.locator(".answer-words.none").first.wait_for()


def test_taps_are_joined_to_a_line(microscope: Microscope) -> None:
    microscope.show(strokes="")
    tap = microscope.page.locator(".draw").get_by_role("button", name="Tap")
    tap.click()
    canvas = microscope.page.locator("canvas.pad")
    for place in ((60, 60), (200, 60), (120, 220)):
        canvas.click(position={"x": place[0], "y": place[1]})
    microscope.settle()
    strokes = microscope.ask("() => clearhead.app.state.strokes")
    assert [len(stroke) for stroke in strokes] == [3]
    assert microscope.text(".answer-words").startswith("Reads 7")
    tap.click()


def drag_finger(session: "CDPSession", places: Sequence[tuple[float, float]]) -> None:
    """A real finger, as the browser's own input: down, along the places, up."""
    kinds = ["touchStart"] + ["touchMove"] * (len(places) - 1)
    for kind, (x, y) in zip(kinds, places, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def between(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    return [
        (start[0] + (end[0] - start[0]) * t / 10, start[1] + (end[1] - start[1]) * t / 10)
        for t in range(11)
    ]


def test_a_finger_draws_on_the_canvas_and_scrolls_beside_it(
    browser: "Browser", page_file: Path
) -> None:
    with browser.new_context(
        viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True
    ) as context:
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
        microscope.settle()
        assert len(microscope.ask("() => clearhead.app.state.strokes")) == 1
        assert microscope.text(".answer-words").startswith("Reads 7")
        assert page.evaluate("scrollY") == at_first
        drag_finger(session, between((3, 600), (3, 200)))
        page.wait_for_function("(before) => scrollY > before", arg=at_first)
        assert len(microscope.ask("() => clearhead.app.state.strokes")) == 1
        assert (microscope.complaints, microscope.requests) == ([], [])


def test_only_the_canvas_keeps_touches_from_scrolling(microscope: Microscope) -> None:
    kept = microscope.ask(
        """() => [...document.querySelectorAll("*")].filter(
          (one) => getComputedStyle(one).touchAction === "none").map((one) => one.className)"""
    )
    assert kept == ["pad"]


@pytest.mark.parametrize("tab", ["walk", "explore", "heads", "compare", "text", "about"])
def test_tab_reaches_every_control_and_leaves_again(tab: str, microscope: Microscope) -> None:
    microscope.show(tab=tab, focus="experiments", step=7).settle()
    expected = microscope.ask(TAB_STOPS)
    seen: list[str] = []
    for _ in range(expected + 5):
        press(microscope, "Tab")
        now = microscope.ask(NUMBERED)
        if seen and now == seen[0]:
            break
        seen += [now] if now else []  # at the end of the page the browser itself may have the focus
    assert len(set(seen)) == len(seen) == expected


def test_arrows_move_in_the_matrix_and_in_the_tabs(microscope: Microscope) -> None:
    microscope.show(tab="explore", asker=1, answerer=1)
    microscope.page.locator(".explore .matrix .cell[tabindex='0']").focus()
    press(microscope, "ArrowDown", "ArrowRight", "ArrowRight", "Control+End", "ArrowUp", "Home")
    state = microscope.ask("() => [clearhead.app.state.asker, clearhead.app.state.answerer]")
    assert state == [14, 0]
    assert microscope.ask(FOCUSED).startswith("DIV gridcell Patch 15 asks patch 1:")
    microscope.page.locator("#tab-explore").focus()
    press(microscope, "ArrowRight", "ArrowRight", "End", "Home", "ArrowLeft")
    assert microscope.ask("() => clearhead.app.state.tab") == "about"


@pytest.mark.parametrize("width", [320, 640])
def test_nothing_is_wider_than_a_narrow_screen(width: int, microscope: Microscope) -> None:
    microscope.page.set_viewport_size({"width": width, "height": 800})
    try:
        for tab in ("walk", "explore", "heads", "compare", "text", "about"):
            microscope.show(tab=tab, step=6, focus="experiments")
            wide = microscope.ask("() => document.documentElement.scrollWidth")
            assert wide <= width, tab
        assert microscope.page.locator(".strip-answer").is_visible()
        microscope.show(tab="explore")
        sizes = microscope.page.locator(".asker .patches .cell").evaluate_all(
            "(cells) => cells.map((cell) => cell.getBoundingClientRect().width)"
        )
        assert min(sizes) >= 44
    finally:
        microscope.page.set_viewport_size({"width": 1280, "height": 900})


def test_a_dot_is_seen(microscope: Microscope) -> None:
    microscope.show(strokes="3w3w")  # one stroke of one point, in the middle
    inked = microscope.ask(
        """() => {
          const canvas = document.querySelector("canvas.pad");
          const { data } = canvas.getContext("2d").getImageData(0, 0, 280, 280);
          return data.filter((value, i) => i % 4 === 3 && value > 128).length;
        }"""
    )
    assert inked == pytest.approx(3.14 * 11**2, rel=0.05)  # the pen is 22 units wide


def test_a_link_leads_past_everything_to_the_view(microscope: Microscope) -> None:
    microscope.page.reload()
    microscope.settle().show(tab="explore", removed="3")
    press(microscope, "Tab")
    assert "Skip to the view" in microscope.ask(FOCUSED)
    assert microscope.page.locator(".skip").bounding_box()["y"] >= 0  # type: ignore[index]
    press(microscope, "Enter")
    assert microscope.ask("() => document.activeElement.id") == "view"
    press(microscope, "Tab")
    assert "Layer" in microscope.ask(FOCUSED)
    assert microscope.ask("() => clearhead.app.state.removed") == [2]


def test_a_cleared_canvas_can_be_brought_back(microscope: Microscope) -> None:
    draw = microscope.page.locator(".draw")
    strokes = "() => clearhead.app.state.strokes"
    before = microscope.ask(strokes)
    draw.get_by_role("button", name="Clear").click()
    expect(draw.locator(".pad-hint")).to_be_visible()
    undo = draw.get_by_role("button", name="Undo")
    expect(undo).to_have_attribute("aria-disabled", "false")
    undo.click()
    expect(draw.locator(".pad-hint")).to_be_hidden()
    assert microscope.ask(strokes) == before
    draw.get_by_role("button", name="Clear").click()
    microscope.page.get_by_role("button", name="Example 3").click()
    new = microscope.ask(strokes)
    undo.click()  # a stroke of the new digit, not the old one
    assert microscope.ask(strokes) == new[:-1]
