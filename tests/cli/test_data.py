import json
from pathlib import Path

import pytest
from PIL import Image

from clearhead.cli.data import data, describe_data
from clearhead.data.datasets import ImageDataset
from clearhead.errors import DataError


def test_a_named_data_set_is_described_with_places_checksums_and_counts(
    mnist_test: ImageDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    data("mnist", json=True)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["name"], facts["train"], facts["test"]) == ("mnist", 60_000, 10_000)
    assert facts["image"] == {"channels": 1, "height": 28, "width": 28}
    assert tuple(row["test"] for row in facts["classes"]) == mnist_test.counts
    assert [row["name"] for row in facts["classes"]] == list("0123456789")
    assert len({file["sha256"] for file in facts["files"]}) == 4
    for file in facts["files"]:
        assert Path(file["path"]).is_absolute()
        assert Path(file["path"]).exists()
    data("mnist")
    shown = capsys.readouterr().out
    assert all(file["path"] in shown and file["sha256"] in shown for file in facts["files"])
    assert "6,742   1,135" in shown  # the ones


def test_a_folder_is_described_and_its_classes_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("[red]", 5), ("b", 10)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.new("L", (9, 9)).save(tmp_path / name / f"{number}.png")
    facts = describe_data(str(tmp_path))
    assert facts["folder"] == str(tmp_path)
    assert facts["classes"] == [
        {"name": "[red]", "train": 4, "test": 1},
        {"name": "b", "train": 8, "test": 2},
    ]
    data(str(tmp_path))
    assert "[red]" in capsys.readouterr().out


def test_a_data_set_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(DataError, match="no data set 'minst'"):
        data("minst")
