"""Trainings with a name: what to type, what it costs, what to expect."""

from collections.abc import Callable

from clearhead.data import AugmentConfig
from clearhead.models.config import TextConfig, ViTConfig
from clearhead.training.config import NEEDED, TextTrainConfig, TrainConfig


def quick() -> TrainConfig:
    """A digit reader in little more than a minute: three layers instead of six.

    Command: `clearhead train quick --out runs/quick`
    Hardware: two cores with bfloat16 instructions (AMD EPYC, Zen 4), no GPU.
    Time: 79 s, the compilation of the blocks included.
    Accuracy: 99.22 %, one seed.
    """
    return TrainConfig(
        model=ViTConfig(depth=3),
        epochs=7,
        batch_size=512,
        matrix_learning_rate=1e-2,
        learning_rate=6e-3,
        average=0.98,
        augment=AugmentConfig(rotate=5, scale=0.05, shear=4, shift=0.75, elastic=0.4),
    )


def digits() -> TrainConfig:
    """The digit reader that ships with Clearhead, first part.

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


def digits_finish() -> TrainConfig:
    """The second part of the digit reader's training: half the distortion, a lower rate.

    Command: `clearhead train digits_finish --start runs/digits --out runs/digits_finish`
    Hardware: two cores with bfloat16 instructions (AMD EPYC, Zen 4), no GPU.
    Time: 7 minutes.
    Accuracy: 99.52 %, one seed.
    """
    return TrainConfig(
        start=NEEDED,
        epochs=28,
        batch_size=512,
        matrix_learning_rate=4e-3,
        learning_rate=1.5e-3,
        warmup=0.03,
        average=0.999,
        augment=AugmentConfig(rotate=7, scale=0.07, shear=6, shift=0.8, elastic=0.5),
    )


def sentences_causal() -> TextTrainConfig:
    """The tiny text model that ships with Clearhead, in which a word sees those before it alone.

    Command: `clearhead train sentences_causal --out runs/sentences_causal`
    Hardware: one core of a busy machine (AMD EPYC, Zen 4), no GPU.
    Time: 50 s of processor time.
    Right of the two nouns: 100 % for pairs never met, by noun and by place, one seed.
    """
    return TextTrainConfig(model=TextConfig(causal=True))


def sentences() -> TextTrainConfig:
    """The tiny text model that ships with Clearhead, which sees both directions.

    Its first weights are those of the causal model that ships, or of another one: from random ones
    it learns which noun is meant, but not to look up its place (LOG.md).

    Command: `clearhead train sentences --start runs/sentences_causal --out runs/sentences`
    Hardware: one core of a busy machine (AMD EPYC, Zen 4), no GPU.
    Time: 48 s of processor time.
    Right of the two nouns: 100 % for pairs never met, by noun and by place, one seed.
    """
    return TextTrainConfig(start="sentences-causal", learning_rate=3e-3)


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "quick": quick,
    "digits": digits,
    "digits_finish": digits_finish,
}

TEXT_RECIPES: dict[str, Callable[[], TextTrainConfig]] = {
    "sentences_causal": sentences_causal,
    "sentences": sentences,
}
