"""axe finds nothing on any tab, in any theme and state; the page obeys what people have set."""

import pytest

from tests.accessible import violations
from tests.microscope.looking import Microscope

STATES: dict[str, dict[str, object]] = {
    "walk, digit": {"tab": "walk"},
    "walk, patches": {"tab": "walk", "step": 2},
    "walk, vectors": {"tab": "walk", "step": 4},
    "walk, scaling": {"tab": "walk", "step": 6},
    "walk, join": {"tab": "walk", "step": 9},
    "explore": {"tab": "explore"},
    "explore, what mattered": {"tab": "explore", "focus": "mattered", "stage": "scores"},
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


DARK = ("walk, digit", "explore", "explore, experiments", "heads", "compare", "text", "about")
LOOKS = [(name, "light") for name in STATES] + [(name, "dark") for name in DARK]


@pytest.mark.parametrize(("name", "theme"), LOOKS)
def test_axe_finds_nothing(name: str, theme: str, microscope: Microscope) -> None:
    microscope.show(**STATES[name], theme=theme).settle()
    assert violations(microscope.page) == []


def test_axe_finds_nothing_with_every_table_open(microscope: Microscope) -> None:
    microscope.show(tab="explore", focus="mattered").settle()
    for button in microscope.page.locator(".quiet").all():
        button.click()
    try:
        assert microscope.page.locator("table.numbers").count() >= 3
        assert violations(microscope.page) == []
    finally:
        for button in microscope.page.locator(".quiet").all():
            button.click()


def test_axe_notices_a_button_without_a_name(microscope: Microscope) -> None:
    microscope.ask("() => document.body.append(document.createElement('button'))")
    assert any(found.startswith("button-name") for found in violations(microscope.page))
    microscope.ask("() => document.body.lastChild.remove()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_unless_it_is_chosen(
    scheme: str, microscope: Microscope
) -> None:
    background = "() => getComputedStyle(document.documentElement).backgroundColor"
    shown = {"light": "rgb(250, 249, 246)", "dark": "rgb(20, 24, 31)"}
    microscope.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    try:
        microscope.show()
        assert microscope.ask(background) == shown[scheme]
        other = "dark" if scheme == "light" else "light"
        microscope.show(theme=other)
        assert microscope.ask(background) == shown[other]
    finally:
        microscope.page.emulate_media(color_scheme="null")


def test_nothing_moves_where_motion_is_unwanted(microscope: Microscope) -> None:
    moving = """() => [...document.querySelectorAll("*")].filter((one) => {
      const { transitionDuration, animationName } = getComputedStyle(one);
      return transitionDuration !== "0s" || animationName !== "none";
    }).length"""
    microscope.page.emulate_media(reduced_motion="no-preference")
    assert microscope.ask(moving) == 10
    microscope.page.emulate_media(reduced_motion="reduce")
    assert microscope.ask(moving) == 0
    microscope.page.emulate_media(reduced_motion="null")


def test_data_keep_their_colours_where_colours_are_forced(microscope: Microscope) -> None:
    colours = """() => [...document.querySelectorAll(".explore .matrix .cell")].map(
      (cell) => getComputedStyle(cell).backgroundColor)"""
    microscope.show(tab="explore")
    before = microscope.ask(colours)
    microscope.page.emulate_media(forced_colors="active")
    try:
        assert microscope.ask(colours) == before
        assert len(set(before)) > 40
    finally:
        microscope.page.emulate_media(forced_colors="null")


def test_the_chosen_row_and_column_have_borders_where_colours_are_forced(
    microscope: Microscope,
) -> None:
    borders = """() => [".head.now", ".cell.in-row", ".cell.in-column"].map((one) => {
      const style = getComputedStyle(document.querySelector(`.explore .matrix ${one}`));
      return parseFloat(style.borderTopWidth) + parseFloat(style.borderLeftWidth);
    })"""
    microscope.show(tab="explore")
    assert microscope.ask(borders) == [0, 0, 0]
    microscope.page.emulate_media(forced_colors="active")
    try:
        assert min(microscope.ask(borders)) >= 2
    finally:
        microscope.page.emulate_media(forced_colors="null")


def test_tools_are_left_out_of_print(microscope: Microscope) -> None:
    microscope.show(tab="explore")
    microscope.page.emulate_media(media="print")
    try:
        assert not microscope.page.locator(".tools").is_visible()
        assert microscope.page.locator(".explore .matrix").is_visible()
    finally:
        microscope.page.emulate_media(media="screen")


A4 = 718  # CSS pixels between margins of a centimetre
TABLES = """() => [...document.querySelectorAll("table")].filter((one) => one.offsetParent)
  .map((one) => {
    const holder = one.closest(".table-holder, .vectors-holder");
    const style = holder && getComputedStyle(holder);
    return [one.getBoundingClientRect().right, style ? style.overflowX : "visible",
      style ? style.maxHeight : "none"];
  })"""


def test_paper_is_light_and_holds_whole_tables(microscope: Microscope) -> None:
    microscope.show(tab="heads", theme="dark").settle()
    microscope.page.set_viewport_size({"width": A4, "height": 1000})
    microscope.page.emulate_media(media="print", color_scheme="dark")
    try:
        for state in ({"tab": "heads"}, {"tab": "explore"}, {"tab": "walk", "step": 1}):
            microscope.show(**state, theme="dark").settle()
            for button in microscope.page.locator("#view .quiet").all():
                button.dispatch_event("click")
            background = "() => getComputedStyle(document.documentElement).backgroundColor"
            assert microscope.ask(background) == "rgb(250, 249, 246)"
            tables = microscope.ask(TABLES)
            assert len(tables) >= 2
            for right, overflow, height in tables:
                assert right <= A4
                assert (overflow, height) == ("visible", "none")
            for button in microscope.page.locator("#view .quiet").all():
                button.dispatch_event("click")
    finally:
        microscope.page.emulate_media(media="screen", color_scheme="null")


def test_ink_is_dark_on_paper_in_the_dark_theme_too(microscope: Microscope) -> None:
    red = """() => {
      const copy = new OffscreenCanvas(280, 280).getContext("2d", { willReadFrequently: true });
      copy.drawImage(document.querySelector("canvas.pad"), 0, 0);
      const { data } = copy.getImageData(0, 0, 280, 280);
      return Math.max(...data.filter((_, i) => i % 4 === 0 && data[i + 3] === 255));
    }"""
    microscope.show(theme="dark")
    assert microscope.ask(red) > 200
    microscope.ask("() => dispatchEvent(new Event('beforeprint'))")
    assert microscope.ask(red) < 60
    microscope.ask("() => dispatchEvent(new Event('afterprint'))")
    assert microscope.ask(red) > 200
