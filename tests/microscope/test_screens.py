"""What is on the screen, pixel by pixel, at places where it is known."""

import io

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

from tests.microscope.driver import Microscope

YELLOW, GROUND, WHITE = (240, 217, 70), (13, 17, 23), (255, 255, 255)


def screen(microscope: Microscope, selector: str) -> ndarray:
    """The pixels of an element, after transitions."""
    with microscope.media(reduced_motion="reduce"):
        image = microscope.paint().frames().page.locator(selector).first.screenshot()
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).astype(int)


def near(pixel: ndarray, colour: tuple[int, int, int], within: int) -> bool:
    return bool(np.abs(pixel - colour).max() <= within)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_ink_is_light_and_the_arc_ends_in_the_colour_of_its_weight(
    theme: str, microscope: Microscope
) -> None:
    pixels = screen(microscope.show("softmax", theme=theme), ".digit-map")
    height, width, _ = pixels.shape
    cell = microscope.evaluate(
        """() => getComputedStyle(document.querySelectorAll(".matrix [data-place]")[10 * 16 + 14])
          .backgroundColor.match(/\\d+/g).map(Number)"""
    )
    assert near(pixels[int(height * 3.5 / 4), int(width * 2.5 / 4)], cell, 12)  # patch 15
    assert near(np.array(cell), YELLOW, 20)
    ink = microscope.ink()
    row, column = np.argwhere(ink == 1)[0]
    place = int((row + 0.5) * height / 28), int((column + 0.5) * width / 28)
    assert near(pixels[place], WHITE, 3)
    assert near(pixels[int(height * 2.5 / 28), int(width * 5.5 / 7 / 4)], GROUND, 45)  # patch 1


def test_a_thumbnail_of_the_strip_has_the_colours_of_the_matrix(microscope: Microscope) -> None:
    microscope.show("softmax")
    thumb, cells = microscope.evaluate(
        """async () => {
          const copy = new OffscreenCanvas(16, 16).getContext("2d", { willReadFrequently: true });
          let data = [0];
          while (!data.at(-1)) {  // the strip may be drawn a few frames later
            await new Promise(requestAnimationFrame);
            copy.drawImage(document.querySelector(".thumb.now canvas"), 0, 0);
            data = copy.getImageData(0, 0, 16, 16).data;
          }
          const cells = [...document.querySelectorAll(".matrix [data-place]")];
          return [[...data].filter((_, i) => i % 4 < 3), cells.flatMap((cell) =>
            getComputedStyle(cell).backgroundColor.match(/\\d+/g).map(Number))];
        }"""
    )
    assert thumb == cells
    assert len(set(zip(thumb[::3], thumb[1::3], strict=True))) > 40


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_fall_is_orange_and_a_rise_is_blue(theme: str, microscope: Microscope) -> None:
    microscope.settle().show("heads", theme=theme)
    for kind, warm in (("fall", True), ("rise", False)):
        colour = microscope.evaluate(
            "(kind) => getComputedStyle(document.querySelector(`.head-card .${kind}`)).color", kind
        )
        red, _, blue = (int(value) for value in colour[4:-1].split(","))
        assert (red > blue) == warm


def test_the_pad_draws_white_ink_where_the_pointer_was(microscope: Microscope) -> None:
    pixels = screen(microscope.show(strokes="2s1t4k1q5e1q"), ".pad")
    scale = len(pixels) / 280
    assert pixels[int(62 * scale), int(175 * scale)].min() > 235
    assert near(pixels[int(150 * scale), int(175 * scale)], GROUND, 3)


@pytest.mark.slow
def test_a_printed_step_is_one_page_in_its_own_colours(microscope: Microscope) -> None:
    for step in ("draw", "softmax", "heads"):
        paper = microscope.show(step, theme="dark").page.pdf(prefer_css_page_size=True)
        assert paper.count(b"/Type /Page\n") == 1
    with microscope.media(media="print"):
        pixels = screen(microscope.show("softmax", theme="dark"), "body")
        assert near(pixels[-1, 0], WHITE, 1)
        assert microscope.page.locator(".tools").is_hidden()
        printed = microscope.page.locator(".matrix .cell").first.evaluate(
            "cell => getComputedStyle(cell).printColorAdjust"
        )
        assert printed == "exact"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_near_zero_have_the_lightness_of_the_page_and_signs_keep_their_colour(
    theme: str, microscope: Microscope
) -> None:
    pixels = screen(microscope.show("tokens", theme=theme), ".strip-row.total canvas")
    token = np.array(
        microscope.evaluate(
            """() => {
              const { input } = clearhead.store.result.value.run.layers[0];
              return [...input.subarray(10 * 64, 11 * 64)];
            }"""
        )
    )
    height, width, _ = pixels.shape
    columns = ((np.arange(64) + 0.5) * width / 64).astype(int)
    shown = pixels[height // 2, columns]
    near_zero, low, high = np.abs(token).argmin(), token.argmin(), token.argmax()
    assert (shown[near_zero].mean() > 200) == (theme == "light")
    assert (shown[near_zero].mean() < 60) == (theme == "dark")
    assert shown[low][0] > shown[low][2] + 60  # orange
    assert shown[high][2] > shown[high][0] + 60  # blue


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_maps_of_signed_numbers_have_the_lightness_of_the_page_below_white_ink(
    theme: str, microscope: Microscope
) -> None:
    microscope.show("gallery", case=3, theme=theme).settle()
    pixels = screen(microscope, ".maps figure:nth-child(3) .digit-map")
    side = len(pixels) / 28
    blank = pixels[int(2 * side) : int(4 * side), int(9 * side) : int(12 * side)]  # patch 2
    assert (np.median(blank) > 200) == (theme == "light")
    assert (np.median(blank) < 60) == (theme == "dark")
    row, column = np.argwhere(microscope.ink() == 1)[0]
    assert near(pixels[int((row + 0.5) * side), int((column + 0.5) * side)], WHITE, 3)
    ramp = screen(microscope, ".signed .ramp")[4]
    low, middle, high = (luminance(ramp[place]) for place in (6, len(ramp) // 2, -7))
    assert ramp[6][0] > ramp[6][2] + 60  # orange
    assert ramp[-7][2] > ramp[-7][0] + 60  # blue
    for end in (low, high):
        assert (max(end, middle) + 0.05) / (min(end, middle) + 0.05) > 3


def luminance(pixel: ndarray) -> float:
    """Relative luminance (WCAG 2)."""
    share = pixel / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
