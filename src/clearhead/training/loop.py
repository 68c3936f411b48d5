"""The training loop, for images, texts and studies: `fit`."""

import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, overload

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from clearhead.data import ImageDataset
from clearhead.errors import ConfigError, DivergenceError
from clearhead.inference import Evaluation, check_dataset, predict_probabilities
from clearhead.models import Model
from clearhead.models.pretrained import ImageModel
from clearhead.models.text import TextTransformer
from clearhead.training.batches import Batches, ImageBatches, Teachers, with_generated_images
from clearhead.training.checkpoint import load_checkpoint, save_checkpoint
from clearhead.training.config import BaseTrainConfig, TextTrainConfig, TrainConfig
from clearhead.training.distributed import (
    ALONE,
    World,
    compile_blocks,
    described_speed,
    uses_bfloat16,
)
from clearhead.training.optim import make_optimizers, warmup_cosine
from clearhead.training.start import freeze, initial_model
from clearhead.training.step import EpochSums, TrainingState, train_step
from clearhead.training.texts import (
    TextBatches,
    TextData,
    config_with_vocabulary,
    generate_texts,
)

COMPILE_STEPS = 3_000
"""Minimum number of steps for which compiled blocks save more time than compilation takes"""

EVALUATION_BATCH = 1000
CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints inside an epoch; there is one at the end of each epoch too"""


class Callback:
    """Methods that `fit` calls while it trains; here they do nothing."""

    def on_start(self, state: TrainingState[Any]) -> None:
        """Called before the first step, after a checkpoint was loaded.

        Args:
            state: The state of the training.
        """

    def on_message(self, text: str) -> None:
        """Called with a message for the user, one line.

        Args:
            text: The message.
        """

    def on_step(self, state: TrainingState[Any], loss: float) -> None:
        """Called after each step.

        Args:
            state: The state of the training, after the step.
            loss: Mean over its batch, without the term of `rollout_weight`.
        """

    def on_epoch(self, state: TrainingState[Any], metrics: dict[str, float]) -> None:
        """Called after each epoch.

        Args:
            state: The state of the training.
            metrics: Number of the epoch from 1, number of epochs, loss, accuracy and learning rate;
                with validation images also their loss and accuracy.
        """


@overload
def fit(
    config: TrainConfig,
    data: ImageDataset,
    *,
    validation: ImageDataset | None = ...,
    model: ImageModel | None = ...,
    world: World = ...,
    checkpoints: Path | None = ...,
    stop: Callable[[], bool] | None = ...,
    callback: Callback | None = ...,
) -> TrainingState[ImageModel]: ...
@overload
def fit(
    config: TextTrainConfig,
    data: TextData | None = ...,
    *,
    model: TextTransformer | None = ...,
    world: World = ...,
    checkpoints: Path | None = ...,
    stop: Callable[[], bool] | None = ...,
    callback: Callback | None = ...,
) -> TrainingState[TextTransformer]: ...
def fit(
    config: TrainConfig | TextTrainConfig,
    data: ImageDataset | TextData | None = None,
    *,
    validation: ImageDataset | None = None,
    model: Model | None = None,
    world: World = ALONE,
    checkpoints: Path | None = None,
    stop: Callable[[], bool] | None = None,
    callback: Callback | None = None,
) -> TrainingState[Any]:
    """Train a model in memory.

    Args:
        config: The settings; of a text model without vocabulary, it becomes that of the sentences.
        data: The training data, all of it used. For texts, None generates them from the settings.
        validation: Images on which loss and accuracy are measured after each epoch; not for texts.
        model: Initial weights, which are copied; None: `config.start`, or random weights.
        world: The processes that take part, from `join_world`.
        checkpoints: A folder for checkpoints. A training run continues from the newest one there.
        stop: Called before each step; once it returns true in any process, training stops.
        callback: Its methods are called while training.

    Returns:
        The state at the end; its `result` is the trained model, in evaluation mode.

    Raises:
        ConfigError: If data or initial weights do not fit the settings.
        CheckpointError: If a checkpoint or the start model is damaged.
        DivergenceError: If the loss or the gradient becomes NaN or infinite.
    """
    callback = callback or Callback()
    batches: Batches
    if isinstance(config, TextTrainConfig):
        config = config_with_vocabulary(config)
        texts = data if isinstance(data, TextData) else generate_texts(config)
        batches = TextBatches(texts.to(world.device), config, world)
    elif isinstance(config, TrainConfig) and isinstance(data, ImageDataset):
        check_dataset(data, config.model)
        if validation is not None:
            check_dataset(validation, config.model)
        dataset = with_generated_images(data, config)
        teachers = Teachers.load(config, world)
        batches = ImageBatches(dataset.to(world.device), config, world, teachers)
    else:
        raise ConfigError(
            "fit needs a TrainConfig and an ImageDataset, or a TextTrainConfig, got "
            f"{config!r:.80} and {data!r:.80}; for a recipe by name use clearhead.train"
        )
    initial = initial_model(config, model, callback.on_message)
    freeze(initial, config.freeze)
    initial = initial.to(world.device)
    average = deepcopy(initial) if config.average > 0 else None
    total_steps = config.epochs * batches.per_epoch
    state = TrainingState(initial, average, make_optimizers(initial, config), total_steps)
    if checkpoints is not None and (saved := load_checkpoint(checkpoints)) is not None:
        state.restore(saved)
    callback.on_start(state)
    if not state.finished:
        _run_steps(
            config, state, batches, validation, checkpoints, stop or (lambda: False), callback
        )
    state.result.eval().requires_grad_(True)
    return state


def _run_steps(
    config: BaseTrainConfig,
    state: TrainingState[Any],
    batches: Batches,
    validation: ImageDataset | None,
    checkpoints: Path | None,
    stop: Callable[[], bool],
    callback: Callback,
) -> None:
    world = batches.world
    bfloat16 = uses_bfloat16(config, world.device)
    order = batches.order(state.step // batches.per_epoch)
    network: nn.Module = state.model.train()
    compiled = False
    if config.compile and state.total_steps >= COMPILE_STEPS:
        inputs, _ = batches.batch(state.step, order)
        compiled = compile_blocks(
            state.model, inputs, bfloat16=bfloat16, message=callback.on_message
        )
    callback.on_message(described_speed(world.device, bfloat16=bfloat16, compiled=compiled))
    if world.size > 1:
        devices = [world.device] if world.device.type == "cuda" else None
        network = DistributedDataParallel(state.model, device_ids=devices)

    if world.device.type == "cpu":
        keep_freed_memory()

    def save() -> None:
        if world.is_first and checkpoints is not None:
            save_checkpoint(checkpoints, f"step-{state.step:08d}", state.checkpoint())

    saved_at = time.monotonic()
    while not state.finished and not world.any(stop()):
        epoch = state.step // batches.per_epoch
        if state.step % batches.per_epoch == 0:
            order, state.sums = batches.order(epoch), EpochSums()
        batch = batches.batch(state.step, order)
        try:
            loss = train_step(network, state, batch, config, world, bfloat16=bfloat16)
        except DivergenceError as error:
            kept = f"; the last good checkpoint is in {checkpoints}" if checkpoints else ""
            raise DivergenceError(f"{error}{kept}") from error
        callback.on_step(state, loss)
        ends_epoch = state.step % batches.per_epoch == 0
        if ends_epoch:
            metrics = _epoch_metrics(config, state, epoch)
            if validation is not None:
                metrics |= _validated(state.result, validation, world)
            callback.on_epoch(state, metrics)
        if ends_epoch or time.monotonic() - saved_at > CHECKPOINT_SECONDS:
            save()
            saved_at = time.monotonic()
    if not state.finished:
        save()


def keep_freed_memory() -> None:
    """Let the allocator keep what a step frees for the next step; 5 to 8 % faster on Linux.

    glibc returns freed memory to the system from twice the size of the largest block that was freed
    so far, where this is at most 32 MiB. Pages from the system are filled with zeros each time.
    """
    torch.empty((32 << 20) - 8192, dtype=torch.uint8)


def _epoch_metrics(
    config: BaseTrainConfig, state: TrainingState[Any], epoch: int
) -> dict[str, float]:
    factor = warmup_cosine(state.step - 1, state.total_steps, config.warmup)
    return {
        "epoch": epoch + 1,
        "epochs": config.epochs,
        "loss": state.sums.loss / state.sums.labels,
        "accuracy": state.sums.correct / state.sums.labels,
        "learning_rate": config.learning_rate * factor,
    }


def _validated(model: ImageModel, dataset: ImageDataset, world: World) -> dict[str, float]:
    with torch.compiler.set_stance("force_eager"):  # no compilation for another batch size
        evaluation = evaluate_together(model, dataset, world)
    return {"validation_loss": evaluation.nll, "validation_accuracy": evaluation.accuracy}


def evaluate_together(model: ImageModel, dataset: ImageDataset, world: World) -> Evaluation:
    """Evaluate in all processes; the result is the same, bit by bit, as with one.

    Each process takes every n-th batch; batches are the same for any number of processes.
    """
    batches = torch.split(dataset.images, EVALUATION_BATCH)
    mine = [predict_probabilities(model, batch) for batch in batches[world.rank :: world.size]]
    shape = (0, len(dataset.class_names))
    gathered = world.gather(torch.cat([torch.empty(shape, dtype=torch.float64), *mine]))
    parts = [iter(torch.split(part, EVALUATION_BATCH)) for part in gathered]
    joined = [next(parts[number % world.size]) for number in range(len(batches))]
    return Evaluation.from_probabilities(torch.cat(joined), dataset.labels, dataset.class_names)
