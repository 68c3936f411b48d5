"""Drives the page in tests: shows a state, reads texts and numbers, saves files."""

import base64
import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from playwright.sync_api import ConsoleMessage, Page, Request, ViewportSize

USUAL: ViewportSize = {"width": 1280, "height": 900}
TABS = ("walk", "explore", "heads", "compare", "text", "about")
SEVEN = 14  # the example that the page starts with

# Work for an idle browser waits for `settle`: in a hidden browser, idle callbacks come late, and
# most tests do not need this work, 40 forward passes after each change.
IDLE_ON_DEMAND = """globalThis.idleWork = [];
globalThis.requestIdleCallback = (work) => idleWork.push(work);"""

_SETTLE = """async () => {
  const frames = async () => {
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
  };
  await frames();
  while (globalThis.idleWork?.length) {
    for (const work of idleWork.splice(0)) work({ didTimeout: false, timeRemaining: () => 50 });
    await frames();
  }
}"""

_LISTEN = """() => {
  const { app } = clearhead;
  const { announce } = app;
  globalThis.messages = [];
  app.announce = (message, kind) => {
    messages.push(message);
    announce(message, kind);
  };
}"""

_TO_BASE64 = """
const toBase64 = (numbers) => {
  const bytes = new Uint8Array(Float64Array.from(numbers).buffer);
  const parts = [];
  for (let i = 0; i < bytes.length; i += 32768)
    parts.push(String.fromCharCode.apply(null, bytes.subarray(i, i + 32768)));
  return btoa(parts.join(""));
};
const fromBase64 = (text) =>
  new Float64Array(Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer);
"""


def number(text: str) -> float:
    """The first number in a text of the page: −1.5, 41 %, or 4.0 × 10⁻¹¹."""
    found = re.search(r"([−+]?\d+(?:\.\d+)?)(?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    assert found, text
    power = (found[2] or "⁰").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(f"{found[1].replace('−', '-')}e{power}")


def csv_rows(content: bytes) -> list[list[str]]:
    """The rows of a saved CSV, the column names first."""
    lines = content.decode().splitlines()
    return list(csv.reader(line for line in lines if not line.startswith("#")))


class Microscope:
    """A page opened from disk, with all its requests and complaints."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.address = file.as_uri()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._note_request)
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.address)
        self.settle().evaluate(_LISTEN)

    def reload(self) -> "Microscope":
        """Load the page again: no step of the walk is done, and no message waits."""
        self.page.reload()
        self.settle().evaluate(_LISTEN)
        return self

    def show(self, **state: object) -> "Microscope":
        """Show this state, everything else as at first, and wait until it is drawn.

        What is computed when the browser is idle (masking, removing heads) is not: see `settle`.
        """
        self.page.evaluate(
            """async (hash) => {
              if (location.hash.slice(1) === hash) clearhead.app.set({});
              else await new Promise((done) => {
                addEventListener("hashchange", done, { once: true });
                location.hash = hash;
              });
              for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
              messages.length = 0;
            }""",
            "&".join(f"{name}={value}" for name, value in state.items()),
        )
        return self

    def settle(self) -> "Microscope":
        """Wait until nothing is left to compute."""
        self.page.evaluate(_SETTLE)
        self.page.wait_for_selector("html[data-settled]", timeout=60_000, state="attached")
        return self

    def frames(self) -> "Microscope":
        """Wait until what was just changed is drawn."""
        self.evaluate(
            "async () => { for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame); }"
        )
        return self

    def size(self, width: int, height: int = 900) -> "Microscope":
        """Make the window this large until the end of the test."""
        self.page.set_viewport_size({"width": width, "height": height})
        return self

    @contextmanager
    def media(self, **features: Any) -> Iterator[None]:
        """Emulate these media features inside the block."""
        self.page.emulate_media(**features)
        try:
            yield
        finally:
            self.page.emulate_media(**dict.fromkeys(features, "null"))  # type: ignore[arg-type]

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def click(self, name: str, within: str = "body") -> None:
        """Click the first button whose name begins so, and wait until the change is drawn."""
        named = re.compile(f"^\\W*{re.escape(name)}")
        self.page.locator(within).get_by_role("button", name=named).first.click()
        self.frames()

    def text(self, selector: str) -> str:
        """The text of the first such element."""
        return (self.page.locator(selector).first.text_content() or "").strip()

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_text_contents()

    def table(self, selector: str) -> list[list[str]]:
        """The cells of a table's body, row by row."""
        return list(
            self.evaluate(
                """(selector) => [...document.querySelectorAll(`${selector} tbody tr`)].map(
                  (row) => [...row.children].map((cell) => cell.textContent))""",
                selector,
            )
        )

    def state(self, name: str) -> Any:
        return self.evaluate("(name) => clearhead.app.state[name]", name)

    def logits(self) -> list[float]:
        return list(self.evaluate("() => clearhead.app.result.run.logits"))

    def ink(self) -> ndarray:
        """The pixels that the model sees, 0 to 1."""
        return np.reshape(self.evaluate("() => [...clearhead.app.result.ink]"), (28, 28))

    def messages(self) -> list[str]:
        """The messages to the live region since the state was shown, spoken or still waiting."""
        return list(self.evaluate("() => messages"))

    def save(self, name: str) -> tuple[str, bytes]:
        """Press SVG, PNG or CSV; returns the name and the content of the file."""
        with self.page.expect_download() as waiting:
            self.page.get_by_role("button", name=name, exact=True).click()
        download = waiting.value
        return download.suggested_filename, Path(download.path()).read_bytes()

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """The value of a JavaScript function, called with the argument."""
        return self.page.evaluate(script, argument)

    def numbers(self, script: str, numbers: ndarray, argument: Any = None) -> ndarray:
        """The numbers that a JavaScript function `(numbers, argument) => […]` makes of others."""
        sent = base64.b64encode(np.ascontiguousarray(numbers, np.float64).tobytes()).decode()
        called = f"return toBase64(({script})(fromBase64(sent), argument));"
        source = f"([sent, argument]) => {{ {_TO_BASE64} {called} }}"
        return np.frombuffer(base64.b64decode(self.page.evaluate(source, [sent, argument])))

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.requests.append(request.url)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)
