"""What axe finds wrong with a page, for every test of a page."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page

AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
LEAST_CHECKED = 10  # rules that a page passes, if axe looked at it at all


def violations(page: Page) -> list[str]:
    """A line for each fault that axe sees on the page as it is now."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(f"() => {{ {_axe()} }}")
    passed, found = page.evaluate(
        """async () => {
          const { violations, passes } = await axe.run(document, { resultTypes: ["violations"] });
          return [passes.length, violations.flatMap(({ id, nodes }) =>
            nodes.slice(0, 3).map(({ html, any, all }) =>
            `${id}: ${html.slice(0, 160)} ${[...any, ...all].map(({ message }) => message)}`))];
        }"""
    )
    assert passed > LEAST_CHECKED
    return list(found)


def _axe() -> str:
    if not AXE.is_file():
        message = "axe-core is not here; npm install --no-package-lock brings it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return AXE.read_text("utf-8")
