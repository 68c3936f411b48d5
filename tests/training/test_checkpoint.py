"""Checkpoints come back whole, or with the name of what is wrong."""

import json
from pathlib import Path

import pytest
import torch

from clearhead.errors import CheckpointError
from clearhead.models.build import build
from clearhead.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizers,
    save_checkpoint,
)
from clearhead.training.optimizer import make_optimizers

from .small_run import MODEL, small_config


def sample(value: float) -> Checkpoint:
    tensors = {"a.b": torch.full((2, 3), value), "c": torch.tensor(7)}
    return Checkpoint(tensors, {"step": int(value), "loss": 0.1 + 0.2})


def test_a_checkpoint_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "one", sample(1))
    back = load_checkpoint(tmp_path)
    assert back is not None
    assert back.state == {"step": 1, "loss": 0.1 + 0.2}
    assert torch.equal(back.tensors["a.b"], torch.full((2, 3), 1.0))
    assert back.tensors["c"].dtype == torch.int64


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "nothing") is None


def test_the_newest_and_the_one_before_it_are_kept(tmp_path: Path) -> None:
    for number in (1, 2, 3, 4):
        save_checkpoint(tmp_path, f"n{number}", sample(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "latest.json",
        "n3.safetensors",
        "n4.safetensors",
    ]


def test_saving_under_the_same_name_twice_keeps_the_one_before(tmp_path: Path) -> None:
    for name in ("n1", "n2", "n2"):
        save_checkpoint(tmp_path, name, sample(5))
    assert len(json.loads((tmp_path / "latest.json").read_bytes())) == 2


def test_every_flipped_byte_and_every_cut_is_an_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "one", sample(1))
    for name in ("one.safetensors", "latest.json"):
        path = tmp_path / name
        whole = path.read_bytes()
        damaged = [whole[:length] for length in range(len(whole))]
        damaged += [whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :] for i in range(len(whole))]
        for content in damaged:
            path.write_bytes(content)
            with pytest.raises(CheckpointError):
                load_checkpoint(tmp_path)
        path.write_bytes(whole)
    assert load_checkpoint(tmp_path) is not None


def test_leftovers_of_a_killed_writer_are_swept(tmp_path: Path) -> None:
    leftover = tmp_path / ".clearhead-tmp-77-one.safetensors"
    leftover.write_bytes(b"half")
    save_checkpoint(tmp_path, "one", sample(1))
    assert not leftover.exists()


def test_optimisers_remember_everything() -> None:
    torch.manual_seed(0)
    config = small_config()
    model = build(MODEL)
    optimizers = make_optimizers(model, config)
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    for optimizer in optimizers:
        optimizer.step()
    tensors = optimizer_tensors(optimizers)
    fresh = make_optimizers(model, config)
    restore_optimizers(fresh, tensors)
    again = optimizer_tensors(fresh)
    assert len(tensors) > 20
    assert tensors.keys() == again.keys()
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)
