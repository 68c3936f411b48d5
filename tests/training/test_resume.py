"""A training run that is stopped or killed ends with the same bits as one that is not."""

import hashlib
import json
import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch

from clearhead._atomic import locked
from clearhead.errors import CheckpointError, ConfigError
from clearhead.training.checkpoint import load_checkpoint

from .small_run import small_training, start_processes, train_often_saved


def digest_of(out: Path) -> dict[str, str]:
    """SHA-256 of what must not depend on interruptions."""
    checkpoints = out / "checkpoints"
    newest = json.loads((checkpoints / "latest.json").read_bytes())[0]["file"]
    files = [out / name for name in ("model.safetensors", "config.json", "metrics.json")]
    files.append(checkpoints / newest)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def epochs_logged(out: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(line["epoch"], line["loss"]) for line in lines]


def newest_step(out: Path) -> str | None:
    try:
        newest: str = json.loads((out / "checkpoints" / "latest.json").read_bytes())[0]["file"]
    except FileNotFoundError:
        return None
    return newest


def start(out: Path, epochs: int, count: int) -> list[multiprocessing.process.BaseProcess]:
    return start_processes(train_often_saved, str(out), epochs, count=count)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_killed_at_random_moments_ends_with_the_same_bits(
    tmp_path: Path, processes: int
) -> None:
    epochs, chance = 3, random.Random(processes)
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for worker in start(calm, epochs, processes):
        worker.join()
        assert worker.exitcode == 0
    for _ in range(2):
        known = newest_step(killed)
        workers = start(killed, epochs, processes)
        while workers[0].is_alive() and newest_step(killed) in (None, known):
            time.sleep(0.005)
        time.sleep(chance.random() * 0.05)
        for worker in chance.sample(workers, len(workers)):
            worker.kill()
            worker.join()
    for worker in start(killed, epochs, processes):
        worker.join()
        assert worker.exitcode == 0
    assert digest_of(calm) == digest_of(killed)
    assert epochs_logged(calm) == epochs_logged(killed)
    assert not list((killed / "checkpoints").glob(".clearhead-tmp-*"))


def test_a_stop_in_the_middle_of_an_epoch_leaves_a_checkpoint_to_continue_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = small_training(tmp_path / "whole", 2)
    calls: list[int] = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) == 11

    first = small_training(tmp_path / "stopped", 2, stop=stop)
    assert (first.finished, first.step, first.evaluation) == (False, 10, None)
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    assert "continues" not in capsys.readouterr().err
    second = small_training(tmp_path / "stopped", 2, stop=stop)
    assert second.finished
    line = f"continues in epoch 2/2, after step 10 of {whole.total_steps}\n"
    assert capsys.readouterr().err.startswith(line)
    assert len(calls) == 11 + whole.total_steps - 10
    assert digest_of(tmp_path / "whole") == digest_of(tmp_path / "stopped")
    assert epochs_logged(tmp_path / "whole") == epochs_logged(tmp_path / "stopped")


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = small_training(tmp_path, 1)
    before, log = digest_of(tmp_path), (tmp_path / "log.jsonl").read_text()
    again = small_training(tmp_path, 1)
    assert (again.finished, again.step, again.evaluation) == (True, first.step, first.evaluation)
    assert digest_of(tmp_path) == before
    assert (tmp_path / "log.jsonl").read_text() == log


def test_other_settings_or_images_in_the_same_folder_are_an_error(tmp_path: Path) -> None:
    small_training(tmp_path, 1)
    with pytest.raises(ConfigError, match=r"\(label_smoothing\).* another out, or restart=True"):
        small_training(tmp_path, 1, label_smoothing=0.2)
    with pytest.raises(ConfigError, match="images"):
        small_training(tmp_path, 1, images=97)


@pytest.mark.parametrize("content", [b"", b'{"config": ', b"\xff"])
def test_damaged_settings_of_a_training_are_an_error(content: bytes, tmp_path: Path) -> None:
    small_training(tmp_path, 1)
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"run\.json is damaged .*; restore it, or start again"
    ):
        small_training(tmp_path, 1)


def test_a_folder_that_another_training_uses_is_left_alone(tmp_path: Path) -> None:
    with locked(tmp_path / "m"):
        with pytest.raises(ConfigError, match="another process works in"):
            small_training(tmp_path / "m", 1)
        assert [path.name for path in (tmp_path / "m").iterdir()] == [".lock"]
    assert small_training(tmp_path / "m", 1).finished
    assert not (tmp_path / "m" / ".lock").exists()


def test_a_start_that_fails_does_not_block_the_corrected_settings(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        small_training(tmp_path, 1, start=str(tmp_path / "nowhere"))
    assert not (tmp_path / "run.json").exists()
    with pytest.raises(ArithmeticError):
        small_training(tmp_path, 1, optimizer="adamw", learning_rate=1e36)
    assert small_training(tmp_path, 1).finished


def test_restart_discards_the_training_in_the_folder(tmp_path: Path) -> None:
    small_training(tmp_path / "a", 1)
    small_training(tmp_path / "a", 1, seed=3, restart=True)
    small_training(tmp_path / "b", 1, seed=3, restart=True)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")


def test_after_a_damaged_checkpoint_is_removed_the_one_before_it_is_used(tmp_path: Path) -> None:
    whole = small_training(tmp_path, 2)
    expected = digest_of(tmp_path)
    newest = tmp_path / "checkpoints" / f"step-{whole.step:08d}.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{newest.name} is damaged.*remove it"):
        small_training(tmp_path, 2)
    newest.unlink()
    checkpoint = load_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.state["step"] < whole.step
    small_training(tmp_path, 2)
    assert digest_of(tmp_path) == expected


def test_the_seed_determines_the_result_and_torchs_generator_is_unchanged(
    tmp_path: Path,
) -> None:
    torch.manual_seed(11)
    expected = torch.rand(5)
    torch.manual_seed(11)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        small_training(tmp_path / name, 1, seed=seed)
    assert torch.equal(torch.rand(5), expected)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "c")
