"""The page as tests see it: shown in some state, read, and asked for its numbers."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from playwright.sync_api import ConsoleMessage, Page, Request

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


class Microscope:
    """A page opened from disk, with all it asked for and all it complained about."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.address = file.as_uri()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._note_request)
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.address)
        self.settle()

    def show(self, **state: object) -> "Microscope":
        """The page in this state, everything else as at first, as soon as it is drawn.

        What runs in idle slices (silencings, removals) may not be there yet: see `settle`.
        """
        told = "&".join(f"{name}={value}" for name, value in state.items())
        self.page.evaluate(
            """async (hash) => {
              if (location.hash.slice(1) === hash) clearhead.app.set({});
              else await new Promise((done) => {
                addEventListener("hashchange", done, { once: true });
                location.hash = hash;
              });
              for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
            }""",
            told,
        )
        return self

    def settle(self) -> "Microscope":
        """Waits until nothing is left to compute."""
        self.page.wait_for_selector("html[data-settled]", timeout=20_000, state="attached")
        return self

    def fresh(self) -> None:
        """The mark of having settled is taken away; the next frame sets it again."""
        self.page.evaluate("document.documentElement.removeAttribute('data-settled')")

    def text(self, selector: str) -> str:
        """What stands in the first such element."""
        return (self.page.locator(selector).first.text_content() or "").strip()

    def ask(self, script: str, argument: Any = None) -> Any:
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
