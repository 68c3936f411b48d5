"""Drawing by pointer, taps and keyboard; several digits; empty and small drawings."""

import pytest

from tests.microscope.driver import Microscope


def drag(microscope: Microscope, *points: tuple[float, float]) -> None:
    """Draw a line through these points, in shares of the pad."""
    box = microscope.page.locator(".pad").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    microscope.page.mouse.move(*places[0])
    microscope.page.mouse.down()
    for place in places[1:]:
        microscope.page.mouse.move(*place, steps=8)
    microscope.page.mouse.up()
    microscope.frames()


def test_the_first_stroke_replaces_the_example_and_later_ones_are_added(
    microscope: Microscope,
) -> None:
    microscope.show()
    drag(microscope, (0.5, 0.2), (0.5, 0.8))
    assert len(microscope.state("strokes")) == 1
    assert microscope.text(".prediction-label")[0] == "1"
    drag(microscope, (0.3, 0.8), (0.7, 0.8))
    assert len(microscope.state("strokes")) == 2
    microscope.click("Undo")
    assert len(microscope.state("strokes")) == 1
    microscope.click("Clear", ".pad-tools")
    assert microscope.text(".prediction-words") == "Draw a digit, or choose an example."
    microscope.click("Undo")
    assert len(microscope.state("strokes")) == 1


def test_lines_are_drawn_under_the_pointer_on_an_enlarged_page(microscope: Microscope) -> None:
    microscope.size(1920, 1080).show(strokes="")
    drag(microscope, (0.25, 0.5), (0.75, 0.5))
    (stroke,) = microscope.state("strokes")
    assert stroke[0] == pytest.approx([70, 140], abs=2)
    assert stroke[-1] == pytest.approx([210, 140], abs=2)


@pytest.mark.slow
def test_a_seven_is_drawn_with_the_keyboard_alone(microscope: Microscope) -> None:
    microscope.show(strokes="")
    microscope.page.locator(".pad").focus()
    microscope.press(*["ArrowLeft"] * 6, "Space", *["ArrowRight"] * 12)
    assert microscope.message().startswith("Pen down, column")
    for _ in range(6):
        microscope.press("ArrowDown", "ArrowDown", "ArrowDown", "ArrowLeft")
    microscope.press("Space")
    assert microscope.text(".prediction-label")[0] == "7"
    assert microscope.message() == f"Pen up. {microscope.text('.prediction-words')}"
    microscope.press("Escape")
    assert microscope.evaluate("() => document.activeElement.textContent") == "Undo"


def test_taps_are_joined_by_lines(microscope: Microscope) -> None:
    microscope.show(strokes="")
    microscope.click("Tap points")
    box = microscope.page.locator(".pad").bounding_box()
    assert box is not None
    for x, y in ((0.3, 0.25), (0.7, 0.25), (0.45, 0.8)):
        microscope.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    assert len(microscope.frames().state("strokes")) == 1
    assert microscope.text(".prediction-label")[0] == "7"
    microscope.click("Tap points")


def test_two_digits_are_read_one_after_the_other_and_one_is_followed(
    microscope: Microscope,
) -> None:
    microscope.show(strokes="")
    drag(microscope, (0.2, 0.2), (0.22, 0.8))
    drag(microscope, (0.45, 0.25), (0.85, 0.25), (0.6, 0.8))
    assert "2 digits: 17" in microscope.text(".several")
    assert microscope.text(".prediction-label")[:2] == "17"
    assert microscope.text(".prediction-thumb") == "17"
    microscope.click("7", ".several")
    assert microscope.state("digit") == 1
    assert microscope.text(".prediction-label")[:2] == "17"
    assert "7" in microscope.text(".prediction-words")


def test_an_example_of_each_class_is_classified(microscope: Microscope) -> None:
    microscope.show()
    for digit in "0123456789":
        microscope.click(f"Example {digit}")
        assert microscope.text(".prediction-label")[0] == digit
    first = microscope.state("strokes")
    microscope.click("Example 9")
    assert microscope.state("strokes") != first


def test_empty_small_and_uncentred_drawings(microscope: Microscope) -> None:
    microscope.show("scores", strokes="")
    assert "There is no picture yet" in microscope.text(".nothing")
    microscope.click("Draw a digit", "main")
    assert microscope.state("step") == "draw"
    microscope.show(strokes="2g2g2h2h")
    assert microscope.text(".prediction-words") == "Very small: draw larger."
    microscope.show("pixels", strokes="0505055k.055k1k5k", centred=0)  # an L in the corner
    assert "Not centred" in microscope.text(".lead")
    assert microscope.ink()[:, 14:].sum() == 0


@pytest.mark.parametrize(("below", "words"), [((1, 0), "Doubtful: 7"), ((1, 1), "Not recognised")])
def test_the_thresholds_of_the_model_decide_what_is_said(
    below: tuple[float, float], words: str, microscope: Microscope
) -> None:
    microscope.show()
    before = set_thresholds(microscope, below)
    assert microscope.text(".prediction-words").startswith(words)
    set_thresholds(microscope, before)


def set_thresholds(microscope: Microscope, below: tuple[float, float]) -> tuple[float, float]:
    """Set both thresholds and compute the drawing again; returns the previous ones."""
    before = microscope.evaluate(
        """([doubtfulBelow, rejectedBelow]) => {
          const { config, state, set } = clearhead.store;
          const before = [config.doubtfulBelow, config.rejectedBelow];
          Object.assign(config, { doubtfulBelow, rejectedBelow });
          set({ strokes: [...state.value.strokes] });
          return before;
        }""",
        list(below),
    )
    microscope.frames()
    return before[0], before[1]
