import json
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearhead.cli.data import data, describe_data
from clearhead.cli.main import main
from clearhead.data import DATASETS, ImageDataset
from clearhead.data._named import DataFile, NamedDataset
from clearhead.errors import DataError


def test_a_named_data_set_is_described_with_places_checksums_and_counts(
    mnist_test: ImageDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    data("mnist", json=True)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["name"], facts["train"], facts["test"]) == ("mnist", 60_000, 10_000)
    assert facts["image"] == {"channels": 1, "height": 28, "width": 28}
    assert tuple(row["test"] for row in facts["classes"]) == mnist_test.class_counts
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


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set "tiny" that the folder given back has, with an empty cache beside it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    files = []
    for part, images in (("train", 3), ("test", 2)):
        for kind, content in (
            ("images", idx(np.full((images, 28, 28), 9, np.uint8))),
            ("labels", idx(np.arange(images, dtype=np.uint8))),
        ):
            (folder / f"{part}-{kind}").write_bytes(content)
            files.append(
                DataFile(
                    name=f"{part}-{kind}", size=len(content), sha256=sha256(content).hexdigest()
                )
            )
    dataset = NamedDataset(name="tiny", files=tuple(files), class_names=("a", "b", "c"))
    monkeypatch.setitem(DATASETS, "tiny", dataset)
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path / "cache"))
    return folder


def idx(array: np.ndarray) -> bytes:
    """As described at the end of yann.lecun.com/exdb/mnist: type, axes, their lengths, bytes."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


def test_an_unused_root_folder_is_reported(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "tiny", "--root", str(tiny)]) == 0
    assert capsys.readouterr().err == ""
    shutil.copytree(tiny, tmp_path / "cache" / "tiny")
    assert main(["data", "tiny", "--root", str(tiny)]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("cache\n") == 4
    assert f"{tiny} is not read\n" in shown.err
    (tmp_path / "cache" / "tiny" / "test-labels").write_bytes(b"cut")
    assert main(["data", "tiny", "--root", str(tiny)]) == 0
    assert capsys.readouterr().err == ""
    assert main(["data", "tiny"]) == 1
    assert "not read" not in capsys.readouterr().err


def test_a_folder_of_images_ignores_root(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("L", (9, 9)).save(tmp_path / "pictures" / name / f"{number}.png")
    assert main(["data", str(tmp_path / "pictures"), "--root", str(tiny)]) == 0
    remark = f"--root is for mnist and fashion-mnist and tiny; {tiny} is not read"
    assert capsys.readouterr().err == f"clearhead: {remark}\n"


def test_a_data_set_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(DataError, match=r"no data set 'minst'.* did you mean mnist\?$"):
        data("minst")
    with pytest.raises(DataError, match="hf: names no data set; give hf:OWNER/NAME"):
        data("hf:")
