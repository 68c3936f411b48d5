"""deploy: the systemd unit and the Dockerfile fit the server, and systemd accepts the unit."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clearhead.cli.main import main
from clearhead.serve import ServeConfig

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = (DEPLOY / "clearhead.service").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "clearhead.service"
    unit.write_text(re.sub(r"(?<=ExecStart=)\S+", sys.executable, UNIT))
    command = ["systemd-analyze", "verify", str(unit)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_systemd_and_docker_wait_until_the_server_has_drained() -> None:
    config = ServeConfig()
    (systemd,) = re.findall(r"TimeoutStopSec=(\d+)", UNIT)
    (docker,) = re.findall(r"--stop-timeout (\d+)", DOCKERFILE)
    assert min(int(systemd), int(docker)) > config.drain_delay + config.drain_timeout


@pytest.mark.parametrize(
    "command",
    [
        re.findall(r"ExecStart=\S+/clearhead (.+)", UNIT)[0].split(),
        [
            *json.loads(re.findall(r"ENTRYPOINT (.+)", DOCKERFILE)[0])[1:],
            *re.findall(r"docker run .* clearhead (.+)", DOCKERFILE)[0].split(),
        ],
    ],
)
def test_their_commands_have_known_options(command: list[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert main([*command, "--unknown"]) == 2
    assert main([*command, "--port", "99999"]) == 1  # all options are accepted, before the port
