"""The microscope: time of a forward pass, and of a frame while a digit is drawn.

The forward pass is that of the page's digit classifier in Chromium, at full speed. Then, with the
processor slowed down 4 times, a stroke of 120 points is drawn by the mouse; the time between frames
includes the forward pass and drawing. Needs Chromium and Playwright.
"""

import os
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from clearhead.microscope import shipped_page

POINTS = 120
SLOWER = 4
SCREENS = ((1440, 900), (390, 844))
REPEATS = 3
QUICK = 34  # milliseconds: two frames at 60 Hz, with rounding
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]

# Times between frames: also the work of event handlers and of the browser counts.
TIME_FRAMES = """() => {
  globalThis.frame_times = [];
  let last = null;
  const next = (now) => {
    if (last !== null) frame_times.push(now - last);
    last = now;
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
}"""

# Means over batches, because browsers round their clock.
TIME_FORWARD = """() => {
  const { store, forward } = clearhead;
  const { pixels } = store.result.value.run;
  const times = [];
  for (let batch = 0; batch < 60; batch++) {
    const start = performance.now();
    for (let i = 0; i < 10; i++) forward(store.model, pixels, store.state.value);
    times.push((performance.now() - start) / 10);
  }
  return times;
}"""


def draw(page: Page) -> list[float]:
    """Milliseconds between the frames of one stroke."""
    box = page.locator("svg.pad").bounding_box()
    assert box is not None
    left, top, size = box["x"], box["y"], box["width"]
    page.mouse.move(left + 0.25 * size, top + 0.25 * size)
    page.mouse.down()
    page.evaluate("frame_times.length = 0")
    for i in range(POINTS):
        first, second = min(1, 2 * i / POINTS), max(0, 2 * i / POINTS - 1)
        page.mouse.move(
            left + size * (0.25 + 0.5 * first - 0.2 * second), top + size * (0.25 + 0.5 * second)
        )
    times: list[float] = page.evaluate("[...frame_times]")
    page.mouse.up()
    return times


def main() -> None:
    """Print one line per screen."""
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "microscope.html"
        file.write_text(shipped_page(), encoding="utf-8")
        print(f"page: {file.stat().st_size / 1e6:.2f} MB")
        browser = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-settled]", state="attached")
        forward = sorted(page.evaluate(TIME_FORWARD))
        print(
            f"forward pass, ms: smallest {forward[0]:.2f}   median {statistics.median(forward):.2f}"
        )
        page.close()
        print(f"time of a frame while drawing, processor {SLOWER} × slower, ms")
        for width, height in SCREENS:
            page = browser.new_page(viewport={"width": width, "height": height})
            session = page.context.new_cdp_session(page)
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-settled]", state="attached")
            page.evaluate(TIME_FRAMES)
            session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
            times = sorted(time for _ in range(REPEATS) for time in draw(page))
            below = sum(time < QUICK for time in times) / len(times)
            print(
                f"  {width} × {height}: median {statistics.median(times):5.1f}   95 % below "
                f"{times[int(0.95 * (len(times) - 1))]:6.1f}   {below:.0%} below {QUICK} ms   "
                f"({len(times)} frames)"
            )
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
