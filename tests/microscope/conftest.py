"""The page of the shipped models, opened once in the browser, and the same models in torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clearhead.microscope import shipped_page
from tests.microscope.driver import IDLE_ON_DEMAND, USUAL, Microscope
from tests.microscope.node import Bridge

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from clearhead.models.text import TextTransformer
    from clearhead.models.vit import VisionTransformer


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the shipped model, on disk."""
    path = tmp_path_factory.mktemp("page") / "microscope.html"
    path.write_text(shipped_page(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """The functions of the pages, under node."""
    bridge = Bridge(tmp_path_factory.mktemp("bridge"))
    with bridge.process:
        yield bridge


@pytest.fixture(scope="session")
def opened(browser: "Browser", page_file: Path) -> Iterator[Microscope]:
    """The page, opened once, without motion; `microscope` gives each test its first state."""
    with browser.new_context(viewport=USUAL, reduced_motion="reduce") as context:
        context.add_init_script(IDLE_ON_DEMAND)
        yield Microscope(context.new_page(), page_file)


@pytest.fixture
def microscope(opened: Microscope) -> Iterator[Microscope]:
    """The page in its first state; a complaint or a request of the page fails the test.

    It is laid out, but not painted, before the test calls `paint`.
    """
    if opened.page.viewport_size != USUAL:
        opened.page.set_viewport_size(USUAL)
    opened.page.mouse.move(1, 1)  # else it points at what the last test left below it
    opened.reset()
    yield opened
    assert opened.complaints == []
    assert opened.requests == []


@pytest.fixture(scope="session")
def twin() -> "VisionTransformer":
    """The page's digit classifier: weights rounded to half precision, computed in double."""
    from clearhead.microscope._reference import rounded_model
    from clearhead.models import load

    return rounded_model(load())


@pytest.fixture(scope="session")
def text_twin() -> "TextTransformer":
    """The page's text model, likewise."""
    from clearhead.microscope._reference import rounded_model
    from clearhead.models import load

    return rounded_model(load("sentences"))
