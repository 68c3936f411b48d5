"""Fixtures for every package: data sets, a browser, and shape checks.

Torch is imported only by tests that use a data set.
"""

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import pytest
from filelock import FileLock

from clearhead.errors import FetchError
from tests import checked_shapes

pytest_plugins = ["tests.time_limit"]

# The tests' tensors are too small for a second thread. Child processes inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# OpenVINO would send telemetry from a forked process, which crashes beside threads.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

    from clearhead.data import ImageDataset


# Pages that each window renders for its address bar; then what Playwright disables, since Chromium
# takes only one such list.
NO_FEATURES = (
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup"),
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "LensOverlay"),
    *("HttpsUpgrades", "HttpsFirstBalancedModeAutoEnable", "MediaRouter", "PaintHolding"),
    *("ThirdPartyStoragePartitioning", "OptimizationHints", "NetworkTimeServiceQuerying"),
    *("AimEnabled", "PreconnectToSearch"),
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--js-flags=--no-opt",  # a tenth less: what is run a few times is not optimised
    f"--disable-features={','.join(NO_FEATURES)}",
]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Leave what tests import to no garbage collection, which would visit it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _shape_checks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Shape checks are off in tests with the mark `unchecked`."""
    checked_shapes.enable(request.node.get_closest_marker("unchecked") is None)
    yield
    checked_shapes.enable(True)


@pytest.fixture
def only_ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One test at a time has a Ray cluster: its processes fill a small machine."""
    with FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"):
        yield


def _or_skip(name: str, split: Literal["train", "test"]) -> "ImageDataset":
    from clearhead.data import load_dataset

    try:
        return load_dataset(name, split)
    except FetchError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mnist_train() -> "ImageDataset":
    return _or_skip("mnist", "train")


@pytest.fixture(scope="session")
def mnist_test() -> "ImageDataset":
    return _or_skip("mnist", "test")


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium, driven by Playwright, for all tests of pages."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        message = "Chromium not found: install Debian's package chromium, or name one in CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=0)
        new_context = browser.new_context

        def unlimited(**options: Any) -> "BrowserContext":
            """A context whose waits have no time limit but that of the test."""
            context = new_context(**options)
            context.set_default_timeout(0)
            return context

        browser.new_context = unlimited  # type: ignore[method-assign]
        yield browser
        browser.close()
