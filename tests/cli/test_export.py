import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from clearhead.cli.main import main
from clearhead.data import load_dataset
from clearhead.inference import Export
from clearhead.models import ViTConfig, build, load


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    build(ViTConfig(image_size=6, patch_size=3, embed_dim=4, depth=1, num_heads=1)).save_pretrained(
        folder
    )
    return str(folder)


def test_the_file_is_named_after_the_model(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", model, "--to", "safetensors"]) == 0
    assert capsys.readouterr().out.startswith("tiny.safetensors: ")
    for name, tensor in load_file("tiny.safetensors").items():
        assert torch.equal(tensor, load(model).state_dict()[name])


def test_json_has_file_and_accuracy(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights"
    options = ["--data", str(tmp_path / "missing"), "--json"]
    assert main(["export", model, *options]) == 2
    assert "--data is for --precision float16 and int8" in capsys.readouterr().err
    options += ["--precision", "float16"]
    assert main(["export", model, "--to", "safetensors", "--out", str(out), *options]) == 1
    assert "missing" in capsys.readouterr().err
    assert main(["export", model, "--to", "safetensors", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"files": [str(out)], "bytes": out.stat().st_size, "difference": 0.0}


def test_missing_packages_are_found_before_a_model_or_data_set_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clearhead.errors.find_spec", lambda name: None)
    missing = str(tmp_path / "missing")
    options = ["--to", "openvino", "--precision", "int8", "--data", missing]
    assert main(["export", missing, *options]) == 2
    assert "pip install onnx onnxruntime onnxscript openvino" in capsys.readouterr().err


def test_options_are_checked_before_a_data_set_is_loaded(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--to", "timm", "--precision", "float16", "--attention", "--data", "missing"]
    assert main(["export", model, *options]) == 2
    assert "weights alone" in capsys.readouterr().err


def test_int8_is_calibrated_on_training_images_and_both_accuracies_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in range(18):
        file = tmp_path / "data" / ("test", "train")[place > 3] / "ab"[place % 2] / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 6), 9 * place).save(file)
    config = ViTConfig(
        image_size=6, patch_size=3, embed_dim=4, depth=1, num_heads=1, num_classes=2,
        class_names=("a", "b"),
    )  # fmt: skip
    build(config).save_pretrained(tmp_path / "letters")
    calls: list[Any] = []

    def export(_: object, path: Path, to: str, **options: Any) -> Export:
        calls.append((path, to, options))
        accuracies: list[Any] = [
            SimpleNamespace(accuracy=correct / 4, correct=correct, total=4) for correct in (1, 3)
        ]
        this, other = accuracies
        return Export(paths=(path,), size=9, difference=0.5, evaluation=this, reference=other)

    monkeypatch.setattr("clearhead.inference.export", export)
    monkeypatch.setattr("clearhead.cli.export.CALIBRATION_IMAGES", 4)
    monkeypatch.chdir(tmp_path)
    arguments = ["export", "letters", "--to", "openvino", "--precision", "int8", "--data", "data"]
    assert main(arguments) == 0
    _, this, other = capsys.readouterr().out.splitlines()
    assert this == "accuracy of this file: 25.00% (1 of 4 test images)"
    assert other == "accuracy of the model: 75.00% (3 of 4 test images)"
    assert main([*arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["accuracy"], shown["model_accuracy"], shown["images"]) == (0.25, 0.75, 4)
    path, to, options = calls[0]
    assert (path, to, options["precision"]) == (Path("letters-int8.xml"), "openvino", "int8")
    test, train = (load_dataset("data", split, image_size=6) for split in ("test", "train"))
    assert torch.equal(options["dataset"].images, test.images)
    assert torch.equal(options["calibration"], train.images[[0, 3, 6, 9]])
