"""Ray gives the same bytes as processes here; run apart, because Ray warns of much."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from clearhead.errors import ConfigError
from clearhead.studies.runner import run_studies
from tests.studies.test_runner import records, started_trials

TRIALS = 24


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None and not os.environ.get("CI"), reason="no Ray here"
)
@pytest.mark.usefixtures("toys", "only_ray_cluster")
def test_ray_measures_the_same_bytes_as_processes_here() -> None:
    studies = ["toy:STUDY", "faulty:STUDY", "alone:STUDY"]
    run_studies(studies, workers=2, out="here")
    Path("started.txt").unlink()
    Path("died").unlink()
    command = ["study", "run", *studies, "--runner", "ray", "--out", "there"]
    environment = {name: os.environ[name] for name in os.environ if name != "RAY_ADDRESS"}
    ended = subprocess.run(
        [sys.executable, "-m", "clearhead", *command, "--workers", "2"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert ended.returncode == 1, ended.stderr
    assert records(Path("there")) == records(Path("here"))
    assert "trial raises-0-" in ended.stderr
    assert "its process died 3 times" in ended.stderr
    assert started_trials().count("dies") == 3
    timed = [line for line in started_trials() if line.startswith("alone")]
    assert timed == ["alone begins", "alone ends"] * 8
    assert "Traceback" not in ended.stderr


@pytest.mark.usefixtures("toys")
def test_an_unreachable_cluster_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with socket.socket() as unused:  # bound, and not listening
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConfigError, match=f"no Ray cluster can be reached at .*{address}"):
            run_studies(["toy:STUDY"], runner="ray", workers=1, out="r")
