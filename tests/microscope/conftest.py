"""One browser for all tests of the page: Debian's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clearhead.microscope.shipped import ready_page
from tests.microscope.looking import Microscope

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        message = "no Chromium here: install Debian's package chromium, or name one in CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the shipped model, on disk."""
    path = tmp_path_factory.mktemp("page") / "microscope.html"
    path.write_text(ready_page(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def opened(browser: "Browser", page_file: Path) -> Iterator[Microscope]:
    """The page, opened once; `microscope` gives it to each test as new."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield Microscope(context.new_page(), page_file)


@pytest.fixture
def microscope(opened: Microscope) -> Iterator[Microscope]:
    """The page in its first state; whatever it complains about fails the test."""
    opened.show()
    yield opened
    assert opened.complaints == []
    assert opened.requests == []
