"""Everything that changes while a model trains, and its way to disk and back."""

from dataclasses import asdict, dataclass, field
from typing import Any, Generic, cast, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from typing_extensions import TypeVar

from clearhead.errors import CheckpointError, ConfigError
from clearhead.models.build import Model, build, load
from clearhead.models.pretrained import ImageModel
from clearhead.models.text import TextTransformer
from clearhead.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizers
from clearhead.training.config import TextTrainConfig, TrainConfig
from clearhead.training.optimizer import make_optimizers


@dataclass(frozen=True)
class EpochSums:
    """What an epoch has added up so far, over all processes."""

    loss: float = 0.0
    correct: int = 0
    answers: int = 0

    def __add__(self, other: "EpochSums") -> "EpochSums":
        return EpochSums(
            self.loss + other.loss, self.correct + other.correct, self.answers + other.answers
        )


ModelT = TypeVar("ModelT", bound=Model, default=ImageModel)


@dataclass
class TrainingState(Generic[ModelT]):
    """The weights, their average, what the optimisers remember, and how far the training is.

    There is no random state in it: every random number is a function of (seed, epoch, step).
    """

    model: ModelT
    average: AveragedModel | None
    optimizers: list[Optimizer]
    step: int = 0
    sums: EpochSums = field(default_factory=EpochSums)

    @overload
    @classmethod
    def start(cls, config: TrainConfig, device: torch.device) -> "TrainingState[ImageModel]": ...
    @overload
    @classmethod
    def start(
        cls, config: TextTrainConfig, device: torch.device
    ) -> "TrainingState[TextTransformer]": ...
    @classmethod
    def start(
        cls, config: TrainConfig | TextTrainConfig, device: torch.device
    ) -> "TrainingState[Any]":
        """New weights, drawn with the seed of `config`; torch's own generator is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model: Any = build(config.model)
        if config.start:
            model.load_state_dict(_weights_of(config.start, model))
        model.to(device)
        average = None
        if config.average > 0:
            average = AveragedModel(
                model, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True
            )
        return cls(model, average, make_optimizers(model, config))

    @property
    def result(self) -> ModelT:
        """The model that is kept: the averaged one if there is an average."""
        return self.model if self.average is None else cast(ModelT, self.average.module)

    def checkpoint(self) -> Checkpoint:
        """All of it, as tensors by name and plain numbers."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{k}": tensor for k, tensor in self.average.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizers)
        return Checkpoint(tensors, {"step": self.step, "sums": vars(self.sums)})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint` was made."""
        _restore_module(self.model, checkpoint, "model.")
        if self.average is not None:
            _restore_module(self.average, checkpoint, "average.")
        restore_optimizers(self.optimizers, checkpoint.tensors)
        self.step = checkpoint.state["step"]
        self.sums = EpochSums(**checkpoint.state["sums"])


def _weights_of(source: str, model: Model) -> dict[str, Tensor]:
    """The weights of `source`, which may see other words than the model, but is like it else."""
    is_text = isinstance(model, TextTransformer)
    source_model: Model = load(source, TextTransformer) if is_text else load(source, ImageModel)
    theirs, ours = asdict(source_model.config), asdict(model.config)
    if is_text:
        theirs["causal"] = ours["causal"]
    if theirs != ours:
        raise ConfigError(f"{source} has other model settings than this training; give it the same")
    return source_model.state_dict()


def _restore_module(module: nn.Module, checkpoint: Checkpoint, prefix: str) -> None:
    mine: dict[str, Tensor] = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    try:
        module.load_state_dict(mine)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the checkpoint does not fit the model: {reason}") from error
