"""A training that is stopped or killed ends with the same bits as one that is not."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from clearhead.errors import CheckpointError, ConfigError
from clearhead.training.checkpoint import load_checkpoint
from clearhead.training.loop import train
from clearhead.training.step import train_step

from .small_run import small_config, small_dataset

SCRIPT = Path(__file__).parent / "small_run.py"


def digest_of(out: Path) -> dict[str, str]:
    """SHA-256 of what must not depend on interruptions."""
    checkpoints = out / "checkpoints"
    newest = json.loads((checkpoints / "latest.json").read_bytes())[0]["file"]
    files = [out / "model.safetensors", out / "config.json", checkpoints / newest]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def epochs_logged(out: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(line["epoch"], line["loss"]) for line in lines]


def command(out: Path, epochs: int, processes: int = 1) -> list[str]:
    child = [str(SCRIPT), "train", str(out), str(epochs), "0"]
    if processes == 1:
        return [sys.executable, *child]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, *launcher, *child]


def run_until_done(out: Path, epochs: int, processes: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(kills):
        child = subprocess.Popen(
            command(out, epochs, processes), stderr=subprocess.DEVNULL, start_new_session=True
        )
        known = newest_step(out)
        while child.poll() is None and newest_step(out) in (None, known):
            time.sleep(0.005)
        time.sleep(chance.random() * 0.1)
        if processes == 1:
            child.kill()
        else:  # one worker dies, torchrun must end the others
            workers = subprocess.run(
                ["pgrep", "-P", str(child.pid)], capture_output=True, text=True, check=False
            ).stdout.split()
            if workers:
                subprocess.run(["kill", "-KILL", chance.choice(workers)], check=False)
        child.wait(timeout=60)
    subprocess.run(
        command(out, epochs, processes), check=True, stderr=subprocess.DEVNULL, timeout=120
    )


def newest_step(out: Path) -> str | None:
    try:
        newest: str = json.loads((out / "checkpoints" / "latest.json").read_bytes())[0]["file"]
    except FileNotFoundError:
        return None
    return newest


@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_killed_at_random_moments_ends_with_the_same_bits(
    tmp_path: Path, processes: int
) -> None:
    epochs = 20
    run_until_done(tmp_path / "calm", epochs, processes, kills=0, seed=0)
    run_until_done(tmp_path / "killed", epochs, processes, kills=3 - processes, seed=processes)
    assert digest_of(tmp_path / "calm") == digest_of(tmp_path / "killed")
    assert epochs_logged(tmp_path / "calm") == epochs_logged(tmp_path / "killed")
    assert not list((tmp_path / "killed" / "checkpoints").glob(".clearhead-tmp-*"))


def test_ctrl_c_leaves_a_checkpoint_in_the_middle_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, dataset = small_config(), small_dataset()
    whole = train(config, dataset, tmp_path / "whole")
    steps = []

    def interrupted_step(*args: object, **options: object) -> float:
        steps.append(1)
        if len(steps) == 10:
            signal.raise_signal(signal.SIGINT)
        return train_step(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("clearhead.training.loop.train_step", interrupted_step)
    first = train(config, dataset, tmp_path / "stopped")
    assert (first.finished, first.step) == (False, 10)
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    second = train(config, dataset, tmp_path / "stopped")
    assert second.finished
    assert len(steps) == whole.total_steps
    assert digest_of(tmp_path / "whole") == digest_of(tmp_path / "stopped")
    assert epochs_logged(tmp_path / "whole") == epochs_logged(tmp_path / "stopped")


def test_the_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(small_config(1), small_dataset(), tmp_path)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first = train(small_config(1), small_dataset(), tmp_path)
    before = digest_of(tmp_path)
    again = train(small_config(1), small_dataset(), tmp_path)
    assert again.finished
    assert again.step == first.step
    assert digest_of(tmp_path) == before


def test_other_settings_in_the_same_folder_are_refused_by_name(tmp_path: Path) -> None:
    train(small_config(1), small_dataset(), tmp_path)
    with pytest.raises(ConfigError, match=r"config\.label_smoothing.*--restart"):
        train(small_config(1, label_smoothing=0.2), small_dataset(), tmp_path)


def test_other_images_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    train(small_config(1), small_dataset(), tmp_path)
    with pytest.raises(ConfigError, match="images"):
        train(small_config(1), small_dataset(97), tmp_path)


def test_restart_begins_again(tmp_path: Path) -> None:
    train(small_config(1), small_dataset(), tmp_path / "a")
    train(small_config(2, seed=3), small_dataset(), tmp_path / "a", restart=True)
    train(small_config(2, seed=3), small_dataset(), tmp_path / "b")
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(tmp_path: Path) -> None:
    config, dataset = small_config(3), small_dataset()
    whole = train(config, dataset, tmp_path)
    expected = digest_of(tmp_path)
    newest = tmp_path / "checkpoints" / f"step-{whole.step:08d}.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{newest.name} is damaged.*remove it"):
        train(config, dataset, tmp_path)
    newest.unlink()
    checkpoint = load_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.state["step"] < whole.step
    train(config, dataset, tmp_path)
    assert digest_of(tmp_path) == expected


def test_training_leaves_torchs_own_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(5)
    torch.manual_seed(11)
    train(small_config(1), small_dataset(), tmp_path)
    assert torch.equal(torch.rand(5), expected)


def test_the_seed_decides_the_result(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(small_config(1, seed=seed), small_dataset(), tmp_path / name)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "c")
