"""Training learns, and stops where it must."""

import json
import math
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from clearhead.data.config import AugmentConfig
from clearhead.errors import ConfigError, DivergenceError
from clearhead.inference import evaluate
from clearhead.models.build import load
from clearhead.models.config import CNNConfig, MLPConfig
from clearhead.training.checkpoint import load_checkpoint
from clearhead.training.loop import train
from clearhead.training.state import TrainingState
from clearhead.training.step import Batches

from .small_run import MODEL, small_config, small_dataset


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_training_learns_and_its_folder_holds_the_model(tmp_path: Path, optimizer: str) -> None:
    config = small_config(12, optimizer=optimizer, average=0.0)
    trained = train(config, small_dataset(), tmp_path)
    loaded = load(tmp_path)
    test = small_dataset(211)
    assert evaluate(loaded, test).accuracy > 0.9
    images = torch.randn(5, 1, 6, 6)
    assert torch.equal(loaded(images), trained.model(images))
    first, *_, last = (
        json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()
    )
    assert last["loss"] < first["loss"]
    assert last["accuracy"] > first["accuracy"]
    assert last["epoch"] == 12
    assert {"step", "learning_rate", "images_per_second", "seconds"} <= set(last)


@pytest.mark.parametrize(
    "model",
    [
        CNNConfig(image_size=6, num_classes=3, widths=(5, 7)),
        MLPConfig(image_size=6, patch_size=3, embed_dim=20, depth=2, num_classes=3),
    ],
)
def test_the_baselines_train_too(tmp_path: Path, model: CNNConfig | MLPConfig) -> None:
    trained = train(small_config(6, model=model), small_dataset(), tmp_path)
    assert evaluate(trained.model, small_dataset()).accuracy > 0.6


def test_the_averaged_weights_are_the_ones_that_are_kept(tmp_path: Path) -> None:
    train(small_config(2, average=0.9), small_dataset(), tmp_path)
    checkpoint = load_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    kept = load(tmp_path).state_dict()["head.weight"]
    assert torch.equal(kept, checkpoint.tensors["average.module.head.weight"])
    assert not torch.equal(kept, checkpoint.tensors["model.head.weight"])


def test_a_loss_that_is_no_number_stops_before_it_touches_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_batch, steps = Batches.batch, []

    def poisoned(self: Batches, step: int, order: torch.Tensor) -> tuple[torch.Tensor, ...]:
        images, labels = real_batch(self, step, order)
        steps.append(step)
        return (images * math.nan if step == 9 else images), labels

    monkeypatch.setattr(Batches, "batch", poisoned)
    with pytest.raises(DivergenceError, match=r"step 9: the loss is nan.*learning rate.*good"):
        train(small_config(3), small_dataset(), tmp_path)
    assert steps[-1] == 9
    checkpoint = load_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.state["step"] == 7
    assert all(bool(torch.isfinite(t).all()) for t in checkpoint.tensors.values())


def test_a_learning_rate_far_too_high_is_a_divergence_not_a_model(tmp_path: Path) -> None:
    config = small_config(40, optimizer="adamw", learning_rate=1e30)
    with pytest.raises(DivergenceError):
        train(config, small_dataset(), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_data_set_of_another_size_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    wrong = replace(small_dataset(), images=torch.zeros(101, 1, 9, 9, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="6 × 6"):
        train(small_config(), wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fewer_images_than_a_batch_are_one_step_an_epoch(tmp_path: Path) -> None:
    trained = train(small_config(3, augment=AugmentConfig()), small_dataset(7), tmp_path)
    assert trained.total_steps == 3


@pytest.mark.unchecked
def test_compiled_blocks_train_like_plain_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(1, model=replace(MODEL, dropout=0.0))  # compiled dropout draws otherwise
    plain = train(config, small_dataset(), tmp_path / "plain").model
    fast = train(replace(config, compile=True), small_dataset(), tmp_path / "fast").model
    assert "not compiled" not in capsys.readouterr().err
    losses = [
        json.loads((tmp_path / name / "log.jsonl").read_text())["loss"]
        for name in ("plain", "fast")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    # Muon rounds to bfloat16 inside, so that the last bits of a gradient can move a weight
    torch.testing.assert_close(plain.state_dict(), fast.state_dict(), rtol=0, atol=1e-2)


def test_it_says_that_it_compiles_before_it_does_and_at_once_that_it_is_asked_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []

    def compile_slowly(_: nn.Module, **__: object) -> None:
        said.append(capsys.readouterr().err)
        signal.raise_signal(signal.SIGINT)
        said.append(capsys.readouterr().err)

    monkeypatch.setattr(nn.Module, "compile", compile_slowly)
    config = small_config(1, model=replace(MODEL, depth=1), compile=True)
    assert not train(config, small_dataset(), tmp_path).finished
    assert said == [
        "compiling the model's blocks; the first step may take a minute\n",
        "stopping after this step; Ctrl-C again stops at once\n",
    ]


def test_a_model_without_blocks_does_not_say_that_it_compiles_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = CNNConfig(image_size=6, num_classes=3, widths=(5, 7))
    train(small_config(1, model=model, compile=True), small_dataset(), tmp_path)
    assert "compil" not in capsys.readouterr().err


def test_a_training_starts_from_the_weights_of_a_saved_model(tmp_path: Path) -> None:
    first = train(small_config(1, average=0.0), small_dataset(), tmp_path / "first").model
    config = small_config(1, start=str(tmp_path / "first"), seed=5)
    started = TrainingState.start(config, torch.device("cpu")).model
    assert all(map(torch.equal, first.state_dict().values(), started.state_dict().values()))


def test_a_start_with_other_settings_is_refused(tmp_path: Path) -> None:
    train(small_config(1), small_dataset(), tmp_path / "first")
    other = replace(MODEL, depth=1)
    config = small_config(1, start=str(tmp_path / "first"), model=other)
    with pytest.raises(ConfigError, match="other model settings"):
        train(config, small_dataset(), tmp_path / "second")
