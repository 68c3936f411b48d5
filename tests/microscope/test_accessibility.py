"""axe finds nothing on any tab, theme and state; the page obeys the preferences of its user."""

import pytest

from tests.accessible import violations
from tests.microscope.driver import Microscope

STATES: dict[str, dict[str, object]] = {
    "walk, digit": {"tab": "walk"},
    "walk, patches": {"tab": "walk", "step": 2},
    "walk, vectors": {"tab": "walk", "step": 4},
    "walk, scaling": {"tab": "walk", "step": 6},
    "walk, join": {"tab": "walk", "step": 9},
    "explore": {"tab": "explore"},
    "explore, importance": {"tab": "explore", "focus": "importance", "stage": "scores"},
    "explore, experiments": {
        "tab": "explore",
        "focus": "experiments",
        "removed": "1",
        "scale": "even",
    },
    "heads": {"tab": "heads", "scale": "stretched"},
    "compare": {"tab": "compare"},
    "text": {"tab": "text"},
    "text, unknown": {"tab": "text", "sentence": "The+zebra+slept.", "scale": "even"},
    "text, empty": {"tab": "text", "sentence": "+"},
    "about": {"tab": "about"},
    "empty": {"tab": "explore", "strokes": ""},
    "unsure": {
        "tab": "walk",
        "step": 10,
        "temperature": 4,
        "removed": "5.6.7.8.9.10.11.12.13.14.15.16",
    },
}
DARK = ("walk, digit", "explore, experiments")
DARK_TOO = ("explore", "heads", "compare", "text", "about")
BACKGROUND = "() => getComputedStyle(document.documentElement).backgroundColor"
LIGHT_PAPER, DARK_PAPER = "rgb(250, 249, 246)", "rgb(20, 24, 31)"
A4 = 718  # CSS pixels between margins of a centimetre


@pytest.mark.parametrize(
    ("name", "theme"),
    [
        *((name, "light") for name in STATES),
        *((name, "dark") for name in DARK),
        *(pytest.param(name, "dark", marks=pytest.mark.slow) for name in DARK_TOO),
    ],
)
def test_axe_finds_nothing(name: str, theme: str, microscope: Microscope) -> None:
    microscope.show(**STATES[name], theme=theme).settle()
    assert violations(microscope.page) == []


def toggle_tables(microscope: Microscope) -> None:
    """Open or close the table behind every map that is shown."""
    microscope.evaluate("() => document.querySelectorAll('#view .quiet').forEach((b) => b.click())")
    microscope.frames()


def test_axe_finds_nothing_with_every_table_open(microscope: Microscope) -> None:
    toggle_tables(microscope.show(tab="explore", focus="importance").settle())
    assert microscope.page.locator("table.numbers").count() >= 3
    assert violations(microscope.page) == []
    toggle_tables(microscope)


def test_axe_finds_a_button_without_a_name(microscope: Microscope) -> None:
    microscope.evaluate("() => document.body.append(document.createElement('button'))")
    assert any(found.startswith("button-name") for found in violations(microscope.page))
    microscope.evaluate("() => document.body.lastChild.remove()")


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
    for preference, count in (("no-preference", 10), ("reduce", 0)):
        with microscope.media(reduced_motion=preference):
            assert microscope.evaluate(moving) == count


def test_forced_colours_keep_data_and_frame_the_chosen_cell(microscope: Microscope) -> None:
    colours = """() => [...document.querySelectorAll(".explore .matrix .cell")].map(
      (cell) => getComputedStyle(cell).backgroundColor)"""
    borders = """() => [".head.now", ".cell.in-row", ".cell.in-column"].map((one) => {
      const style = getComputedStyle(document.querySelector(`.explore .matrix ${one}`));
      return parseFloat(style.borderTopWidth) + parseFloat(style.borderLeftWidth);
    })"""
    before = microscope.show(tab="explore").evaluate(colours)
    assert len(set(before)) > 40
    assert microscope.evaluate(borders) == [0, 0, 0]
    with microscope.media(forced_colors="active"):
        assert microscope.evaluate(colours) == before
        assert min(microscope.evaluate(borders)) >= 2


TABLES = """() => [...document.querySelectorAll("table")].filter((one) => one.offsetParent)
  .map((one) => {
    const holder = one.closest(".table-holder, .vectors-holder");
    const style = holder && getComputedStyle(holder);
    return [one.getBoundingClientRect().right, style ? style.overflowX : "visible",
      style ? style.maxHeight : "none"];
  })"""


def test_print_is_light_without_tools_and_holds_whole_tables(microscope: Microscope) -> None:
    with microscope.size(A4, 1000).media(media="print", color_scheme="dark"):
        for state in ({"tab": "heads"}, {"tab": "explore"}, {"tab": "walk", "step": 1}):
            toggle_tables(microscope.show(**state, theme="dark").settle())
            assert microscope.evaluate(BACKGROUND) == LIGHT_PAPER
            assert not microscope.page.locator(".tools").is_visible()
            tables = microscope.evaluate(TABLES)
            assert len(tables) >= 2
            for right, overflow, height in tables:
                assert right <= A4
                assert (overflow, height) == ("visible", "none")
            toggle_tables(microscope)


def test_ink_is_dark_on_paper_in_the_dark_theme_too(microscope: Microscope) -> None:
    red = """() => {
      const copy = new OffscreenCanvas(280, 280).getContext("2d", { willReadFrequently: true });
      copy.drawImage(document.querySelector("canvas.pad"), 0, 0);
      const { data } = copy.getImageData(0, 0, 280, 280);
      return Math.max(...data.filter((_, i) => i % 4 === 0 && data[i + 3] === 255));
    }"""
    assert microscope.show(theme="dark").evaluate(red) > 200
    microscope.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert microscope.evaluate(red) < 60
    microscope.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert microscope.evaluate(red) > 200
