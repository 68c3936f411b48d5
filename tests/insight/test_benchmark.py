"""The benchmark of attribution methods runs, writes its page, and goes on where it stopped."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clearhead.data import ImageDataset

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_benchmark_measures_what_is_missing_and_writes_its_page(
    tmp_path: Path, mnist_test: ImageDataset
) -> None:
    page = tmp_path / "docs" / "attribution.md"
    page.parent.joinpath("results").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "attribution.md", page)
    options = "--digits 10 --quick-seeds 0 --baseline-digits 0 --seed 3 --out parts".split()

    def run() -> str:
        command = [sys.executable, str(ROOT / "benchmarks" / "attribution.py"), *options]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return result.stdout

    assert "digits-distilled: digits 0 to 9" in run()
    assert "10 test digits, one model (digits-distilled)" in page.read_text(encoding="utf-8")
    assert run() == ""
