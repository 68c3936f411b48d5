"""Makes the README's picture of the microscope, docs/microscope.png.

It shows the step Softmax for the example of a 7. Needs Chromium.
"""

import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import ViewportSize, sync_playwright

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
        view: ViewportSize = {"width": 1440, "height": 830}
        page = browser.new_page(viewport=view, device_scale_factor=1.5, reduced_motion="reduce")
        page.goto(f"{file.as_uri()}#step=softmax&layer=3&head=2&query=7&key=6")
        page.locator("html[data-settled]").wait_for(timeout=120_000)
        page.get_by_role("button", name="Just show me").click()
        page.mouse.move(0, 0)
        page.wait_for_timeout(1000)  # transitions
        page.evaluate("document.activeElement?.blur()")
        page.screenshot(path=str(PICTURE))
        browser.close()


if __name__ == "__main__":
    main()
