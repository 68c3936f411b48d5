"""The page, opened from disk, requests nothing, and its policy would not let it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from clearhead.microscope import shipped_page
from tests.microscope.driver import PAGES, Microscope

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MAX_BYTES = 1_300_000
NAMESPACES = {
    f"http://www.w3.org/{name}" for name in ("2000/svg", "1998/Math/MathML", "1999/xhtml")
}


def test_the_shipped_page_is_small_and_names_no_address_and_no_event_attribute() -> None:
    page = shipped_page()
    assert len(page.encode()) <= MAX_BYTES
    assert set(re.findall(r"https?://[^\s\"'`)]+", page)) == NAMESPACES
    assert re.search(r"<[^>]+\son\w+=", page[: page.index("<script")]) is None


@pytest.mark.slow
def test_nothing_is_requested_while_every_view_is_used(browser: "Browser", page_file: Path) -> None:
    """With the browser's own idle callbacks, which other tests replace."""
    with browser.new_context(offline=True) as context:
        microscope = Microscope(context.new_page(), page_file)
        for step in PAGES:
            microscope.show(step)
        for name in ("Figure, SVG", "Figure, PNG", "Numbers, CSV"):
            microscope.show("softmax").save(name)
        microscope.settle()
        assert microscope.requests == []
        assert microscope.complaints == []


@pytest.fixture(scope="module")
def page(browser: "Browser", page_file: Path) -> Iterator["Page"]:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(page_file.as_uri())
        yield page


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
def test_the_policy_forbids_requests_and_other_scripts(attempt: str, page: "Page") -> None:
    with page.expect_console_message(lambda line: "Content Security Policy" in line.text):
        assert page.evaluate(f"{attempt}.then(() => 'done', () => 'refused')") == "refused"


def test_the_policy_forbids_code_from_strings(page: "Page") -> None:
    attempt = "try { done(new Function('return 1')()); } catch (error) { done(error.name); }"
    code = f"new Promise((done) => setTimeout(() => {{ {attempt} }}))"
    assert page.evaluate(code) == "EvalError"


@pytest.mark.slow
def test_the_page_computes_in_webassembly_and_the_same_without_it(
    browser: "Browser", page_file: Path
) -> None:
    scripts = (
        "globalThis.modules = 0; const { Module } = WebAssembly;"
        "WebAssembly.Module = function (code) { const m = new Module(code); modules++; return m; }",
        "globalThis.modules = 0; delete globalThis.WebAssembly;",
    )
    logits, modules = [], []
    for script in scripts:
        with browser.new_context() as context:
            context.add_init_script(script)
            microscope = Microscope(context.new_page(), page_file)
            logits.append(microscope.logits())
            modules.append(microscope.evaluate("() => modules"))
            assert microscope.complaints == []
            assert not microscope.evaluate("() => clearhead.store.examples.value.failed")
    assert modules == [1, 0]
    np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-9)
