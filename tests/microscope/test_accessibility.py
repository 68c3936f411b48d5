"""axe finds nothing in any step, theme and state; the page obeys the preferences of its user."""

from typing import Any

import pytest

from tests.accessible import violations
from tests.microscope.driver import PAGES, Microscope

STATES: dict[str, dict[str, Any]] = {
    **{step: {"step": step} for step in PAGES},
    "empty": {"step": "scores", "strokes": ""},
    "question": {"step": "scores", "reveal": False},
    "changed": {"step": "join", "removed": "9.10", "temperature": 2, "positions": 0, "seed": 5},
    "stretched": {"step": "softmax", "scale": "stretched"},
    "unknown word": {"step": "text", "sentence": "The+zebra+slept."},
}
DARK = ("draw", "softmax", "changed", "question")
# Their parts are in other states too.
LIKE_OTHERS = (
    *("pixels", "tokens", "qkv", "scale", "stretched", "heads", "join"),
    *("unknown word", "empty"),
)
BACKGROUND = "() => getComputedStyle(document.documentElement).backgroundColor"
LIGHT_PAPER, DARK_PAPER = "rgb(246, 245, 241)", "rgb(18, 22, 29)"


@pytest.mark.parametrize(
    ("name", "theme"),
    [
        pytest.param(name, theme, marks=[] if quick else pytest.mark.slow)
        for name in STATES
        for theme in ("light", "dark")
        for quick in [(theme == "dark") == (name in DARK) and name not in LIKE_OTHERS]
    ],
)
def test_axe_finds_nothing(name: str, theme: str, microscope: Microscope) -> None:
    microscope.show(**STATES[name], theme=theme)
    assert violations(microscope.page) == []


def test_axe_finds_nothing_in_a_table(microscope: Microscope) -> None:
    microscope.show("mix").click("Table", "main")
    assert violations(microscope.page) == []
    microscope.click("Close the table")


def test_axe_finds_nothing_in_an_open_meaning(microscope: Microscope) -> None:
    microscope.show("heads").page.locator(".term-name").first.click()
    assert violations(microscope.frames().page) == []
    microscope.press("Escape")


def test_axe_finds_nothing_in_a_comparison(microscope: Microscope) -> None:
    microscope.show("softmax").click("Pin to compare")
    microscope.evaluate("() => clearhead.store.set({ temperature: 0.3 })")
    assert violations(microscope.frames().page) == []
    microscope.click("Unpin")


def test_axe_finds_a_button_without_a_name(microscope: Microscope) -> None:
    microscope.show("about")
    microscope.evaluate("() => document.body.append(document.createElement('button'))")
    assert any(found.startswith("button-name") for found in violations(microscope.page))
    microscope.evaluate("() => document.body.lastChild.remove()")


def test_what_an_answer_or_an_experiment_shows_is_spoken_and_the_focus_stays_near(
    microscope: Microscope,
) -> None:
    focused = "() => document.activeElement.textContent"
    microscope.show("scale", reveal=False)
    microscope.page.locator(".options button").first.focus()
    microscope.press("Enter")
    assert microscope.message() == microscope.text(".revealed")
    assert microscope.evaluate(focused) == "Predict again"
    microscope.press("Enter")
    assert microscope.evaluate(focused) == "the prediction stays"
    microscope.page.locator(".try .toggle").focus()
    microscope.press("Space")
    assert microscope.message() == microscope.text(".effect") != ""
    microscope.show("draw")
    microscope.click("Example 4")
    assert microscope.message() == microscope.text(".prediction-words")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_unless_it_is_chosen(
    scheme: str, microscope: Microscope
) -> None:
    shown = {"light": LIGHT_PAPER, "dark": DARK_PAPER}
    other = "dark" if scheme == "light" else "light"
    with microscope.media(color_scheme=scheme):
        assert microscope.show().evaluate(BACKGROUND) == shown[scheme]
        assert microscope.show(theme=other).evaluate(BACKGROUND) == shown[other]


def test_nothing_moves_where_motion_is_unwanted(microscope: Microscope) -> None:
    moving = """() => [...document.querySelectorAll("*")].filter((one) => {
      const { transitionDuration, animationName } = getComputedStyle(one);
      return transitionDuration !== "0s" || animationName !== "none";
    }).length"""
    microscope.show("softmax")
    with microscope.media(reduced_motion="no-preference"):
        assert microscope.evaluate(moving) > 10
    with microscope.media(reduced_motion="reduce"):
        assert microscope.evaluate(moving) == 0


def test_forced_colours_keep_the_colours_of_data(microscope: Microscope) -> None:
    colours = """() => [...document.querySelectorAll(".matrix .cell")].map(
      (cell) => getComputedStyle(cell).backgroundColor)"""
    before = microscope.show("softmax").evaluate(colours)
    assert len(set(before)) > 40
    with microscope.media(forced_colors="active"):
        assert microscope.evaluate(colours) == before


def test_print_is_white_and_without_controls(microscope: Microscope) -> None:
    with microscope.size(718, 1000).media(media="print", color_scheme="dark"):
        microscope.show("softmax", theme="dark")
        assert microscope.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
        for hidden in (".tools", ".player", ".try", ".way"):
            assert not microscope.page.locator(hidden).first.is_visible()
