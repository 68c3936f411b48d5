"""Processes share the work, and end together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from clearhead.errors import ConfigError
from clearhead.models import build, load
from clearhead.training import TrainingState, distributed, fit, loop
from clearhead.training.batches import Batch
from clearhead.training.distributed import (
    ALONE,
    World,
    choose_device,
    evaluate_together,
    join_world,
)
from tests.processes import children_of, die_with_parent, free_port, is_running

from .small_run import MODEL, small_config, small_dataset, small_training, start_processes

ROOT = Path(__file__).parents[2]
SMALL_RUN = "tests.training.small_run"


def evaluate_here(model: str, out: str) -> None:
    with join_world("cpu") as world:
        evaluation = evaluate_together(load(model), small_dataset(2357), world)
        if world.is_first:
            Path(out).write_text(json.dumps(evaluation.to_dict()))


@pytest.mark.slow
def test_three_processes_evaluate_like_one_to_the_last_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(MODEL)
    model.save_pretrained(tmp_path / "model")
    arguments = str(tmp_path / "model"), str(tmp_path / "three")
    for process in start_processes(evaluate_here, *arguments, count=3):
        process.join()
        assert process.exitcode == 0
    three = json.loads((tmp_path / "three").read_bytes())
    assert three["total"] == 2357
    assert three == evaluate_together(model.eval(), small_dataset(2357), ALONE).to_dict()


class Alone(World):
    """One of several processes; the others do not run."""

    def any(self, flag: bool) -> bool:
        return flag

    def total(self, values: torch.Tensor) -> torch.Tensor:
        return values


@pytest.mark.parametrize("size", [2, 3])
def test_each_process_trains_on_its_own_part_of_every_batch(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def step(network: Any, state: TrainingState[Any], batch: Batch) -> float:
        seen.append(torch.cat([batch.inputs[0].flatten(1), batch.labels[:, None]], dim=1))
        return loop_step(network, state, batch)

    def parts(world: World) -> list[torch.Tensor]:
        seen.clear()
        fit(small_config(2), small_dataset(), world=world)
        return seen.copy()

    loop_step = loop.train_step
    monkeypatch.setattr(loop, "train_step", step)
    monkeypatch.setattr(loop, "prepare_network", lambda network, *_, **__: network)
    whole = parts(ALONE)
    shared = [parts(Alone(rank, size, torch.device("cpu"))) for rank in range(size)]
    for step_parts, batch in zip(zip(*shared, strict=True), whole, strict=True):
        assert max(map(len, step_parts)) - min(map(len, step_parts)) <= 1
        torch.testing.assert_close(torch.cat(step_parts), batch)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_each_process_evaluates_its_own_batches(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class GatheredError(Exception):
        pass

    parts: list[torch.Tensor] = []

    class InTurn(World):
        def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
            parts.append(tensor)
            if self.rank < self.size - 1:
                raise GatheredError
            return parts

    monkeypatch.setattr(distributed, "EVALUATION_BATCH", 10)
    model, data, cpu = build(MODEL).eval(), small_dataset(47), torch.device("cpu")
    for rank in range(size - 1):
        with pytest.raises(GatheredError):
            evaluate_together(model, data, InTurn(rank, size, cpu))
    shared = evaluate_together(model, data, InTurn(size - 1, size, cpu))
    assert sum(map(len, parts)) == len(data)
    assert shared.to_dict() == evaluate_together(model, data, ALONE).to_dict()


@pytest.mark.slow
def test_torchrun_ends_all_processes_when_one_is_killed(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]
    launcher = subprocess.Popen(
        [*torchrun, "-m", SMALL_RUN, str(tmp_path / "out"), "100000"],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        while not (tmp_path / "out" / "checkpoints" / "latest.json").exists():
            assert launcher.poll() is None
            time.sleep(0.05)
        workers = children_of(launcher.pid)
        assert len(workers) == 3
        os.kill(workers[1], signal.SIGKILL)
        assert launcher.wait() != 0
        assert not any(map(is_running, workers))
    finally:
        launcher.kill()
    # the other two ended by an error or SIGTERM, not by the SIGKILL that follows after 30 seconds
    codes = [int(path.read_text()) for path in tmp_path.glob("out-*.exit")]
    assert len(codes) == 2
    assert set(codes) <= {1, -signal.SIGTERM}


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        "torch.distributed.run --standalone --nproc-per-node=2",
        "accelerate.commands.launch --num_processes=2 --num_machines=1 --multi_gpu "
        "--mixed_precision=no --dynamo_backend=no",
    ],
)
def test_launchers_train_in_two_processes_like_one(launcher: str, tmp_path: Path) -> None:
    script = ["-m", SMALL_RUN, str(tmp_path / "two"), "1"]
    place = [] if "standalone" in launcher else [f"--main_process_port={free_port()}"]
    ended = subprocess.run(
        [sys.executable, "-m", *launcher.split(), *place, *script],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    assert ended.returncode == 0, ended.stderr
    small_training(tmp_path / "one", 1)
    two, one = (load(tmp_path / name).state_dict() for name in ("two", "one"))
    assert two.keys() == one.keys()
    assert not torch.equal(two["head.weight"], one["head.weight"])  # each draws its own dropout
    logs = [json.loads((tmp_path / name / "log.jsonl").read_text()) for name in ("two", "one")]
    assert logs[0]["step"] == logs[1]["step"]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=0.05)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_parts_cover_everything_once(size: int) -> None:
    parts = [World(rank, size, torch.device("cpu")).part(101) for rank in range(size)]
    assert [i for part in parts for i in range(101)[part]] == list(range(101))


@pytest.mark.parametrize("device", ["toaster", "mps:1", "meta", "xla", "cuda:one", "cpu:0", ""])
def test_an_unusable_device_is_an_error_of_one_line(device: str) -> None:
    with pytest.raises(ConfigError, match=f'^device must be "auto", .*, got {device!r}$'):
        choose_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_missing_gpu_is_an_error_of_one_line(device: str) -> None:
    with pytest.raises(ConfigError, match=f"^device is {device}, .*; use the device cpu$"):
        choose_device(device)
