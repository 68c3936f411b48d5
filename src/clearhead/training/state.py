"""The state of a training run, and the methods that are called while it changes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Generic

from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import TypeVar

from clearhead.models import Model
from clearhead.models.pretrained import ImageModel, load_tensors
from clearhead.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizers
from clearhead.training.config import BaseTrainConfig
from clearhead.training.distributed import ALONE, World, uses_bfloat16

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
        config: The settings, which do not change.
        model: The model that is trained.
        average: Its exponential moving average, if `config.average` is above 0.
        optimizers: The optimisers.
        total_steps: Steps of the whole training.
        world: The processes that take part.
        step: Steps done.
        sums: Loss and accuracy of the current epoch.
    """

    config: BaseTrainConfig
    model: ModelT
    average: ModelT | None
    optimizers: list[Optimizer]
    total_steps: int
    world: World = ALONE
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
    def bfloat16(self) -> bool:
        """Whether the forward pass runs under autocast to bfloat16."""
        return uses_bfloat16(self.config, self.world.device)

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """Those of the model, listed once: it takes longer than to clip their gradients."""
        return list(self.model.parameters())

    @cached_property
    def averaged(self) -> tuple[list[Tensor], list[Tensor]]:
        """Average and current value of all that is averaged: parameters, and floating buffers."""
        averages, current = (
            [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
            for model in (self.result, self.model)
        )
        return averages, current

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
            if module is not None:
                load_tensors(module, _below(prefix, checkpoint.tensors), "the checkpoint")
        restore_optimizers(self.optimizers, checkpoint.tensors)
        self.step = checkpoint.state["step"]
        self.sums = EpochSums(**checkpoint.state["sums"])


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names have the prefix, by the rest of the name."""
    return {k.removeprefix(prefix): x for k, x in tensors.items() if k.startswith(prefix)}


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
