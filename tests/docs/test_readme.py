"""The Python examples of the README run as they stand, and its table of claims is the data's.

The pages in docs/ are executed by `make docs`.
"""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


@pytest.mark.slow
def test_examples_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist_test: object
) -> None:
    assert mnist_test is not None  # one example evaluates on it
    monkeypatch.chdir(tmp_path)
    photo = Image.new("L", (90, 120), 215)
    ImageDraw.Draw(photo).line([(44, 20), (46, 100)], fill=30, width=11)
    photo.save("photo.jpg")
    examples = list(Sybil([PythonCodeBlockParser()]).parse(README).examples())
    assert examples
    for example in examples:
        example.evaluate()


def test_the_table_of_claims_says_what_the_published_trials_say() -> None:
    rows = re.findall(r"^\| (C\d+) \| .+? \| (.+?) \| (\d+) \| (.+) \|$", README.read_text(), re.M)
    with gzip.open(ROOT / "docs" / "results" / "trials.json.gz") as file:
        studies = {study["claim"]: study for study in json.load(file)["studies"]}
    assert [claim for claim, *_ in rows] == list(studies)
    for claim, verdict, seeds, result in rows:
        study = studies[claim]
        assert (verdict, int(seeds)) == (study["verdict"]["outcome"], study["seeds"]), claim
        findings = [x for part in study["verdict"]["parts"] for x in part["findings"]]
        names = " ".join(item["name"] for item in findings)
        measured = [x for item in findings for x in sizes(item)]
        for number in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", result):
            value, decimals = float(number.replace(",", "")), len(number.partition(".")[2])
            rounded = any(abs(x - value) <= 0.5 * 10**-decimals + 1e-9 for x in measured)
            assert rounded or number in names, f"{claim}: {number} is not in the data"


def sizes(finding: dict[str, Any]) -> list[float]:
    """Sizes of the mean and the ends of the interval: as measured, in per cent, as a factor."""
    found = [finding["estimate"], *(finding["interval"] or ())]
    values = [abs(x) for x in found if x is not None]
    if finding["unit"].startswith("share"):
        values += [100 * x for x in values]
    if finding["unit"].startswith("hundredths"):
        values += [x / 100 for x in values]
    if finding["unit"] == "halvings":
        values += [2**x for x in values]
    return values
