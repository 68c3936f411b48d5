"""Configurations of a training. This module does not import torch."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from clearhead._validate import (
    BOOLEAN,
    TEXT,
    Rule,
    above,
    all_of,
    at_least,
    at_least_and_below,
    between,
    integer,
    one_of,
    optional,
    validate,
)
from clearhead.data import AugmentConfig
from clearhead.models.config import CNNConfig, MLPConfig, TextConfig, ViTConfig

Optimizer = Literal["adamw", "muon"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class BaseTrainConfig:
    """Settings of the training loop, for images and texts alike."""

    start: str | None = None
    """A saved model with the initial weights, as far as they fit; by default random weights."""
    freeze: tuple[str, ...] = ()
    """Parameters that are not trained: names with wildcards, such as "blocks.*"."""
    epochs: int = 10
    """Passes over the data."""
    batch_size: int = 512
    """Examples in a step, over all processes."""
    optimizer: Optimizer = "muon"
    """muon: Muon for the matrices inside the blocks, AdamW for the rest; adamw: AdamW for all."""
    learning_rate: float = 3e-3
    """Peak learning rate of AdamW."""
    matrix_learning_rate: float = 1e-2
    """Peak learning rate of Muon."""
    weight_decay: float = 0.05
    """Decoupled weight decay of matrices: a step shrinks them by this times the learning rate."""
    warmup: float = 0.1
    """Fraction of all steps with a rising learning rate; then it follows a cosine to 0."""
    label_smoothing: float = 0.1
    """Share of each label that is spread evenly over all classes."""
    clip_norm: float = 1.0
    """Maximum norm of the gradient; a longer one is scaled down to it."""
    average: float = 0.0
    """Decay per step of an exponential moving average of the weights, which is saved; 0: none."""
    precision: Precision = "auto"
    """Precision of the forward pass; auto is bfloat16 where the processor has instructions for
    it."""
    compile: bool = True
    """Compile the blocks in trainings of at least 3,000 steps: takes up to a minute, then steps are
    5 to 20 % faster."""
    seed: int = 0
    """Seed of initial weights, order and augmentation."""

    def __post_init__(self) -> None:
        validate(
            self,
            freeze=all_of(TEXT),
            epochs=integer(1),
            batch_size=integer(1),
            optimizer=one_of(*get_args(Optimizer)),
            learning_rate=above(0),
            matrix_learning_rate=above(0),
            weight_decay=at_least(0),
            warmup=at_least_and_below(0, 1),
            label_smoothing=at_least_and_below(0, 1),
            clip_norm=above(0),
            average=at_least_and_below(0, 1),
            precision=one_of(*get_args(Precision)),
            compile=BOOLEAN,
            seed=integer(0, 2**63 - 1),
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(BaseTrainConfig):
    """Everything that determines the result of a training on images."""

    model: ViTConfig | CNNConfig | MLPConfig = field(default_factory=ViTConfig)
    data: str = "mnist"
    """"mnist", "fashion-mnist", a folder with one folder of images for each class, a CSV or Parquet
    file, or hf:OWNER/NAME."""
    validation: float | None = None
    """Share of each class of the training images held out, to measure the accuracy after each
    epoch; 0 for none. By default the data's own split val, or else a tenth of your own images."""
    holdout: float = 0.0
    """Share of each class of the training images held out, to calibrate the probabilities."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    early_patches: float = 1.0
    """Share of each image's patches that a Vision Transformer is trained on in the first two
    thirds of the training, those of the highest contrast, which makes these steps faster."""
    drawn_digits: float = 0.0
    """Share of generated digits, drawn in forms that MNIST lacks, in the training images."""
    non_digits: float = 0.0
    """Share of generated images without a digit; their target is the uniform distribution."""
    teachers: tuple[str, ...] = ()
    """Saved models (teachers) whose probabilities replace the labels, without smoothing."""
    distill_temperature: float = 1.0
    """Temperature that divides the logits of the model and of the teacher."""

    def __post_init__(self) -> None:
        super().__post_init__()
        validate(
            self,
            drawn_digits=between(0, 0.45),
            non_digits=between(0, 0.45),
            model=_instance_of(ViTConfig, CNNConfig, MLPConfig),
            data=TEXT,
            validation=optional(at_least_and_below(0, 1)),
            holdout=at_least_and_below(0, 1),
            teachers=all_of(TEXT),
            distill_temperature=above(0),
            augment=_instance_of(AugmentConfig),
            early_patches=between(0, 1),
        )


@dataclass(frozen=True, kw_only=True)
class TextTrainConfig(BaseTrainConfig):
    """Everything that determines the result of a training on generated sentences.

    A causal model learns to predict each next word, a bidirectional one to fill in masked words.
    The latter may `start` from a causal model with the same vocabulary and sizes.
    """

    model: TextConfig = field(default_factory=TextConfig)
    texts: int = 20_000
    """Number of generated texts."""
    mask_prob: float = 0.15
    """Probability that a word is masked, in texts without a cloze."""
    cloze_prob: float = 0.8
    """Probability of a cloze, one masked word to fill in, in texts with a referent or an answer."""
    cue_prob: float = 0.2
    """Probability that the cloze masks the cue (it was hungry) instead of the answer."""
    referent_prob: float = 0.7
    """Probability that the label of a pronoun is its referent, in texts with a cloze."""
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
        validate(
            self,
            model=_instance_of(TextConfig),
            texts=integer(1),
            mask_prob=between(0, 1),
            cloze_prob=between(0, 1),
            cue_prob=between(0, 1),
            referent_prob=between(0, 1),
        )


def _instance_of(*classes: type) -> Rule:
    names = (f"clearhead.{x.__module__.split('.')[1]}.{x.__name__}" for x in classes)
    return Rule(f"an instance of {' or '.join(names)}", lambda value: isinstance(value, classes))
