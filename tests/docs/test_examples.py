"""The Python examples in the documentation run as they stand, each page from top to bottom."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_the_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist_test: object
) -> None:
    assert mnist_test is not None  # one example evaluates on it
    monkeypatch.chdir(tmp_path)
    photo = Image.new("L", (90, 120), 215)
    ImageDraw.Draw(photo).line([(44, 20), (46, 100)], fill=30, width=11)
    photo.save("photo.jpg")
    for example in Sybil([PythonCodeBlockParser(), SkipParser()]).parse(page).examples():
        example.evaluate()
