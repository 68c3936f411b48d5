import hashlib
import json
import platform
from pathlib import Path

import pytest
import torch

from clearhead.cli.info import parameters_by_part, recorded_accuracy
from clearhead.cli.main import main
from clearhead.models import SHIPPED, SHIPPED_TEXT, build, shipped_folder
from clearhead.models.config import CNNConfig, ViTConfig

CONFIG = ViTConfig(depth=1, embed_dim=12, num_heads=3, class_names=tuple("abcdefghij"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build(CONFIG).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_the_json_describes_the_model_and_the_versions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", "--model", str(folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    weights = (folder / "model.safetensors").read_bytes()
    assert facts["model"]["architecture"] == "VisionTransformer"
    assert facts["model"]["settings"]["embed_dim"] == 12
    assert facts["model"]["settings"]["class_names"] == list("abcdefghij")
    assert facts["model"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert facts["model"]["bytes"] == len(weights)
    assert facts["model"]["file"] == str(folder / "model.safetensors")
    assert facts["model"]["recorded"] is None
    assert facts["model"]["parameters"] == sum(p.numel() for p in build(CONFIG).parameters())
    assert sum(facts["model"]["parameters_by_part"].values()) == 2830
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["versions"]["threads"] == torch.get_num_threads()


def test_parameters_of_each_part_follow_from_its_shapes() -> None:
    # patches 49 · 12 + 12; positions 16 · 12; norm 2 · 12; head 12 · 10 + 10; and the block:
    # two norms 4 · 12, query, key, value and output 4 · (12 · 12 + 12), MLP 2 · 12 · 48 + 60
    assert parameters_by_part(build(CONFIG)) == {
        "pos_embed": 192,
        "patch_embed": 600,
        "blocks": 48 + 624 + 1212,
        "norm": 24,
        "head": 130,
    }


def test_batch_norm_statistics_are_not_parameters() -> None:
    facts = parameters_by_part(build(CNNConfig(widths=(3,))))
    assert facts == {"stages": 3 * 9 + 6 + 9 * 9 + 6, "head": 40}


def test_the_text_shows_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--model", str(folder)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = [line.split(maxsplit=1) for line in shown.out.splitlines()]
    assert ["parameters", "2,830"] in lines
    assert ["blocks", "1,884"] in lines
    assert ["patch_size", "7"] in lines
    assert ["torch", torch.__version__] in lines
    assert ["test", "accuracy  not recorded; measure it with clearhead evaluate"] in lines


def test_the_accuracy_on_test_images_is_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = {
        "held_out": {"accuracy": 0.5},
        "test": {"accuracy": 0.9871, "interval": [0.9847, 0.9891]},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert main(["info", "--model", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "98.71 %  (95 % interval 98.47 – 98.91 %)  from metrics.json" in shown


def test_metrics_come_before_the_model_card(folder: Path) -> None:
    card = (
        "---\nmodel-index:\n- name: reader\n  results:\n"
        "  - task:\n      type: image-classification\n"
        "    dataset:\n      type: mnist\n      name: MNIST\n    metrics:\n    - type: accuracy\n"
        "      value: 0.97\n---\n# Reader\n"
    )
    (folder / "README.md").write_text(card)
    assert recorded_accuracy(folder) == {"from": "README.md", "accuracy": 0.97}
    (folder / "metrics.json").write_text('{"accuracy": 0.5, "total": 8, "loss": 2}')
    assert recorded_accuracy(folder) == {"from": "metrics.json", "accuracy": 0.5, "total": 8}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b'{"accuracy": "high"}', b"{"])
def test_metrics_of_another_kind_are_ignored(folder: Path, content: bytes) -> None:
    (folder / "metrics.json").write_bytes(content)
    assert recorded_accuracy(folder) is None


def test_a_damaged_model_is_an_error_of_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert main(["info", "--model", str(folder)]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert "is damaged" in shown.err


@pytest.mark.parametrize("name", [*SHIPPED, *SHIPPED_TEXT])
def test_each_shipped_model_is_described_by_its_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", name, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["model"]
    assert facts["file"] == str(shipped_folder(name) / "model.safetensors")


def test_of_a_text_model_only_the_first_words_are_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["info", "--model", "sentences-causal"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("sentences-causal: TextTransformer")
    assert "vocabulary       105: [padding], [unknown], [mask], …" in shown
    assert "causal           True" in shown
