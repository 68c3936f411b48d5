"""The page from disk: it asks for nothing, and could not if it wanted to."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clearhead.microscope.shipped import ready_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LARGEST = 1_300_000  # bytes


def test_the_shipped_page_is_small_enough() -> None:
    assert len(ready_page().encode()) <= LARGEST


def test_the_page_names_no_address_and_carries_no_event_attribute() -> None:
    page = ready_page()
    assert set(re.findall(r"https?://[^\s\"'`)]+", page)) == {"http://www.w3.org/2000/svg"}
    assert re.search(r"<[^>]+\son\w+=", page[: page.index("<script")]) is None


def test_nothing_is_requested_while_every_view_is_used(browser: "Browser", page_file: Path) -> None:
    with browser.new_context(offline=True, accept_downloads=True) as context:
        page = context.new_page()
        asked: list[str] = []
        heard: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.goto(page_file.as_uri())
        for name in ("Walk", "Heads", "Compare", "Text", "About", "Explore"):
            page.get_by_role("tab", name=name).click()
            page.wait_for_selector("html[data-settled]", state="attached")
        for name in ("SVG", "PNG", "CSV"):
            with page.expect_download():
                page.get_by_role("button", name=name, exact=True).click()
        outside = [
            url for url in asked if not url.startswith((page_file.as_uri(), "data:", "blob:"))
        ]
        assert asked
        assert outside == []
        assert heard == []


@pytest.mark.parametrize(
    "attempt",
    [
        "fetch('http://localhost:9/')",
        "new Promise((done, fail) => { const s = document.createElement('script'); "
        "s.textContent = 'globalThis.ran = true'; document.head.append(s); "
        "globalThis.ran ? done() : fail(); })",
        "new Promise((done, fail) => { const i = new Image(); i.onload = done; i.onerror = fail; "
        "i.src = 'http://localhost:9/x.png'; })",
    ],
)
def test_the_policy_forbids_requests_and_other_scripts(
    attempt: str, browser: "Browser", page_file: Path
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        heard: list[str] = []
        page.on("console", lambda message: heard.append(message.text))
        page.goto(page_file.as_uri())
        assert page.evaluate(f"{attempt}.then(() => 'done', () => 'refused')") == "refused"
        assert any("Content Security Policy" in line for line in heard)
