"""Worker processes: their environment, and their end if the process that started them is killed."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from clearhead._processes import environment
from tests.processes import free_port, is_running

DRIVER = """
import os, signal, sys, time
from joblib.externals.loky import ProcessPoolExecutor

def start(path, killed_before):
    from clearhead._processes import exit_with_parent

    if not killed_before:
        exit_with_parent()
    driver = os.getppid()
    with open(path + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".part", path)
    while os.getppid() == driver:
        time.sleep(0.01)
    exit_with_parent()
    time.sleep(60)
    open(path + ".survived", "w").close()

if __name__ == "__main__":
    path, killed_before = sys.argv[1], sys.argv[2] == "before"
    ProcessPoolExecutor(1, initializer=start, initargs=(path, killed_before)).submit(os.getpid)
    while not os.path.exists(path):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("killed", ["before", "after"])
def test_a_worker_ends_if_its_parent_is_killed_before_or_after_it_watches(
    killed: str, tmp_path: Path
) -> None:
    script, noted = tmp_path / "driver.py", tmp_path / "pid"
    script.write_text(DRIVER)
    with (tmp_path / "errors").open("w") as errors:
        subprocess.run([sys.executable, script, noted, killed], check=False, stderr=errors)
    worker = int(noted.read_text())
    while is_running(worker):
        time.sleep(0.01)
    assert not noted.with_suffix(".survived").exists()


def test_environment_variables_are_restored_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLEARHEAD_OLD", "1")
    before, changes = dict(os.environ), {"CLEARHEAD_OLD": "2", "CLEARHEAD_NEW": "3"}
    with suppress(ZeroDivisionError), environment(changes):
        assert dict(os.environ) == before | changes
        raise ZeroDivisionError
    assert dict(os.environ) == before


def test_a_free_port_is_unused_and_none_that_the_system_gives_to_others() -> None:
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(path.read_text().split()[0]) if path.exists() else 49_152  # RFC 6335
    used, other, *_ = ports = {free_port() for _ in range(20)}
    assert max(ports) < first
    drawn = patch("random.SystemRandom.choice", side_effect=[used, other])
    with socket.create_server(("127.0.0.1", used)), drawn:
        assert free_port() == other
