"""Configurations of a training, and the recipes. This module does not import torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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

STEPS_PER_EPOCH, MIN_BATCH_SIZE, MIN_STEPS = 8, 8, 400  # of a recipe on few images
HOLDOUT = 1 / 12  # 5,002 of MNIST's training digits


@dataclass(frozen=True, kw_only=True)
class BaseTrainConfig:
    """Settings of the training loop, for images and texts alike."""

    start: str | None = None
    """A saved model with the initial weights, as far as they fit; None: random weights."""
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
    epoch. None: the data's own split val, or else a tenth of your own images; 0: no images."""
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


def sizes_for(config: TrainConfig, images: int) -> tuple[int, int]:
    """Batch size and epochs of a recipe, adapted to the number of training images.

    Recipes are made for 60,000 digits; with a few dozen images, batches of 512 would give only a
    handful of steps.

    Args:
        config: The recipe.
        images: Number of training images.

    Returns:
        The batch size: the recipe's, but at most an eighth of the images (or 8). The epochs: the
        recipe's, but enough for at least 400 steps.
    """
    batch_size = min(config.batch_size, max(images // STEPS_PER_EPOCH, MIN_BATCH_SIZE))
    return batch_size, max(config.epochs, math.ceil(MIN_STEPS / max(images // batch_size, 1)))


def quick() -> TrainConfig:
    """A digit classifier in about a minute: three layers, and half of the patches at first.

    Command: `clearhead train quick --out runs/quick`
    Hardware: two cores with bfloat16 instructions (Intel Xeon, Sapphire Rapids), no GPU.
    Time: 36 s, median of ten seeds.
    Accuracy: 99.06 %, mean of ten seeds (95 % interval 99.02 – 99.10).
    """
    return TrainConfig(
        model=ViTConfig(depth=3),
        epochs=5,
        batch_size=256,
        matrix_learning_rate=1e-2,
        learning_rate=6e-3,
        average=0.98,
        early_patches=0.5,
        augment=AugmentConfig(rotate=5, scale=0.05, shear=4, shift=0.75, elastic=0.4),
    )


def tiny() -> TrainConfig:
    """A small Vision Transformer for your own images, of 32 to 96 pixels: 0.7 million parameters.

    Image size, channels and patches follow from the images; those of CIFAR-10 make 64 patches.

    Command: `clearhead train tiny --data images --out runs/tiny`
    Hardware: one thread of a machine with other work (Intel Xeon, Sapphire Rapids), no GPU.
    Time: 4.6 minutes for 30 epochs of 720 images of 42 × 42 pixels.
    Accuracy: 57.0 % of ten generated shapes (95 % interval 50.1 – 63.7), one seed.
    """
    return TrainConfig(
        model=ViTConfig(image_size=32, patch_size=4, embed_dim=96),
        epochs=30,
        batch_size=256,
        average=0.98,
        augment=AugmentConfig(rotate=8, scale=0.1, shift=2, flip=0.5),
    )


def small() -> TrainConfig:
    """A larger Vision Transformer for your own images, of 32 to 96 pixels: 3.6 million parameters.

    Command: `clearhead train small --data images --out runs/small`
    Hardware: not trained yet.
    Time: not trained yet.
    Accuracy: not trained yet.
    """
    return replace(
        tiny(),
        model=ViTConfig(image_size=32, patch_size=4, embed_dim=192, depth=8, num_heads=6),
        epochs=60,
        learning_rate=2e-3,
        matrix_learning_rate=6e-3,
    )


def teacher() -> TrainConfig:
    """A convolutional network, the teacher of the digit classifier.

    Command: `clearhead train teacher --out runs/teacher`
    Hardware: part of one core with bfloat16 instructions (Intel Xeon, Sapphire Rapids), no GPU.
    Time: 20 minutes.
    Accuracy: 99.60 %, one seed.
    """
    return TrainConfig(
        model=CNNConfig(widths=(32, 64, 128)),
        holdout=HOLDOUT,
        epochs=18,
        batch_size=128,
        label_smoothing=0.0,
        average=0.999,
        augment=AugmentConfig(rotate=12, scale=0.12, shear=10, shift=1.5, elastic=0.8),
    )


def digits() -> TrainConfig:
    """The digit classifier that ships with Clearhead, first stage.

    Command: `clearhead train digits --out runs/digits`
    Hardware: one core with bfloat16 instructions (AMD EPYC, Zen 4), no GPU.
    Time: 65 minutes (on two cores 14 s an epoch: 35 minutes).
    Accuracy: 99.48 %, one seed.
    """
    return TrainConfig(
        epochs=150,
        batch_size=512,
        matrix_learning_rate=1e-2,
        warmup=0.03,
        average=0.999,
        augment=AugmentConfig(rotate=12, scale=0.12, shear=10, shift=1.5, elastic=0.8),
    )


def digits_finish(start: str) -> TrainConfig:
    """The digit classifier's second stage: half the augmentation, a lower learning rate.

    Command: `clearhead train digits_finish --start runs/digits --out runs/digits_finish`
    Hardware: two cores with bfloat16 instructions (AMD EPYC, Zen 4), no GPU.
    Time: 7 minutes.
    Accuracy: 99.52 %, one seed.
    """
    return TrainConfig(
        start=start,
        epochs=28,
        batch_size=512,
        matrix_learning_rate=4e-3,
        learning_rate=1.5e-3,
        warmup=0.03,
        average=0.999,
        augment=AugmentConfig(rotate=7, scale=0.07, shear=6, shift=0.8, elastic=0.5),
    )


def digits_distil(start: str) -> TrainConfig:
    """The digit classifier's third stage: distillation from a convolutional network.

    Train the recipe `teacher` first.

    Command: `clearhead train digits_distil --start runs/digits_finish --out runs/digits_distil`
    Hardware: part of one core with bfloat16 instructions (Intel Xeon, Sapphire Rapids), no GPU.
    Time: 55 minutes.
    Accuracy: 99.57 %, one seed.
    """
    return TrainConfig(
        start=start,
        teachers=("runs/teacher",),
        distill_temperature=2.0,
        holdout=HOLDOUT,
        epochs=50,
        batch_size=512,
        matrix_learning_rate=6e-3,
        learning_rate=2e-3,
        warmup=0.03,
        label_smoothing=0.0,
        average=0.999,
        augment=AugmentConfig(rotate=12, scale=0.12, shear=10, shift=1.5, elastic=0.8, style=0.5),
        drawn_digits=0.1,
        non_digits=0.1,
    )


def sharp() -> TrainConfig:
    """A digit classifier whose patches of 11 × 11 pixels overlap: 309,514 parameters, 16 tokens.

    Train the recipe `teacher` first.

    Command: `clearhead train sharp --out runs/sharp`
    Hardware: not trained yet.
    Time: not trained yet; about 20 % more than `digits_distil` for an epoch.
    Accuracy: not trained yet.
    """
    return replace(
        digits_distil(""),
        start=None,
        model=ViTConfig(patch_overlap=2),
        epochs=150,
        matrix_learning_rate=1e-2,
        learning_rate=3e-3,
    )


def sentences_causal() -> TextTrainConfig:
    """The small causal text model that ships with Clearhead.

    Command: `clearhead train sentences_causal --out runs/sentences_causal`
    Hardware: one core of a busy machine (AMD EPYC, Zen 4), no GPU.
    Time: 50 s of processor time.
    Accuracy: 100 % of referents of unseen pairs of nouns, by noun and by position, one seed.
    """
    return TextTrainConfig(model=TextConfig(causal=True))


def sentences() -> TextTrainConfig:
    """The small bidirectional text model that ships with Clearhead.

    It starts from the causal model that ships, or from another one: with random initial weights it
    learns which noun is the referent, but not its position (LOG.md).

    Command: `clearhead train sentences --start runs/sentences_causal --out runs/sentences`
    Hardware: one core of a busy machine (AMD EPYC, Zen 4), no GPU.
    Time: 48 s of processor time.
    Accuracy: 100 % of referents of unseen pairs of nouns, by noun and by position, one seed.
    """
    return TextTrainConfig(start="sentences-causal", learning_rate=3e-3)


RECIPES: Mapping[str, Callable[..., TrainConfig | TextTrainConfig]] = {
    recipe.__name__: recipe
    for recipe in (
        quick,
        tiny,
        small,
        teacher,
        digits,
        digits_finish,
        digits_distil,
        sharp,
        sentences_causal,
        sentences,
    )
}
"""The recipes by name; a parameter of a recipe is a setting that must be given"""
