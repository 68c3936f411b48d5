"""The time limit of tests."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

HANGING = """
import pathlib, subprocess

child = subprocess.Popen(["sleep", "60"])
pathlib.Path({pid!r}).write_text(str(child.pid))

def test_hangs():
    child.wait()
"""


def test_a_test_that_hangs_is_ended_with_its_child_processes_and_named(tmp_path: Path) -> None:
    pid, file = tmp_path / "pid", tmp_path / "test_hanging.py"
    file.write_text(HANGING.format(pid=str(pid)))
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "tests.time_limit"]
    ended = subprocess.run(
        [*command, str(file)],
        env=os.environ | {"TEST_SECONDS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "test_hanging.py::test_hangs has not ended within 1 seconds" in ended.stderr
    assert "in test_hangs" in ended.stderr
    assert not psutil.pid_exists(int(pid.read_text()))
