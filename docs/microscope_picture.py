"""Makes the README's picture of the microscope, docs/microscope.png.

It shows the second example of a 7 in the view Explore. Needs Chromium.
"""

import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from clearhead.microscope import shipped_page

PICTURE = Path(__file__).parent / "microscope.png"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]


def main() -> None:
    """Open the page from a file and take a screenshot."""
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "microscope.html"
        file.write_text(shipped_page(), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 1180})
        page.goto(file.as_uri())
        page.get_by_role("tab", name="Explore").click()
        page.get_by_role("button", name="Example 7", exact=True).click()
        page.locator("html[data-settled]").wait_for(timeout=120_000)
        page.mouse.move(0, 0)
        page.wait_for_timeout(11_000)  # messages are gone after ten seconds
        page.evaluate("document.activeElement?.blur()")
        page.screenshot(path=str(PICTURE))
        browser.close()


if __name__ == "__main__":
    main()
