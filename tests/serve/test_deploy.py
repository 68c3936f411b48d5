"""deploy: its files fit the server; systemd accepts the unit, Ray Serve runs its application."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from clearhead.cli.main import main
from clearhead.inference import predict
from clearhead.models import load
from clearhead.models.pretrained import ImageModel
from clearhead.serve import ServeConfig, make_app
from tests.processes import free_port

from .server import png

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = (DEPLOY / "clearhead.service").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "clearhead.service"
    unit.write_text(re.sub(r"(?<=ExecStart=)\S+", sys.executable, UNIT))
    command = ["systemd-analyze", "verify", str(unit)]
    ended = subprocess.run(command, capture_output=True, text=True)
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
def test_their_commands_have_known_options(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    assert main([*command, "--unknown"]) == 2
    capsys.readouterr()
    assert main([*command, "--port", "99999"]) == 2
    assert "port must be" in capsys.readouterr().err  # all options are accepted before


def test_the_image_is_built_from_files_of_the_project_and_no_others() -> None:
    copied = [*re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)]
    names = {name for line in copied for name in line.split()}
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert names == {line[1:] for line in ignore if line.startswith("!")}
    assert ignore[1] == "*"
    assert all((DEPLOY.parent / name).exists() for name in names)
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    assert {project["readme"], *project["license-files"]} <= names


def test_the_kserve_manifest_fits_the_server(model: ImageModel) -> None:
    (service,) = yaml.safe_load_all((DEPLOY / "kserve.yaml").read_text())
    predictor = service["spec"]["predictor"]
    (container,) = predictor["containers"]
    config = ServeConfig()
    assert main(["serve", *container["args"], "--help"]) == 0
    assert main(["serve", *container["args"], "--unknown"]) == 2
    port = int(container["args"][container["args"].index("--port") + 1])
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("readiness", "liveness")]
    assert {port} == {*(p["port"] for p in probes), container["ports"][0]["containerPort"]}
    paths = make_app(model).paths
    assert {probe["path"] for probe in probes} < paths
    assert predictor["terminationGracePeriodSeconds"] > config.drain_delay + config.drain_timeout
    assert predictor["timeout"] > config.deadline
    assert predictor["scaleTarget"] <= config.max_concurrency


RAY_SERVE = """
import http.client, sys
import ray
from ray import serve
from deploy.ray_serve import build

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(build({"replicas": 1}))
for method, path, body in (("POST", "/v1/predict", open(sys.argv[2], "rb").read()),
                           ("GET", "/v2/models/digits", None)):
    status = 504
    while status == 504:  # the deadline of a slow machine
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
        connection.request(method, path, body)
        response = connection.getresponse()
        status, text = response.status, response.read().decode()
    print(text)
serve.shutdown()
"""

# Ray Serve kills a proxy that starts slowly, as beside other tests.
PROXY_TIMEOUTS = dict.fromkeys(
    ("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S"), "300"
)


@pytest.mark.slow
@pytest.mark.usefixtures("only_ray_cluster")
def test_ray_serve_runs_the_same_application(tmp_path: Path) -> None:
    pytest.importorskip("ray.serve")
    (tmp_path / "a.png").write_bytes(png(1))
    port = free_port()
    ran = subprocess.run(
        [sys.executable, "-c", RAY_SERVE, str(port), str(tmp_path / "a.png")],
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", **PROXY_TIMEOUTS},
        cwd=DEPLOY.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    predicted, described = (
        json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")
    )
    assert predicted["label"] == predict(load(), png(1)).label
    assert described["name"] == "digits"
