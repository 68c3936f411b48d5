"""Names that no file can have are errors of the package, wherever a name is given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import clearhead as ch
from clearhead.data import load_dataset
from clearhead.errors import CheckpointError, ConfigError, DataError, ImageError, StorageError
from clearhead.explanation import open_classifier
from clearhead.inference import predict_to_file
from clearhead.models import CNNConfig, build

LONG = "x" * 5_000
IMPOSSIBLE = [LONG, f"a/{LONG}", f"./{LONG}", f"~{LONG}", "a/" * 3_000, "a\0b"]
NAMES = ["long", "second part", "path", "user", "many parts", "null"]

READERS: dict[str, tuple[Callable[[Any], object], str]] = {
    "load": (lambda name: ch.load(name), "config.json"),
    "explain": (lambda name: ch.explain(name, "seven.png"), "config.json"),
    "evaluate": (lambda name: ch.evaluate(model(), name), "expected one of mnist"),
    "load_dataset": (lambda name: load_dataset(Path(name)), "expected one of mnist"),
    "train": (lambda name: ch.train(data=name, out="trained"), "expected one of mnist"),
    "predict": (lambda name: ch.predict(model(), name), "cannot be read"),
}


def model() -> Any:
    return build(CNNConfig(image_size=6, widths=(2,)))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("clearhead.models.pretrained.hub_is_reachable", lambda *_: False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=NAMES)
@pytest.mark.parametrize("reader", READERS)
def test_an_impossible_name_of_an_input_is_an_error_that_names_what_is_expected(
    reader: str, name: str
) -> None:
    read, expected = READERS[reader]
    with pytest.raises((CheckpointError, DataError, ImageError), match=expected):
        read(name)


@pytest.mark.parametrize("prefix", ["timm:", "hf:"])
def test_an_impossible_name_of_another_librarys_model_is_an_error(prefix: str) -> None:
    from tests.torchvision_operators import TORCHVISION

    assert TORCHVISION is None or TORCHVISION
    pytest.importorskip({"timm:": "timm", "hf:": "transformers"}[prefix])
    with pytest.raises((CheckpointError, ConfigError)):
        open_classifier(prefix + LONG)


@pytest.mark.parametrize("name", [LONG, f"a/{LONG}", "a\0b"])
def test_an_impossible_name_of_an_output_is_a_storage_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        ch.export(model(), tmp_path / name, "safetensors")
    with pytest.raises(StorageError, match="cannot write"):
        predict_to_file(model(), [], tmp_path / f"{name}.csv", num_workers=0)
    with pytest.raises(StorageError, match="cannot write"):
        ch.train(data="mnist", out=tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pets").mkdir()
    with pytest.raises(DataError, match=f"{tmp_path}/pets must hold a folder of images"):
        load_dataset("~/pets")
