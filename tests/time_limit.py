"""A time limit for each test, as a plugin of pytest: `tests/conftest.py` loads it."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

SECONDS = float(os.environ.get("TEST_SECONDS", "600"))  # several times the slowest test's


_running: tuple[pytest.Item, float] | None = None  # the test, and the time at which it is ended


def pytest_sessionstart() -> None:
    """Start one thread for all tests, as one for each takes as long as the rest of a short test."""
    threading.Thread(target=_watch, daemon=True).start()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process that runs a test which hangs, and its children.

    pytest-xdist then reports the test as failed, and runs the others in a new process.
    """
    global _running
    _running = item, time.monotonic() + SECONDS
    try:
        return (yield)
    finally:
        _running = None


def _watch() -> None:
    while True:
        running, remaining = _running, SECONDS
        if running is not None:
            item, end = running
            remaining = end - time.monotonic()
            if remaining <= 0:
                _end(item)
        time.sleep(remaining)


def _end(item: pytest.Item) -> None:
    item.config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=True)
    sys.stderr.write(f"\n{item.nodeid} has not ended within {SECONDS:g} seconds\n")
    faulthandler.dump_traceback(sys.stderr)
    children = psutil.Process().children(recursive=True)
    for child in children:
        child.kill()
    psutil.wait_procs(children, timeout=5)
    os._exit(1)
