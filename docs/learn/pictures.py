"""Makes the lessons' pictures of the microscope, docs/learn/pictures/PLACE.png. Needs Chromium."""

import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright

from clearhead.microscope import shipped_page
from docs.learn.sphinx_extension import PLACES, address_of

FOLDER = Path(__file__).parent / "pictures"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]


def main() -> None:
    """Open the page at each place and take a screenshot."""
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "microscope.html"
        file.write_text(shipped_page(), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
        for place in PLACES:
            view: ViewportSize = {"width": 1200, "height": 750}
            page = browser.new_page(viewport=view, reduced_motion="reduce")
            page.goto(f"{file.as_uri()}#{address_of(place)}&theme=light")
            page.locator("html[data-settled]").wait_for(timeout=120_000)
            if page.get_by_role("button", name="Just show me").count():
                page.get_by_role("button", name="Just show me").first.click()
            page.mouse.move(0, 0)
            page.wait_for_timeout(1000)  # transitions
            page.evaluate("document.activeElement?.blur()")
            path = FOLDER / f"{place}.png"
            page.screenshot(path=path)
            page.close()
            with Image.open(path) as picture:  # smaller, with rare colours kept
                few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=5)
            few.save(path, optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
