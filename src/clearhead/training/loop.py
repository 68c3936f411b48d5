"""The training itself, from a configuration to a folder with a trained model.

`runs/NAME/` gets `run.json` (the settings), `log.jsonl`, `checkpoints/`, and at the end the model
(`model.safetensors`, `config.json`). A training that was stopped, even by a kill, goes on from its
last checkpoint and ends with the same bits as one that was not.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Generic

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from clearhead.data.datasets import ImageDataset
from clearhead.errors import DivergenceError
from clearhead.inference import check_dataset
from clearhead.training.checkpoint import load_checkpoint, save_checkpoint
from clearhead.training.config import LearningConfig, TrainConfig
from clearhead.training.distributed import World
from clearhead.training.progress import Reporter
from clearhead.training.run_folder import CHECKPOINTS, fingerprint, open_run
from clearhead.training.schedule import warmup_cosine
from clearhead.training.speed import compile_blocks, uses_bfloat16
from clearhead.training.state import EpochSums, ModelT, TrainingState
from clearhead.training.step import AnyBatches, Batches, train_step

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Trained(Generic[ModelT]):
    """What a training came to. `finished` is False if it was asked to stop before the end."""

    model: ModelT
    finished: bool
    step: int
    total_steps: int


def train(
    config: TrainConfig,
    dataset: ImageDataset,
    out: Path,
    *,
    world: World | None = None,
    restart: bool = False,
    tensorboard: bool = False,
) -> Trained:
    """Train on `dataset`, or go on with the training in `out`, until the end or Ctrl-C.

    Raises `ConfigError` if `out` holds a training with other settings, `CheckpointError` if its
    state is damaged, `DivergenceError` if the loss is no longer a number.
    """
    world = world or World(rank=0, size=1, device=torch.device("cpu"))
    check_dataset(dataset, config.model)
    images = fingerprint(dataset.images, dataset.labels)
    prepare_run(out, config, {"images": images}, world, restart=restart)
    state = TrainingState.start(config, world.device)
    batches = Batches(dataset.to(world.device), config, world)
    return run(config, state, batches, out, tensorboard=tensorboard)


def prepare_run(
    out: Path,
    config: LearningConfig,
    learnt_from: Mapping[str, str],
    world: World,
    *,
    restart: bool,
) -> None:
    """The folder of the run, made or checked by the first process; the others wait for it."""
    if world.is_first:
        open_run(out, config, learnt_from, restart=restart)
    world.any(False)  # all wait until the folder is ready


def run(
    config: LearningConfig,
    state: TrainingState[ModelT],
    batches: AnyBatches,
    out: Path,
    *,
    tensorboard: bool = False,
) -> Trained[ModelT]:
    """From a new state, or from the checkpoint in `out`, until the end or Ctrl-C."""
    world = batches.world
    checkpoint = load_checkpoint(out / CHECKPOINTS)
    if checkpoint is not None:
        state.restore(checkpoint)
    total_steps = config.epochs * batches.per_epoch
    with (
        Reporter(
            out, total_steps, state.step, tensorboard=tensorboard, silent=not world.is_first
        ) as reporter,
        _stop_signals(reporter.say, enabled=state.step < total_steps) as stop,
    ):
        if state.step < total_steps:
            _run_steps(config, state, batches, out, reporter, stop, total_steps)
    finished = state.step == total_steps
    if finished and world.is_first:
        state.result.save_pretrained(out)
    model = state.result
    model.eval()
    return Trained(model, finished, state.step, total_steps)


def _run_steps(
    config: LearningConfig,
    state: TrainingState[ModelT],
    batches: AnyBatches,
    out: Path,
    reporter: Reporter,
    stop: "StopRequest",
    total_steps: int,
) -> None:
    world = batches.world
    bfloat16 = uses_bfloat16(config, world.device)
    network = _prepare(config, state, batches, reporter, bfloat16=bfloat16)
    order = batches.order(state.step // batches.per_epoch)
    saved_at = time.monotonic()
    state.model.train()
    while state.step < total_steps and not world.any(stop.requested):
        epoch = state.step // batches.per_epoch
        if state.step % batches.per_epoch == 0:
            order, state.sums = batches.order(epoch), EpochSums()
        batch = batches.batch(state.step, order)
        try:
            loss = train_step(
                network, state, batch, config, world, total_steps=total_steps, bfloat16=bfloat16
            )
        except DivergenceError as error:
            kept = "; the last good checkpoint stays in " + str(out / CHECKPOINTS)
            raise DivergenceError(f"{error}{kept}") from error
        reporter.step(state.step, epoch, config.epochs, loss)
        ends_epoch = state.step % batches.per_epoch == 0
        if ends_epoch:
            record = _epoch_record(config, state, epoch, total_steps)
            reporter.epoch(state.step, record, config.batch_size)
        if world.is_first and (ends_epoch or time.monotonic() - saved_at > CHECKPOINT_SECONDS):
            save_checkpoint(out / CHECKPOINTS, f"step-{state.step:08d}", state.checkpoint())
            saved_at = time.monotonic()
    if world.is_first and state.step < total_steps:
        save_checkpoint(out / CHECKPOINTS, f"step-{state.step:08d}", state.checkpoint())


def _prepare(
    config: LearningConfig,
    state: TrainingState[ModelT],
    batches: AnyBatches,
    reporter: Reporter,
    *,
    bfloat16: bool,
) -> nn.Module:
    if config.compile:
        inputs, _ = batches.batch(state.step, batches.order(state.step // batches.per_epoch))
        compile_blocks(state.model.train(), inputs, bfloat16=bfloat16, say=reporter.say)
    if batches.world.size == 1:
        return state.model
    devices = [batches.world.device] if batches.world.device.type == "cuda" else None
    return DistributedDataParallel(state.model, device_ids=devices)


def _epoch_record(
    config: LearningConfig, state: TrainingState[ModelT], epoch: int, total_steps: int
) -> dict[str, float]:
    rate = config.learning_rate * warmup_cosine(state.step - 1, total_steps, config.warmup)
    return {
        "epoch": epoch + 1,
        "epochs": config.epochs,
        "loss": state.sums.loss / state.sums.answers,
        "accuracy": state.sums.correct / state.sums.answers,
        "learning_rate": rate,
    }


@dataclass
class StopRequest:
    """Whether somebody has asked for an early end."""

    requested: bool = False


@contextmanager
def _stop_signals(say: Callable[[str], None], *, enabled: bool) -> Iterator[StopRequest]:
    """Ctrl-C and SIGTERM ask for an end after the current step; a second Ctrl-C means now."""
    stop = StopRequest()

    def request(number: int, frame: FrameType | None) -> None:
        if stop.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not stop.requested:
            with suppress(RuntimeError):  # the signal came while another line was being written
                say("stopping after this step; Ctrl-C again stops at once")
        stop.requested = True

    numbers = (
        (signal.SIGINT, signal.SIGTERM)
        if enabled and threading.current_thread() is threading.main_thread()
        else ()
    )
    before = {number: signal.signal(number, request) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
