"""Settings of a training. Torch is not imported here: the command line shows them at once."""

from dataclasses import dataclass, field
from typing import Literal

from clearhead.data.config import AugmentConfig
from clearhead.errors import ConfigError
from clearhead.models.config import CNNConfig, MLPConfig, TextConfig, ViTConfig

Optimizer = Literal["adamw", "muon"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """What decides how weights move, whatever the model reads.

    `batch_size` counts over all processes. `warmup` is the share of all steps in which the
    learning rate rises; then it falls along a cosine to 0. `matrix_learning_rate` is Muon's, for
    the matrices inside the blocks; the rest takes `learning_rate` with AdamW. `average` is the
    decay per step of the averaged weights, which are the ones that are kept (0: the last weights
    themselves). `start` is a saved model whose weights are the first ones (none: random weights).
    `precision` "auto" takes bfloat16 where the processor has instructions for it.
    """

    start: str = ""
    epochs: int = 10
    batch_size: int = 512
    optimizer: Optimizer = "muon"
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 1e-2
    weight_decay: float = 0.05
    warmup: float = 0.1
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    average: float = 0.0
    precision: Precision = "auto"
    compile: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "matrix_learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("warmup", "label_smoothing", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} must be at least 0 and below 1, got {getattr(self, name)}"
                )
        if not self.weight_decay >= 0:
            raise ConfigError(f"weight_decay must be 0 or more, got {self.weight_decay}")
        for name, choices in (
            ("optimizer", ("adamw", "muon")),
            ("precision", ("auto", "float32", "bfloat16")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LearningConfig):
    """Everything that decides the result of a training on images."""

    model: ViTConfig | CNNConfig | MLPConfig = field(default_factory=ViTConfig)
    data: str = "mnist"
    """Either "mnist", "fashion-mnist", or a folder with one folder of images for each class"""
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True, kw_only=True)
class TextTrainConfig(LearningConfig):
    """Everything that decides the result of a training on generated sentences.

    It may `start` from a causal model too, whose words and sizes are the same.

    A causal model learns to say each next word; the other one to fill in hidden words. In the
    share `asked` of the texts that decide something, one word is hidden: the answer, or in the
    share `hidden_ends` the one that decides; and in the share `asked_pronouns` it is asked at the
    pronoun itself what that stands for. In all other texts, each word with probability `hidden`.
    """

    model: TextConfig = field(default_factory=TextConfig)
    texts: int = 20_000
    hidden: float = 0.15
    asked: float = 0.8
    hidden_ends: float = 0.2
    asked_pronouns: float = 0.7
    epochs: int = 6
    batch_size: int = 64
    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    precision: Precision = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.texts < 1:
            raise ConfigError(f"texts must be at least 1, got {self.texts}")
        for name in ("hidden", "asked", "hidden_ends", "asked_pronouns"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in 0 … 1, got {getattr(self, name)}")
