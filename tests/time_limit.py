"""A time limit for each test, as a plugin of pytest: `tests/conftest.py` loads it."""

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest

SECONDS = float(os.environ.get("TEST_SECONDS", "600"))  # several times the slowest test's


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process that runs a test which hangs, and its children.

    pytest-xdist then reports the test as failed, and runs the others in a new process.
    """
    timer = threading.Timer(SECONDS, _end, (item,))
    timer.daemon = True
    timer.start()
    try:
        return (yield)
    finally:
        timer.cancel()


def _end(item: pytest.Item) -> None:
    item.config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=True)
    sys.stderr.write(f"\n{item.nodeid} has not ended within {SECONDS:g} seconds\n")
    faulthandler.dump_traceback(sys.stderr)
    children = psutil.Process().children(recursive=True)
    for child in children:
        child.kill()
    psutil.wait_procs(children, timeout=5)
    os._exit(1)
