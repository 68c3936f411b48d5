"""One training step: forward pass, loss, gradient, update; and the state that it changes."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Generic, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn
from typing_extensions import TypeVar

from clearhead.errors import DivergenceError
from clearhead.models import Model
from clearhead.models.pretrained import ImageModel, load_tensors
from clearhead.models.vit import VisionTransformer
from clearhead.training.batches import generator_for, seed_of
from clearhead.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizers
from clearhead.training.config import BaseTrainConfig, TrainConfig
from clearhead.training.distributed import World
from clearhead.training.optim import set_learning_rate, warmup_cosine
from clearhead.training.rollout_loss import rollout_loss
from clearhead.training.texts import NO_LABEL

ROLLOUT_EVERY = 16  # every 16th image of a batch has a rollout loss

ModelT = TypeVar("ModelT", bound=Model, default=ImageModel)


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
    average: ModelT | None
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
        return self.model if self.average is None else self.average

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """Those of the model, listed once: it takes longer than to clip their gradients."""
        return list(self.model.parameters())

    @cached_property
    def _averaged(self) -> tuple[list[Tensor], list[Tensor]]:
        """Average and current value of all that is averaged: parameters, and floating buffers."""
        averages, current = (
            [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
            for model in (self.result, self.model)
        )
        return averages, current

    def update_average(self, decay: float) -> None:
        """Move the average towards the weights; after the first step it is equal to them.

        Args:
            decay: The share of the average that stays, from 0 to 1.
        """
        if self.average is not None:
            update = get_ema_multi_avg_fn(decay if self.step else 0.0)
            update(*self._averaged, None)

    def checkpoint(self) -> Checkpoint:
        """The state as named tensors and plain numbers.

        Returns:
            A checkpoint to save, or to `restore` from.
        """
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{k}": tensor for k, tensor in self.average.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizers)
        return Checkpoint(tensors, {"step": self.step, "sums": asdict(self.sums)})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint.

        Args:
            checkpoint: From `checkpoint`.

        Raises:
            CheckpointError: Its names or shapes are not those of this model.
        """
        for module, prefix in ((self.model, "model."), (self.average, "average.")):
            if module is None:
                continue
            tensors = {
                name.removeprefix(prefix): tensor
                for name, tensor in checkpoint.tensors.items()
                if name.startswith(prefix)
            }
            load_tensors(module, tensors, "the checkpoint")
        restore_optimizers(self.optimizers, checkpoint.tensors)
        self.step = checkpoint.state["step"]
        self.sums = EpochSums(**checkpoint.state["sums"])


def train_step(
    network: nn.Module,
    state: TrainingState[Any],
    batch: tuple[Any, Tensor],
    config: BaseTrainConfig,
    world: World,
    *,
    bfloat16: bool,
) -> float:
    """Update model and state once.

    Args:
        network: The model of `state`, or its distributed wrapper.
        state: The state of the training, which is changed.
        batch: Inputs of this process, and their labels or, to distil, the probabilities to learn.
        config: The settings.
        world: The processes that take part.
        bfloat16: Whether the forward pass runs under autocast to bfloat16.

    Returns:
        The mean loss of the batches of all processes, without the term of `rollout_weight`.

    Raises:
        DivergenceError: The loss or the gradient is not finite; the weights are unchanged.
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
    (loss + _rollout_term(state, inputs, config, world)).backward()
    norm = nn.utils.clip_grad_norm_(state.parameters, config.clip_norm)
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
    for parameter in state.parameters:
        parameter.grad = None
    state.update_average(config.average)
    state.step += 1
    state.sums = state.sums + sums
    return sums.loss / sums.labels


def _rollout_term(
    state: TrainingState[Any], inputs: Any, config: BaseTrainConfig, world: World
) -> Tensor | float:
    weight = getattr(config, "rollout_weight", 0.0)
    if not weight:
        return 0.0
    generator = generator_for("rollout", config.seed, state.step, world.rank)
    term: Tensor = weight * rollout_loss(state.model, inputs[::ROLLOUT_EVERY], generator)
    return term


@contextmanager
def _seeded_dropout(model: nn.Module, seed: int, step: int, world: World) -> Iterator[None]:
    """Dropout draws from torch's default generator: seed it for the step, and restore it after."""
    if not any(getattr(model.config, name, 0.0) for name in ("dropout", "key_dropout")):
        yield
        return
    devices = [world.device] if world.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        is_cpu = world.device.type == "cpu"
        # Until CUDA is used, `torch.manual_seed` keeps a traceback of each of its calls for it.
        seeded = torch.default_generator.manual_seed if is_cpu else torch.manual_seed
        seeded(seed_of("dropout", seed, step, world.rank))
        yield


def distillation_loss(
    logits: Float[Tensor, "batch classes"],
    targets: Float[Tensor, "batch classes"],
    temperature: float,
) -> Float[Tensor, ""]:
    """T² times the cross entropy of softmax(logits / T), from targets that were softened too.

    (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531; T² keeps
    the size of the gradient.)
    """
    return F.cross_entropy(logits.float() / temperature, targets) * temperature**2


def labels_of(targets: Tensor) -> Tensor:
    """The most probable classes; `NO_LABEL` where all are equally probable."""
    most, labels = targets.max(dim=1)
    return labels.masked_fill(most == targets.amin(dim=1), NO_LABEL)


@contextmanager
def kept_patches(
    model: VisionTransformer, images: Float[Tensor, "batch channels height width"], share: float
) -> Iterator[None]:
    """In this context the blocks get only some patches of each image, in their order.

    Time and memory of the blocks shrink with the share. (Patch dropout: Liu et al. 2022, arXiv
    2208.07220, where the choice is random.)
    """
    square, mean = (F.avg_pool2d(x, model.config.patch_shape).mean(1) for x in (images**2, images))
    contrast = (square - mean**2).flatten(1)  # the variance, four times as fast as torch.std
    count = max(1, round(share * contrast.shape[1]))
    kept = contrast.topk(count, dim=1).indices.sort(dim=1).values + model.num_prefix_tokens
    prefix = torch.arange(model.num_prefix_tokens, device=images.device).expand(len(images), -1)
    index = torch.cat([prefix, kept], dim=1)
    tokens = contrast.shape[1] + model.num_prefix_tokens
    rows = (index + tokens * torch.arange(len(images), device=images.device)[:, None]).flatten()

    def select(_: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        return (args[0].flatten(0, 1).index_select(0, rows).unflatten(0, index.shape),)

    handle = model.blocks.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def _fewer_patches(
    state: TrainingState[Any], inputs: Any, config: BaseTrainConfig
) -> AbstractContextManager[None]:
    share = getattr(config, "early_patches", 1.0) if 3 * state.step < 2 * state.total_steps else 1.0
    if share == 1 or not isinstance(state.model, VisionTransformer):
        return nullcontext()
    return kept_patches(state.model, inputs, share)


def _sums(loss: Tensor, logits: Tensor, labels: Tensor, world: World) -> EpochSums:
    labelled = (labels != NO_LABEL).sum()
    correct = (logits.argmax(dim=1) == labels).sum()
    if world.device.type == "mps":  # which has no float64
        loss, labelled, correct = loss.cpu(), labelled.cpu(), correct.cpu()
    total = world.total(torch.stack([loss.double() * labelled, correct, labelled]))
    loss_sum, correct_sum, labelled_sum = total.tolist()
    return EpochSums(loss_sum, int(correct_sum), int(labelled_sum))
