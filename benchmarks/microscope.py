"""The microscope while a digit is drawn: time per frame, with the processor slowed down 4 times.

A stroke of 120 points is drawn by the mouse on each tab; a frame's time is the time that the page's
own work takes: the forward pass and drawing. Needs Chromium and Playwright.
"""

import os
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import CDPSession, Page, sync_playwright

from clearhead.microscope import shipped_page

POINTS = 120
SLOWER = 4
QUICK = 33  # milliseconds: two frames of a usual screen
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]

# Times the callbacks of animation frames from outside the page's script.
TIME_FRAMES = """() => {
  const request = globalThis.requestAnimationFrame.bind(globalThis);
  globalThis.frames_taken = [];
  globalThis.requestAnimationFrame = (work) => request((now) => {
    const start = performance.now();
    work(now);
    frames_taken.push(performance.now() - start);
  });
}"""


def draw(page: Page) -> list[float]:
    """Milliseconds of work in each frame of one stroke."""
    box = page.locator("canvas.pad").first.bounding_box()
    assert box is not None
    page.evaluate("frames_taken.length = 0")
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    for i in range(POINTS):
        across = 60 + 140 * min(1, 2 * i / POINTS) - 60 * max(0, 2 * i / POINTS - 1)
        page.mouse.move(box["x"] + across, box["y"] + 60 + 150 * max(0, 2 * i / POINTS - 1))
    times: list[float] = page.evaluate("[...frames_taken]")
    page.mouse.up()
    return times


def measure(page: Page, session: CDPSession, tab: str) -> tuple[float, float, float]:
    """Median, 95th percentile, and the share of frames below 33 ms."""
    page.get_by_role("tab", name=tab).click()
    page.wait_for_selector("html[data-settled]", state="attached")
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    times = sorted(draw(page))
    session.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    quick = sum(time < QUICK for time in times) / len(times)
    return statistics.median(times), times[int(0.95 * (len(times) - 1))], quick


def main() -> None:
    """Print one line per tab."""
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "microscope.html"
        file.write_text(shipped_page(), encoding="utf-8")
        print(f"page: {file.stat().st_size / 1e6:.2f} MB")
        browser = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        session = page.context.new_cdp_session(page)
        page.goto(file.as_uri())
        page.evaluate(TIME_FRAMES)
        print(f"work in a frame while drawing, processor {SLOWER} × slower, ms")
        for tab in ("Walk", "Explore", "Heads", "Compare", "About"):
            middle, slow, quick = measure(page, session, tab)
            print(
                f"  {tab:<8} median {middle:5.1f}   95 % below {slow:6.1f}   "
                f"{quick:.0%} below {QUICK} ms"
            )
        browser.close()


if __name__ == "__main__":
    main()
