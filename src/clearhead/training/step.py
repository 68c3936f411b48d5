"""One step: a batch, its loss, its gradient, the update."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.data import ImageDataset, distort, draw_distortion, normalize, to_float
from clearhead.errors import DivergenceError
from clearhead.training.config import LearningConfig, TrainConfig
from clearhead.training.distributed import World
from clearhead.training.optimizer import set_learning_rate
from clearhead.training.order import epoch_order, generator_for, seed_of, steps_per_epoch
from clearhead.training.schedule import warmup_cosine
from clearhead.training.state import EpochSums, TrainingState

NO_LABEL = -100  # torch's own word for a label that counts for nothing

Inputs = Tensor | tuple[Tensor, ...]
"""What a model is given: one tensor, or several"""


class AnyBatches(Protocol):
    """The batches of a training, whatever they are made of."""

    @property
    def world(self) -> World:
        """The processes that share them."""

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""

    def batch(self, step: int, order: Tensor) -> tuple[Inputs, Tensor]:
        """What the model is given at `step`, and what it should answer."""

    def order(self, epoch: int) -> Tensor:
        """The order of the examples in `epoch`."""


@dataclass(frozen=True)
class Batches:
    """Batches of images, each made from (seed, epoch, step) alone, on the device."""

    dataset: ImageDataset
    config: TrainConfig
    world: World

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(len(self.dataset.labels), self.config.batch_size)

    def batch(
        self, step: int, order: Int[Tensor, " images"]
    ) -> tuple[Float[Tensor, "batch channels height width"], Int[Tensor, " batch"]]:
        """The share of this process in the batch of `step`: normalised images and labels."""
        start = step % self.per_epoch * self.config.batch_size
        whole = order[start : start + self.config.batch_size]
        share = self.world.part(len(whole))
        mine = whole[share].to(self.world.device)
        images = to_float(self.dataset.images[mine])
        if self.config.augment.active:
            images = self._augmented(images, step, len(whole), share)
        return normalize(images, self.config.model), self.dataset.labels[mine]

    def order(self, epoch: int) -> Int[Tensor, " images"]:
        """The order of the images in `epoch`."""
        return epoch_order(self.config.seed, epoch, len(self.dataset.labels))

    def _augmented(self, images: Tensor, step: int, batch: int, share: slice) -> Tensor:
        size = (images.shape[-2], images.shape[-1])
        generator = generator_for("augment", self.config.seed, step)
        distortion = draw_distortion(self.config.augment, batch, size, generator)
        return distort(images, distortion.part(share.start, share.stop))


def train_step(
    network: nn.Module,
    state: TrainingState[Any],
    batch: tuple[Inputs, Tensor],
    config: LearningConfig,
    world: World,
    *,
    total_steps: int,
    bfloat16: bool,
) -> float:
    """Move the weights by one step, and tell the loss of the whole batch.

    `network` is the model, or its distributed wrapper. A label `NO_LABEL` counts for nothing.

    Raises `DivergenceError` before a loss or gradient that is not finite can touch the weights.
    """
    inputs, labels = batch
    with (
        seeded_dropout(state.model, config.seed, state.step, world),
        torch.autocast(labels.device.type, torch.bfloat16, enabled=bfloat16),
    ):
        logits = network(*inputs) if isinstance(inputs, tuple) else network(inputs)
    logits, labels = logits.flatten(0, -2), labels.flatten()
    loss = F.cross_entropy(
        logits.float(), labels, label_smoothing=config.label_smoothing, ignore_index=NO_LABEL
    )
    loss.backward()
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_norm)
    sums = _sums(loss.detach(), logits, labels, world)
    if not math.isfinite(sums.loss) or not torch.isfinite(norm):
        raise DivergenceError(
            f"step {state.step}: the loss is {sums.loss / sums.answers:.3g} and the gradient norm "
            f"{float(norm):.3g}; try a lower learning rate or float32"
        )
    set_learning_rate(state.optimizers, warmup_cosine(state.step, total_steps, config.warmup))
    for optimizer in state.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if state.average is not None:
        state.average.update_parameters(state.model)
    state.step += 1
    state.sums = state.sums + sums
    return sums.loss / sums.answers


@contextmanager
def seeded_dropout(model: nn.Module, seed: int, step: int, world: World) -> Iterator[None]:
    """Dropout draws from torch's own generator: seed it for the step, and put it back after."""
    if getattr(model.config, "dropout", 0.0) == 0.0:
        yield
        return
    devices = [world.device] if world.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed_of("dropout", seed, step, world.rank))
        yield


def _sums(loss: Tensor, logits: Tensor, labels: Tensor, world: World) -> EpochSums:
    asked = (labels != NO_LABEL).sum()
    correct = (logits.argmax(dim=1) == labels).sum()
    total = world.total(torch.stack([loss.double() * asked, correct, asked]))
    loss_sum, correct_sum, asked_sum = total.tolist()
    return EpochSums(loss_sum, int(correct_sum), int(asked_sum))
