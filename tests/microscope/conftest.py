"""The microscope's page, written once and opened in one browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clearhead.microscope.shipped import ready_page
from tests.microscope.looking import Microscope

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ViewportSize


USUAL: "ViewportSize" = {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the shipped model, on disk."""
    path = tmp_path_factory.mktemp("page") / "microscope.html"
    path.write_text(ready_page(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def opened(browser: "Browser", page_file: Path) -> Iterator[Microscope]:
    """The page, opened once; `microscope` gives it to each test as new."""
    with browser.new_context(viewport=USUAL) as context:
        yield Microscope(context.new_page(), page_file)


@pytest.fixture
def microscope(opened: Microscope) -> Iterator[Microscope]:
    """The page in its first state; whatever it complains about fails the test."""
    opened.page.set_viewport_size(USUAL)
    opened.show()
    yield opened
    assert opened.complaints == []
    assert opened.requests == []
