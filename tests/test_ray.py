"""A Ray cluster that cannot be used is an error of one line within seconds."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from clearhead import _processes
from clearhead.errors import ConfigError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")  # not when tests are collected: the import takes half a second
    monkeypatch.setattr(_processes, "TIMEOUT", 0.5)


def check(*expected: str) -> None:
    pattern = ".*".join(map(re.escape, expected))
    with pytest.raises(ConfigError, match=f"^{pattern}") as raised, _processes.ray_cluster(1):
        pass
    assert "\n" not in str(raised.value)


def test_an_address_where_something_else_listens_does_not_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        check("the Ray cluster at RAY_ADDRESS=", address, "does not respond within 0.5 seconds")


@pytest.mark.usefixtures("only_ray_cluster")
def test_the_private_cluster_of_another_program_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    program = "import ray; ray.init('local', num_cpus=1, log_to_driver=False); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        with _processes.ray_cluster(3):
            own = ray.cluster_resources()["CPU"]
        other.communicate(b"\n")
    assert own == 3


@pytest.mark.usefixtures("only_ray_cluster")
def test_auto_without_a_cluster_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_processes, "TIMEOUT", 9000.0)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    check("the Ray cluster at RAY_ADDRESS=auto is not running", "unset RAY_ADDRESS")
