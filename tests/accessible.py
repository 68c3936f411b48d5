"""Accessibility faults that axe finds on a page, for all tests of pages."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page

AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
MIN_PASSES = 10  # rules that a page passes if axe has run


def paint(page: Page, on: bool = True) -> None:
    """Paint the page, or only lay it out, which takes 0.6 of the processor time.

    Elements that are not painted keep their places, also for the pointer, and their styles.
    """
    page.evaluate("(on) => { document.documentElement.style.opacity = on ? '' : 0 }", on)


def violations(page: Page) -> list[str]:
    """One line for each fault that axe finds on the page in its present state.

    Afterwards the page is painted: axe does not check the contrast of text that is invisible.
    """
    paint(page)
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(f"() => {{ {_axe()} }}")
    num_passes, faults = page.evaluate(
        """async () => {
          const options = { resultTypes: ["violations"], selectors: false };
          const { violations, passes } = await axe.run(document, options);
          return [passes.length, violations.flatMap(({ id, nodes }) =>
            nodes.slice(0, 3).map(({ html, any, all }) =>
            `${id}: ${html.slice(0, 160)} ${[...any, ...all].map(({ message }) => message)}`))];
        }"""
    )
    assert num_passes > MIN_PASSES
    return list(faults)


def _axe() -> str:
    if not AXE.is_file():
        message = "axe-core is missing; install it with npm install --no-package-lock"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return AXE.read_text("utf-8")
