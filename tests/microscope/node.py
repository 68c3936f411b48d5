"""Runs functions of the pages' TypeScript under node."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

ROOT = Path(__file__).parents[2]
ESBUILD = ROOT / "node_modules" / "esbuild" / "bin" / "esbuild"
OPTIONS = ("--bundle", "--platform=node", "--format=esm", "--log-level=warning")


def need_npm() -> None:
    """Skip the test where node or the packages of package.json are missing, except in CI."""
    if shutil.which("node") and ESBUILD.is_file():
        return
    message = "node or npm's packages are missing; install node and run npm install"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def run(*command: str | Path) -> str:
    """The standard output of a command, in the root of the repository."""
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def bundle(source: Path, out: Path) -> None:
    """One script for node from a TypeScript module and all it imports."""
    need_npm()
    run(ESBUILD, source, *OPTIONS, f"--outfile={out}")


class Bridge:
    """Functions of the engine, by the names in web/test/bridge.ts, in one process of node."""

    def __init__(self, folder: Path) -> None:
        self.answer = folder / "answer.bin"
        script = folder / "bridge.mjs"
        bundle(ROOT / "web/test/bridge.ts", script)
        self.process = subprocess.Popen(
            ["node", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self, *calls: tuple[str, Any], page: Path | None = None) -> list[ndarray]:
        """The numbers that each function makes of its argument, with the model of a page."""
        named = [{"name": name, "argument": argument} for name, argument in calls]
        request = {"page": page and str(page), "calls": named, "answer": str(self.answer)}
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(request), file=self.process.stdin, flush=True)
        counts = json.loads(self.process.stdout.readline())
        assert isinstance(counts, list), counts
        return np.split(np.fromfile(self.answer), np.cumsum(counts)[:-1])
