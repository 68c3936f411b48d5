"""The page as the command serves it, in a browser."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from clearhead.microscope.shipped import ready_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_the_served_page_is_the_microscope_and_asks_only_its_own_server(
    browser: "Browser", tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("w") as stderr:
        command = [sys.executable, "-m", "clearhead", "serve", "--port", "0"]
        server = subprocess.Popen(command, stderr=stderr)
    try:
        address = address_of(server, log)
        with browser.new_context() as context:
            page = context.new_page()
            asked: list[str] = []
            heard: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: heard.append(message.text))
            page.on("pageerror", lambda error: heard.append(str(error)))
            reply = page.goto(address)
            assert reply is not None
            assert reply.text() == ready_page()
            page.wait_for_selector("html[data-settled]", state="attached")
            assert [u for u in asked if not u.startswith((address, "data:", "blob:"))] == []
            assert heard == []
    finally:
        server.terminate()
    assert server.wait(timeout=30) == 0


def address_of(server: "subprocess.Popen[bytes]", log: Path) -> str:
    """What it says it listens on, once it does."""
    end = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < end:
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        if found:
            return found.group()
        time.sleep(0.05)
    raise RuntimeError(log.read_text())
