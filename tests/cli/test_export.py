import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clearhead.cli.main import main
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
