"""Configurations of a training run. This module does not import torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from clearhead._validate import (
    TEXT,
    above,
    at_least,
    at_least_and_below,
    between,
    integer,
    optional,
    validate,
)
from clearhead.data import AugmentConfig
from clearhead.errors import ConfigError
from clearhead.models.config import CNNConfig, MLPConfig, TextConfig, ViTConfig

Optimizer = Literal["adamw", "muon"]
Precision = Literal["auto", "float32", "bfloat16"]
Probability = Annotated[float, between(0, 1)]
Positive = Annotated[float, above(0)]
Fraction = Annotated[float, at_least_and_below(0, 1)]


@dataclass(frozen=True, kw_only=True)
class BaseTrainConfig:
    """Settings of the training loop, for images and texts alike."""

    start: Annotated[str | None, optional(TEXT)] = None
    """A saved model with the initial weights, as far as they fit; by default random weights."""
    freeze: tuple[str, ...] = ()
    """Parameters that are not trained: names with wildcards, such as "blocks.*"."""
    epochs: Annotated[int, integer(1)] = 10
    """Passes over the data."""
    batch_size: Annotated[int, integer(1)] = 512
    """Examples in a step, over all processes."""
    optimizer: Optimizer = "muon"
    """muon: Muon for the matrices inside the blocks, AdamW for the rest; adamw: AdamW for all."""
    learning_rate: Positive = 3e-3
    """Peak learning rate of AdamW."""
    matrix_learning_rate: Positive = 1e-2
    """Peak learning rate of Muon."""
    weight_decay: Annotated[float, at_least(0)] = 0.05
    """Decoupled weight decay of matrices: a step shrinks them by this times the learning rate."""
    warmup: Fraction = 0.1
    """Fraction of all steps with a rising learning rate; then it follows a cosine to 0."""
    label_smoothing: Fraction = 0.1
    """Share of each label that is spread evenly over all classes."""
    clip_norm: Positive = 1.0
    """Maximum norm of the gradient; a longer one is scaled down to it."""
    average: Fraction = 0.0
    """Decay per step of an exponential moving average of the weights, which is saved; 0: none."""
    precision: Precision = "auto"
    """Precision of the forward pass; auto is bfloat16 where the processor has instructions for
    it."""
    compile: bool = True
    """Compile the blocks in runs of at least 3,000 steps: takes up to a minute, then steps are 5 to
    20 % faster."""
    seed: Annotated[int, integer(0, 2**63 - 1)] = 0
    """Seed of initial weights, order and augmentation."""

    def __post_init__(self) -> None:
        if isinstance(self.start, Path):
            object.__setattr__(self, "start", str(self.start))
        validate(self)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(BaseTrainConfig):
    """Everything that determines the result of a training run on images."""

    model: ViTConfig | CNNConfig | MLPConfig = field(default_factory=ViTConfig)
    data: str = "mnist"
    """"mnist", "fashion-mnist", a folder with one folder of images for each class, a CSV or Parquet
    file, or hf:OWNER/NAME."""
    validation: Annotated[float | None, optional(at_least_and_below(0, 1))] = None
    """Share of each class of the training images held out, to measure the accuracy after each
    epoch; 0 for none. By default the data's own split val, or else a tenth of your own images."""
    holdout: Fraction = 0.0
    """Share of each class of the training images held out, to calibrate the probabilities."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    early_patches: Probability = 1.0
    """Share of each image's patches that a Vision Transformer is trained on in the first two
    thirds of the training, those of the highest contrast, which makes these steps faster."""
    drawn_digits: Annotated[float, between(0, 0.45)] = 0.0
    """Share of generated digits, drawn in forms that MNIST lacks, in the training images."""
    non_digits: Annotated[float, between(0, 0.45)] = 0.0
    """Share of generated images without a digit; their target is the uniform distribution."""
    teachers: tuple[str, ...] = ()
    """Saved models (teachers) whose probabilities replace the labels, without smoothing. Drawn
    digits keep their labels, with smoothing."""
    distill_temperature: Positive = 1.0
    """Temperature that divides the logits of the model and of the teacher."""
    rollout_weight: Annotated[float, at_least(0)] = 0.0
    """Weight of a loss that trains attention rollout of a Vision Transformer to agree with the
    effects of its patches on the prediction, for a sixteenth of the images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rollout_weight and not isinstance(self.model, ViTConfig):
            raise ConfigError(
                f"rollout_weight needs a Vision Transformer, got {type(self.model).__name__}; "
                "leave it at 0"
            )


@dataclass(frozen=True, kw_only=True)
class TextTrainConfig(BaseTrainConfig):
    """Everything that determines the result of a training run on generated sentences.

    A causal model learns to predict each next word, a bidirectional one to fill in masked words.
    The latter may `start` from a causal model with the same vocabulary and sizes.
    """

    model: TextConfig = field(default_factory=TextConfig)
    texts: Annotated[int, integer(1)] = 20_000
    """Number of generated texts."""
    mask_prob: Probability = 0.15
    """Probability that a word is masked, in texts without a cloze."""
    cloze_prob: Probability = 0.8
    """Probability of a cloze, one masked word to fill in, in texts with a referent or an answer."""
    cue_prob: Probability = 0.2
    """Probability that the cloze masks the cue (it was hungry) instead of the answer."""
    referent_prob: Probability = 0.7
    """Probability that the label of a pronoun is its referent, in texts with a cloze."""
    epochs: int = 6
    batch_size: int = 64
    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    precision: Precision = "float32"
    compile: bool = False
