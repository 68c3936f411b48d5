"""The training loop, for images, texts and studies: `fit`, and `train_step` inside it."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, cast, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from typing_extensions import TypeVar

from clearhead.data import ImageDataset
from clearhead.errors import CheckpointError, ConfigError, DivergenceError
from clearhead.inference import check_dataset
from clearhead.models import Model, build, load
from clearhead.models.pretrained import ImageModel
from clearhead.models.text import TextTransformer
from clearhead.models.vit import VisionTransformer
from clearhead.training.batches import ImageBatches, seed_of, with_generated_images
from clearhead.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizers,
    save_checkpoint,
)
from clearhead.training.config import BaseTrainConfig, TextTrainConfig, TrainConfig
from clearhead.training.distillation import Teachers, distillation_loss
from clearhead.training.distributed import (
    ALONE,
    World,
    compile_blocks,
    described_speed,
    uses_bfloat16,
)
from clearhead.training.optim import make_optimizers, set_learning_rate, warmup_cosine
from clearhead.training.patches import kept_patches
from clearhead.training.texts import (
    NO_LABEL,
    TextBatches,
    TextData,
    config_with_vocabulary,
    generate_texts,
)

COMPILE_STEPS = 3_000
"""Steps of a training from which on compiled blocks save more time than their compilation takes"""

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints inside an epoch; there is one at the end of each epoch too"""

FREE = (
    "causal",
    "dropout",
    "key_dropout",
    "doubtful_below",
    "rejected_below",
    "threshold_temperature",
)
"""Model settings that may differ from those of the start model: the weights fit with any value"""

ModelT = TypeVar("ModelT", bound=Model, default=ImageModel)


class Batches(Protocol):
    """The batches of a training, of images or of texts."""

    @property
    def world(self) -> World:
        """The processes that share them."""

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""

    def order(self, epoch: int) -> Tensor:
        """The order of the examples in an epoch."""

    def batch(self, step: int, order: Tensor) -> tuple[Any, Tensor]:
        """The inputs of a step, a tensor or a tuple of tensors, and labels or probabilities."""


@dataclass(frozen=True)
class EpochSums:
    """Sums over the labelled positions of an epoch so far, over all processes."""

    loss: float = 0.0
    correct: int = 0
    labels: int = 0

    def __add__(self, other: "EpochSums") -> "EpochSums":
        return EpochSums(
            self.loss + other.loss, self.correct + other.correct, self.labels + other.labels
        )


@dataclass
class TrainingState(Generic[ModelT]):
    """Everything that changes while a model is trained; random numbers have no state.

    Attributes:
        model: The model that is trained.
        average: Its exponential moving average, if `config.average` is above 0.
        optimizers: The optimisers.
        total_steps: Steps of the whole training.
        step: Steps done.
        sums: Loss and accuracy of the current epoch.
    """

    model: ModelT
    average: AveragedModel | None
    optimizers: list[Optimizer]
    total_steps: int
    step: int = 0
    sums: EpochSums = field(default_factory=EpochSums)

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.total_steps

    @property
    def result(self) -> ModelT:
        """The model to keep: the average if there is one."""
        return self.model if self.average is None else cast(ModelT, self.average.module)

    def checkpoint(self) -> Checkpoint:
        """The state as named tensors and plain numbers."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{k}": tensor for k, tensor in self.average.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizers)
        return Checkpoint(tensors, {"step": self.step, "sums": asdict(self.sums)})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint; raises `CheckpointError` if it is of another model."""
        for module, prefix in ((self.model, "model."), (self.average, "average.")):
            if module is None:
                continue
            tensors = {
                name.removeprefix(prefix): tensor
                for name, tensor in checkpoint.tensors.items()
                if name.startswith(prefix)
            }
            try:
                module.load_state_dict(tensors)
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                raise CheckpointError(f"the checkpoint does not fit the model: {reason}") from error
        restore_optimizers(self.optimizers, checkpoint.tensors)
        self.step = checkpoint.state["step"]
        self.sums = EpochSums(**checkpoint.state["sums"])


class Callback:
    """Methods that `fit` calls while it trains; here they do nothing."""

    def on_start(self, state: TrainingState[Any]) -> None:
        """Before the first step, after a checkpoint was loaded."""

    def on_message(self, text: str) -> None:
        """A message for the user, one line."""

    def on_step(self, state: TrainingState[Any], loss: float) -> None:
        """After each step, with the loss of its batch."""

    def on_epoch(self, state: TrainingState[Any], metrics: dict[str, float]) -> None:
        """After each epoch: its number from 1, epochs, loss, accuracy, learning rate."""


@overload
def fit(
    config: TrainConfig,
    data: ImageDataset,
    *,
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
        model: Initial weights, which are copied; None: `config.start`, or random weights.
        world: The processes that take part, from `join_world`.
        checkpoints: A folder for checkpoints. A training continues from the newest one there.
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
    else:
        dataset = cast(ImageDataset, data)
        check_dataset(dataset, config.model)
        dataset = with_generated_images(dataset, config)
        teachers = Teachers.load(config, world)
        batches = ImageBatches(dataset.to(world.device), config, world, teachers)
    state = _initial_state(config, initial_model(config, model).to(world.device), batches)
    if checkpoints is not None and (saved := load_checkpoint(checkpoints)) is not None:
        state.restore(saved)
    callback.on_start(state)
    if not state.finished:
        _run_steps(config, state, batches, checkpoints, stop or (lambda: False), callback)
    state.result.eval()
    return state


def initial_model(config: TrainConfig | TextTrainConfig, start: Model | None = None) -> Any:
    """A new model for a training; the state of torch's default generator is unchanged.

    Args:
        config: The settings. The seed draws random weights; `config.start` replaces them.
        start: A model whose weights are copied instead of those of `config.start`.

    Raises:
        ConfigError: If the initial model has other model settings, apart from `FREE`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model: Any = build(config.model)
    if start is None and config.start is not None:
        expected = TextTransformer if isinstance(model, TextTransformer) else ImageModel
        start = cast(Model, load(config.start, cast("type[Any]", expected)))
    if start is not None:
        if _architecture(start.config) != _architecture(config.model):
            name = config.start or "the start model"
            raise ConfigError(
                f"{name} has other model settings than this training; give it the same"
            )
        model.load_state_dict(start.state_dict())
    return model


def train_step(
    network: nn.Module,
    state: TrainingState[Any],
    batch: tuple[Any, Tensor],
    config: BaseTrainConfig,
    world: World,
    *,
    bfloat16: bool,
) -> float:
    """Update the weights once.

    Args:
        network: The model, or its distributed wrapper.
        state: The training state, updated in place.
        batch: This process's inputs, and its labels or, to distil, the probabilities to learn; the
            label `NO_LABEL` is ignored.
        config: The settings.
        world: The processes that take part.
        bfloat16: Whether the forward pass runs under bfloat16 autocast.

    Returns:
        The mean loss of the whole batch, over all processes.

    Raises:
        DivergenceError: If loss or gradient are not finite; the weights are then left unchanged.
    """
    inputs, labels = batch
    with (
        _seeded_dropout(state.model, config.seed, state.step, world),
        _fewer_patches(state, inputs, config),
        torch.autocast(labels.device.type, torch.bfloat16, enabled=bfloat16),
    ):
        logits = network(*inputs) if isinstance(inputs, tuple) else network(inputs)
    logits = logits.flatten(0, -2)
    if labels.is_floating_point():
        loss = distillation_loss(logits, labels, cast(TrainConfig, config).distill_temperature)
        labels = labels_of(labels)
    else:
        labels = labels.flatten()
        loss = F.cross_entropy(
            logits.float(),
            labels,
            label_smoothing=config.label_smoothing,
            ignore_index=NO_LABEL,
        )
    loss.backward()
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_norm)
    sums = _sums(loss.detach(), logits, labels, world)
    if not math.isfinite(sums.loss) or not torch.isfinite(norm):
        raise DivergenceError(
            f"step {state.step}: the loss is {sums.loss / sums.labels:.3g} and the gradient norm "
            f"{float(norm):.3g}; try a lower learning rate or float32"
        )
    factor = warmup_cosine(state.step, state.total_steps, config.warmup)
    set_learning_rate(state.optimizers, factor)
    for optimizer in state.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if state.average is not None:
        state.average.update_parameters(state.model)
    state.step += 1
    state.sums = state.sums + sums
    return sums.loss / sums.labels


def _initial_state(
    config: BaseTrainConfig, model: ModelT, batches: Batches
) -> TrainingState[ModelT]:
    average = None
    if config.average > 0:
        average = AveragedModel(
            model, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True
        )
    total_steps = config.epochs * batches.per_epoch
    return TrainingState(model, average, make_optimizers(model, config), total_steps)


def _run_steps(
    config: BaseTrainConfig,
    state: TrainingState[Any],
    batches: Batches,
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
            callback.on_epoch(state, _epoch_metrics(config, state, epoch))
        if ends_epoch or time.monotonic() - saved_at > CHECKPOINT_SECONDS:
            save()
            saved_at = time.monotonic()
    if not state.finished:
        save()


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


def _architecture(config: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name not in FREE}


@contextmanager
def _seeded_dropout(model: nn.Module, seed: int, step: int, world: World) -> Iterator[None]:
    """Dropout draws from torch's default generator: seed it for the step, and restore it after."""
    if not any(getattr(model.config, name, 0.0) for name in ("dropout", "key_dropout")):
        yield
        return
    devices = [world.device] if world.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed_of("dropout", seed, step, world.rank))
        yield


def labels_of(targets: Tensor) -> Tensor:
    """The most probable classes; `NO_LABEL` where all are equally probable."""
    most, labels = targets.max(dim=1)
    return labels.masked_fill(most == targets.amin(dim=1), NO_LABEL)


def _fewer_patches(
    state: TrainingState[Any], inputs: Any, config: BaseTrainConfig
) -> AbstractContextManager[None]:
    early = 3 * state.step < 2 * state.total_steps
    if not (early and isinstance(config, TrainConfig) and config.early_patches < 1):
        return nullcontext()
    if not isinstance(state.model, VisionTransformer):
        return nullcontext()
    return kept_patches(state.model, inputs, config.early_patches)


def _sums(loss: Tensor, logits: Tensor, labels: Tensor, world: World) -> EpochSums:
    labelled = (labels != NO_LABEL).sum()
    correct = (logits.argmax(dim=1) == labels).sum()
    total = world.total(torch.stack([loss.double() * labelled, correct, labelled]))
    loss_sum, correct_sum, labelled_sum = total.tolist()
    return EpochSums(loss_sum, int(correct_sum), int(labelled_sum))
