"""The mean of the weights of several training runs, as a command."""

import json
from pathlib import Path

import pytest
import torch

import clearhead as ch
from clearhead.models import VisionTransformer, ViTConfig, build
from clearhead.training.averaging import main

SMALL = ViTConfig(embed_dim=8, depth=1, num_heads=1, mlp_ratio=1)


def saved(folder: Path, config: ViTConfig, seed: int) -> str:
    torch.manual_seed(seed)
    build(config).save_pretrained(folder)
    return str(folder)


def test_the_weights_are_the_mean_and_the_head_is_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [saved(tmp_path / str(seed), SMALL, seed) for seed in range(3)]
    monkeypatch.setattr("sys.argv", ["averaging", *runs, "--out", str(tmp_path / "mean")])
    main()
    states = [ch.load(run, VisionTransformer).state_dict() for run in runs]
    model = ch.load(tmp_path / "mean", VisionTransformer)
    metrics = json.loads((tmp_path / "mean" / "metrics.json").read_text())
    temperature = metrics["held_out"]["temperature"]
    for name, found in model.state_dict().items():
        mean = torch.stack([state[name].double() for state in states]).mean(0).float()
        expected = mean / temperature if name.startswith("head.") else mean
        torch.testing.assert_close(found, expected)
    assert metrics["held_out"]["total"] == 5002
    test = ch.evaluate(model, ch.load_dataset("mnist", "test"))
    assert metrics["test"]["correct"] == test.correct
    assert model.config.doubtful_below == metrics["held_out"]["doubtful_below"]
    assert (tmp_path / "mean" / "predictions.png").stat().st_size


def test_models_with_other_settings_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        saved(tmp_path / "a", SMALL, 0),
        saved(tmp_path / "b", ViTConfig(embed_dim=8, depth=2, num_heads=1, mlp_ratio=1), 0),
    ]
    monkeypatch.setattr("sys.argv", ["averaging", *runs, "--out", str(tmp_path / "mean")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"{runs[1]} has other model settings than {runs[0]}" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
