"""Ray gives the same bytes as processes here; run apart, because Ray warns of much."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from clearhead.studies.running.on_ray import _check_that_it_answers

from clearhead.errors import ConfigError
from clearhead.studies.runner import run_studies
from tests.studies.test_runner import begun, records

TRIALS = 24
LOOK = """
import json
import ray, ray.dashboard
from clearhead.studies.running import on_ray
connect = on_ray._connect
def look(*given):
    connect(*given)
    print(json.dumps({"dashboard": ray._private.worker._global_node.webui_url or ""}))
on_ray._connect = look
from clearhead.cli.main import main
raise SystemExit(main())
"""


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None and not os.environ.get("CI"), reason="no Ray here"
)
@pytest.mark.usefixtures("toys")
def test_ray_measures_the_same_bytes_as_processes_here() -> None:
    run_studies(["toy:STUDY", "faulty:STUDY"], workers=2, out="here")
    Path("begun.txt").unlink()
    Path("died").unlink()
    command = ["study", "run", "toy:STUDY", "faulty:STUDY", "--engine", "ray", "--out", "there"]
    environment = {name: os.environ[name] for name in os.environ if name != "RAY_ADDRESS"}
    ended = subprocess.run(
        [sys.executable, "-c", LOOK, *command, "--workers", "2"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=environment,
    )
    assert ended.returncode == 1, ended.stderr
    assert json.loads(ended.stdout.splitlines()[0]) == {"dashboard": ""}
    assert records(Path("there")) == records(Path("here"))
    assert len([line for line in begun() if line.startswith(("w", "1"))]) == TRIALS
    assert "trial raises-0-" in ended.stderr
    assert "its process died 3 times (WorkerCrashedError)" in ended.stderr
    assert begun().count("dies") == 3
    assert "Traceback" not in ended.stderr


def test_an_address_where_no_cluster_answers_is_one_line() -> None:
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"no Ray cluster answers at RAY_ADDRESS={address}"):
            _check_that_it_answers(address)
    for understood_by_ray in ("auto", "local"):
        _check_that_it_answers(understood_by_ray)
