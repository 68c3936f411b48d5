"""Settings of a training. Torch is not imported here: the command line shows them at once."""

from dataclasses import dataclass, field
from typing import Literal

from clearhead.data import AugmentConfig
from clearhead.errors import ConfigError
from clearhead.models.config import CNNConfig, MLPConfig, TextConfig, ViTConfig

Optimizer = Literal["adamw", "muon"]
Precision = Literal["auto", "float32", "bfloat16"]
NEEDED = "NEEDED"
"""What `start` is where the settings are those of a second part, and someone must name the first"""


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """What decides how weights move, whatever the model reads."""

    start: str = ""
    """A saved model whose weights are the first ones; empty: random weights."""
    epochs: int = 10
    """How often every example is seen."""
    batch_size: int = 512
    """How many of them make a step, over all processes."""
    optimizer: Optimizer = "muon"
    """muon: Muon for the matrices inside the blocks, AdamW for the rest; adamw: AdamW for all."""
    learning_rate: float = 3e-3
    """The highest rate of AdamW."""
    matrix_learning_rate: float = 1e-2
    """The highest rate of Muon."""
    weight_decay: float = 0.05
    """How much matrices shrink in a step: this times the rate."""
    warmup: float = 0.1
    """Share of all steps in which the rates rise; then they fall along a cosine to 0."""
    label_smoothing: float = 0.1
    """Share of each label that is spread evenly over all classes."""
    clip_norm: float = 1.0
    """The longest gradient; longer ones are cut to it."""
    average: float = 0.0
    """Decay a step of the averaged weights, which are the ones kept; 0 keeps the last weights."""
    precision: Precision = "auto"
    """auto takes bfloat16 where the processor has instructions for it."""
    compile: bool = True
    """Compile the blocks first: up to a minute, and then faster steps."""
    seed: int = 0
    """Decides first weights, order and distortions."""

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

    A causal model learns to say each next word; the other one to fill in hidden words. It may
    `start` from a causal model too, whose words and sizes are the same.
    """

    model: TextConfig = field(default_factory=TextConfig)
    texts: int = 20_000
    """Texts to generate and train on."""
    hidden: float = 0.15
    """Probability that a word is hidden, in texts that are not asked about."""
    asked: float = 0.8
    """Share of the texts that decide something in which one word is hidden: the answer."""
    hidden_ends: float = 0.2
    """Share of the asked texts in which the word that decides is hidden, not the answer."""
    asked_pronouns: float = 0.7
    """Share of the asked texts in which the pronoun itself is asked what it stands for."""
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
