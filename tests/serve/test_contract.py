import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from .server import MODEL, ServerThread, png

# What "format: byte" means here, of which OpenAPI knows only that it is base64.
HOOKS = """
import schemathesis
from hypothesis import strategies

schemathesis.openapi.format("byte", strategies.just({picture!r}))
"""


@pytest.mark.slow
def test_schemathesis_finds_no_issue(server: ServerThread, tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(HOOKS.format(picture=b64encode(png(1)).decode()))
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            *(f"http://127.0.0.1:{server.port}/openapi.json", "--checks", "all", "--no-color"),
            *("--max-examples", "4", "--phases", "coverage,fuzzing", "--seed", "1"),
            *("--request-timeout", "900"),
            *("--generation-database", "none"),
        ],
        cwd=tmp_path,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    assert "12 selected" in ran.stdout
    assert "No issues found" in ran.stdout


def test_openapi_declares_every_status(server: ServerThread) -> None:
    described = server.request("GET", "/openapi.json").json()["paths"]
    for path in ("/v1/predict", "/v1/explain", f"{MODEL}/infer"):
        declared = set(described[path]["post"]["responses"])
        assert {"200", "400", "408", "413", "429", "500", "504"} <= declared
        too_many = described[path]["post"]["responses"]["429"]
        assert too_many["headers"]["Retry-After"]["schema"] == {"type": "integer", "minimum": 1}
    for path, methods in described.items():
        for operation in methods.values():
            assert {"200", "400"} <= set(operation["responses"]), path
    assert "503" in described["/v2/health/ready"]["get"]["responses"]
