"""The Python examples of the README run as they stand, from top to bottom.

The pages in docs/ are executed by `make docs`.
"""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

README = Path(__file__).parents[2] / "README.md"


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
