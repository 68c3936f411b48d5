"""Drives the page in tests: shows a state, reads texts and numbers, saves files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from playwright.sync_api import ConsoleMessage, Locator, Page, Request, ViewportSize

from tests.accessible import paint

USUAL: ViewportSize = {"width": 1440, "height": 900}
STEPS = (
    *("draw", "pixels", "patches", "tokens", "qkv", "scores", "scale", "softmax", "mix", "join"),
    *("heads", "prediction", "gallery"),
)
PAGES = (*STEPS, "text", "about")
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

# Rendering is done in microtasks, all but canvases that can wait and effects.
_SHOW = """async ([hash, reveal, drawn]) => {
  clearhead.store.restore(hash);
  clearhead.store.hover.value = {};
  clearhead.store.guesses.value = reveal ? new Proxy({}, { get: () => -1 }) : {};
  for (let i = 0; i < 10; i++) await null;
  if (drawn) for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
}"""

# Playwright's own search computes the names of all controls on the page, twice the work of a click.
# As there, a control is visible, enabled and not covered; until it is, each frame is tried.
_PLACE = """async ([name, within, role]) => {
  const kinds = {
    button: "button:not([role]), summary", radio: "[type=radio]", switch: "[role=switch]",
  };
  const nameOf = (one) =>
    (one.ariaLabel ?? one.labels?.[0]?.textContent ?? one.textContent).replace(/^\\W*/, "");
  for (;;) {
    const one = [...document.querySelectorAll(`${within} :is(${kinds[role]})`)].find((one) =>
      nameOf(one).startsWith(name) && one.checkVisibility({ visibilityProperty: true }));
    if (one && !one.disabled) {
      one.scrollIntoViewIfNeeded();
      const { left, top, width, height } = one.getClientRects()[0];
      const place = [left + width / 2, top + height / 2];
      const above = document.elementFromPoint(...place);
      if (one.contains(above) || [...one.labels ?? []].includes(above?.closest("label"))) {
        return place;
      }
    }
    await new Promise(requestAnimationFrame);
  }
}"""


def number(text: str) -> float:
    """The first number in a text of the page: −1.5, 41 %, or 4.0 × 10⁻¹¹."""
    found = re.search(r"([−+]?\d+(?:\.\d+)?)(?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    assert found, text
    power = (found[2] or "⁰").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(f"{found[1].replace('−', '-')}e{power}")


def _written(state: dict[str, Any]) -> str:
    """A state as in an address."""
    return "&".join(f"{name}={value}" for name, value in state.items() if name != "reveal")


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
        self.settle()

    def reset(self) -> "Microscope":
        """The first state with all results, not painted; it is not drawn before `show`."""
        self.paint(False)
        self.evaluate(_SHOW, ["step=draw", True, False])
        return self

    def paint(self, on: bool = True) -> "Microscope":
        paint(self.page, on)
        return self

    def layouts(self, states: list[dict[str, Any]], script: str) -> list[Any]:
        """The values of a JavaScript function in many states, which are laid out, but not drawn.

        `reveal` among the parts of a state is as in `show`.
        """
        return list(
            self.evaluate(
                f"""async (states) => {{
                  const [show, measure, values] = [{_SHOW}, {script}, []];
                  for (const state of states) {{
                    await show([...state, false]);
                    values.push(measure());
                  }}
                  return values;
                }}""",
                [[_written(state), state.get("reveal", True)] for state in states],
            )
        )

    def show(self, step: str = "draw", *, reveal: bool = True, **state: Any) -> "Microscope":
        """Show this state, everything else as at first, and wait until it is drawn.

        What is computed when the browser is idle (masking, removing heads) is not: see `settle`.

        Args:
            step: The open part.
            reveal: Skip the questions, so that all results are shown.
            **state: Other parts of the state, as in the address.
        """
        self.evaluate(_SHOW, [_written({"step": step, **state}), reveal, True])
        return self

    def settle(self) -> "Microscope":
        """Wait until nothing is left to compute."""
        self.page.evaluate(_SETTLE)
        self.page.wait_for_selector("html[data-settled]", state="attached")
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
        return self.frames()

    @contextmanager
    def media(self, **features: Any) -> Iterator[None]:
        """Emulate these media features inside the block."""
        self.page.emulate_media(**features)
        try:
            yield
        finally:
            usual = dict.fromkeys(features, "null") | {"reduced_motion": "reduce"}
            self.page.emulate_media(**usual)  # type: ignore[arg-type]

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.frames()

    def click(self, name: str, within: str = "body", role: str = "button") -> None:
        """Click the first control whose name begins so, and wait until the change is drawn."""
        self.page.mouse.click(*self.evaluate(_PLACE, [name, within, role]))
        self.frames()

    def patch(self, number: int) -> Locator:
        """This patch of the digit, counted from 1."""
        return self.page.locator(".digit-map .patch").nth(number - 1)

    def text(self, selector: str) -> str:
        """The text of the first such element."""
        return (self.page.locator(selector).first.text_content() or "").strip()

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_text_contents()

    def table(self, within: str = "main") -> list[list[str]]:
        """The cells of the table behind the first figure: opened, read and closed."""
        self.click("Table", within)
        rows = self.evaluate(
            """() => [...document.querySelectorAll("dialog tbody tr")].map(
              (row) => [...row.children].map((cell) => cell.textContent))"""
        )
        self.click("Close the table")
        return list(rows)

    def state(self, name: str) -> Any:
        return self.evaluate("(name) => clearhead.store.state.value[name]", name)

    def logits(self) -> list[float]:
        return list(self.evaluate("() => clearhead.store.result.value.run.logits"))

    def ink(self) -> ndarray:
        """The model input, 0 to 1."""
        return np.reshape(self.evaluate("() => [...clearhead.store.result.value.ink]"), (28, 28))

    def message(self) -> str:
        """The text of the live region."""
        return self.text("[role=status]")

    def save(self, name: str) -> tuple[str, bytes]:
        """Save the figure or its numbers; returns the name and the content of the file."""
        self.page.locator(".menu summary").click()
        with self.page.expect_download() as waiting:
            self.page.get_by_role("button", name=name, exact=True).click()
        download = waiting.value
        return download.suggested_filename, Path(download.path()).read_bytes()

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """The value of a JavaScript function, called with the argument."""
        return self.page.evaluate(script, argument)

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.requests.append(request.url)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)
