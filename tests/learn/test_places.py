"""The microscope opens where the lessons' links lead, and shows their numbers."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
import torch

import clearhead as ch
from clearhead import learn
from clearhead.microscope import shipped_page
from docs.learn.sphinx_extension import PLACES, address_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def open_place(browser: "Browser", folder: Path, place: str) -> "Page":
    file = folder / "microscope.html"
    file.write_text(shipped_page(), encoding="utf-8")
    page = browser.new_context().new_page()
    page.goto(f"{file.as_uri()}#{address_of(place)}")
    page.wait_for_selector("html[data-settled]", state="attached")
    return page


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_each_place_opens_its_step(browser: "Browser", tmp_path: Path, place: str) -> None:
    page = open_place(browser, tmp_path, place)
    step = parse_qs(PLACES[place])["step"][0]
    assert page.locator("main").get_attribute("data-step") == step
    page.context.close()


@pytest.mark.slow
def test_the_page_shows_the_weight_that_the_lessons_compute(
    browser: "Browser", tmp_path: Path
) -> None:
    model = ch.load()
    images = ch.data.normalize(learn.example_digit()[None].float(), model.config)
    with torch.no_grad(), ch.capture() as recording:
        model(images)
    weight = float(recording["blocks.2.attn"].weights[0, 0, 10, 14])
    page = open_place(browser, tmp_path, "softmax")
    page.get_by_role("button", name="Just show me").click()
    text = "".join(page.locator("main").inner_text().split())
    assert f"{weight:.0%}" in text
    page.context.close()
