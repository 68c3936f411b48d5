"""What a few states look like, compared with stored pictures that are reduced to blocks.

Blocks are larger than letters, and may be shifted a little: the fonts of formulas hardly matter.
After a wanted change, `RENEW_APPEARANCE=1 pytest tests/microscope/test_appearance.py` renews them.
"""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image

from clearhead.explanation import explain, write_report
from clearhead.microscope import build_page, shipped_page
from clearhead.models import build
from clearhead.models.config import ViTConfig
from tests.microscope.driver import USUAL

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent / "appearance"
BLOCK = 20  # pixels
REACH = 2  # blocks by which text of other width may shift a part
DIFFERENT = 24  # between mean colours of a block, of 255
MAX_DIFFERENT = 0.026  # share of all blocks; with other fonts it is up to 0.02
FONT = "html { font-family: 'DejaVu Sans', sans-serif !important; }"  # most machines have it
HASHES = {"opening": "", "attention": "step=softmax", "gallery": "step=gallery&case=3"}


def picture(page: "Page") -> ndarray:
    """The window, reduced to the mean colour of each block."""
    page.mouse.move(1, 1)
    page.wait_for_timeout(500)  # transitions
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB").reduce(BLOCK)
    return np.asarray(image).astype(int)


def share_of_different_blocks(shown: ndarray, name: str) -> float:
    """Compares the window with the stored picture, which may be shifted a little."""
    stored = np.asarray(Image.open(FOLDER / f"{name}.png")).astype(int)
    assert stored.shape == shown.shape
    return max(_share_without_match(shown, stored), _share_without_match(stored, shown))


def _share_without_match(blocks: ndarray, others: ndarray) -> float:
    """The share of blocks that resemble no block nearby in the other picture."""
    height, width, _ = blocks.shape
    around = np.pad(others, ((REACH, REACH), (REACH, REACH), (0, 0)), constant_values=-999)
    shifts = [
        np.abs(blocks - around[down : down + height, across : across + width]).max(axis=-1)
        for down in range(2 * REACH + 1)
        for across in range(2 * REACH + 1)
    ]
    return float((np.min(shifts, axis=0) > DIFFERENT).mean())


def colour_page() -> str:
    """A model of three classes of coloured pictures."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=24, patch_size=6, in_channels=3, depth=2, embed_dim=16, num_heads=2,
        num_classes=3, class_names=("red", "green", "blue"), mean=(0.5,) * 3, std=(0.5,) * 3,
    )  # fmt: skip
    pixels = np.zeros((3, 24, 24), np.uint8)
    pixels[0, :, 12:], pixels[1, 8:16], pixels[2] = 220, 180, 60
    return build_page(build(config), pictures={"stripes": pixels})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "microscope.html").write_text(shipped_page(), "utf-8")
    (folder / "colour.html").write_text(colour_page(), "utf-8")
    digit = np.zeros((28, 28), np.uint8)  # a seven
    digit[6:9, 7:21] = 255
    for row in range(9, 23):
        left = 20 - row // 2
        digit[row, left : left + 3] = 255
    write_report(explain("digits", digit), folder / "explanation.html")
    text = "The dog chased the ball because it was hungry."
    write_report(explain("sentences", text), folder / "text.html")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def show(browser: "Browser", files: dict[str, Path]) -> Iterator[Callable[[str], "Page"]]:
    """Opens a state by its name, with the questions of its step skipped."""
    with browser.new_context(
        viewport=USUAL, color_scheme="light", reduced_motion="reduce", bypass_csp=True
    ) as context:
        page = context.new_page()

        def show_state(name: str) -> "Page":
            page.goto("about:blank")
            address = files["microscope" if name in HASHES else name].as_uri()
            page.goto(f"{address}#{HASHES.get(name, '')}")
            page.add_style_tag(content=FONT)
            if name in HASHES or name == "colour":
                page.wait_for_selector("html[data-settled]", state="attached")
                page.evaluate("clearhead.store.guesses.value = new Proxy({}, { get: () => -1 })")
            return page

        yield show_state


@pytest.mark.parametrize("name", [*HASHES, "colour", "explanation", "text"])
def test_a_state_looks_as_it_did(name: str, show: Callable[[str], "Page"]) -> None:
    shown = picture(show(name))
    if os.environ.get("RENEW_APPEARANCE"):
        Image.fromarray(shown.astype(np.uint8)).save(FOLDER / f"{name}.png", optimize=True)
    assert share_of_different_blocks(shown, name) <= MAX_DIFFERENT


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("opening", ".pad"),
        ("attention", ".matrix"),
        ("gallery", ".maps figure:last-child"),
        ("colour", ".strip"),
        ("explanation", "#heads"),
        ("text", ".words-holder"),
    ],
)
def test_a_missing_part_is_found(name: str, part: str, show: Callable[[str], "Page"]) -> None:
    page = show(name)
    page.locator(part).first.evaluate("part => { part.style.visibility = 'hidden' }")
    assert share_of_different_blocks(picture(page), name) > MAX_DIFFERENT
