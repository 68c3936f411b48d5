"""Checkpoints are restored bit for bit, and a damaged one is an error that names it."""

import json
from pathlib import Path

import pytest
import torch

from clearhead.errors import CheckpointError
from clearhead.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def sample(value: float) -> Checkpoint:
    tensors = {"a.b": torch.full((2, 3), value), "c": torch.tensor(7)}
    return Checkpoint(tensors, {"step": int(value), "loss": 0.1 + 0.2})


def test_a_checkpoint_is_restored_bit_for_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "one", sample(1))
    restored = load_checkpoint(tmp_path)
    assert restored is not None
    assert restored.state == {"step": 1, "loss": 0.1 + 0.2}
    assert torch.equal(restored.tensors["a.b"], torch.full((2, 3), 1.0))
    assert restored.tensors["c"].dtype == torch.int64


def test_a_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "nothing") is None


def test_the_newest_and_the_one_before_it_are_kept(tmp_path: Path) -> None:
    for number in (1, 2, 3, 4):
        save_checkpoint(tmp_path, f"n{number}", sample(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "latest.json",
        "n3.safetensors",
        "n4.safetensors",
    ]


def test_saving_twice_under_a_name_keeps_the_one_before(tmp_path: Path) -> None:
    for name in ("n1", "n2", "n2"):
        save_checkpoint(tmp_path, name, sample(5))
    kept = [entry["file"] for entry in json.loads((tmp_path / "latest.json").read_bytes())]
    assert kept == ["n2.safetensors", "n1.safetensors"]


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


def test_a_checkpoint_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "one", sample(1))
    (tmp_path / "one.safetensors").unlink()
    (tmp_path / "one.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"^cannot read .*one\.safetensors: "):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["one.safetensors", "latest.json"])
def test_leftovers_of_a_killed_writer_are_removed(name: str, tmp_path: Path) -> None:
    leftover = tmp_path / f".clearhead-tmp-77-{name}"
    leftover.write_bytes(b"half")
    save_checkpoint(tmp_path, "one", sample(1))
    assert not leftover.exists()
