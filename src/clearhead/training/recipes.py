"""The recipes: settings of training runs that were measured. This module does not import torch."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from clearhead.data import AugmentConfig
from clearhead.errors import ConfigError, did_you_mean
from clearhead.models.config import CNNConfig, TextConfig, ViTConfig
from clearhead.training.config import TextTrainConfig, TrainConfig

HOLDOUT = 1 / 12  # 5,002 of MNIST's training digits


def quick() -> TrainConfig:
    """A digit classifier in about a minute: three layers, and half of the patches at first.

    Command: `clearhead train quick --out runs/quick`
    Hardware: two cores with bfloat16 instructions (Intel Xeon, Sapphire Rapids), no GPU.
    Time: 28.2 s, median of ten seeds.
    Accuracy: 99.01 %, mean of the same ten seeds (95 % interval 98.96 – 99.05).
    """
    return TrainConfig(
        model=ViTConfig(depth=3),
        epochs=5,
        batch_size=288,
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
    Hardware: one thread of a machine with other work (AMD EPYC without bfloat16), no GPU.
    Time: 4.3 minutes for 50 epochs of 720 images of 42 × 42 pixels.
    Accuracy: 83.0 % of ten generated shapes (95 % interval 77.2 – 87.6), one seed.
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
    Hardware: one thread of a machine with other work (AMD EPYC without bfloat16), no GPU.
    Time: 50 minutes (16 of processor time) for 60 epochs of 720 images of 42 × 42 pixels.
    Accuracy: 90.0 % of ten generated shapes (95 % interval 85.1 – 93.4), one seed.
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

    Train the recipe `teacher` first. The result is the shipped `digits-distilled`.

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


def digits_rollout(start: str) -> TrainConfig:
    """The digit classifier's last stage: rollout that agrees with the effects of the patches.

    The model that it starts from is also the teacher, unless other ones are given. The mean of the
    weights of three runs is the start of two more stages; their means make the shipped `digits`
    (`make artifacts`).

    Command: `clearhead train digits_rollout --start digits-distilled --out runs/digits_rollout`
    Hardware: two cores (AMD EPYC without bfloat16), no GPU.
    Time: 39 minutes for three runs at once.
    Accuracy: 99.53 %, mean of three seeds (99.54, 99.51, 99.55); 99.60 % with the mean weights.
    """
    return replace(
        digits_distil(start),
        teachers=(start,),
        epochs=12,
        matrix_learning_rate=4e-3,
        learning_rate=1.5e-3,
        augment=AugmentConfig(rotate=9, scale=0.09, shear=8, shift=1.2, elastic=0.65, style=0.3),
        drawn_digits=0.15,
        non_digits=0.15,
        rollout_weight=2.0,
    )


def sharp() -> TrainConfig:
    """A digit classifier with two convolutions before its patches: 304,474 parameters, 16 tokens.

    Train the recipe `teacher` first, with seeds 0 and 1. (Convolutional stems: Xiao et al. 2021,
    "Early Convolutions Help Transformers See Better", arXiv 2106.14881.)

    Command: `clearhead train sharp --out runs/sharp`
    Hardware: one of two cores of a machine with other work (Intel Xeon, Sapphire Rapids), no GPU.
    Time: 88 minutes.
    Accuracy: 99.60 %, one seed.
    """
    return replace(
        digits_distil(""),
        start=None,
        model=ViTConfig(stem_channels=16, depth=5),
        teachers=("runs/teacher", "runs/teacher-1"),
        epochs=85,
        matrix_learning_rate=1e-2,
        learning_rate=3e-3,
        augment=AugmentConfig(rotate=9, scale=0.09, shear=8, shift=1.2, elastic=0.65, style=0.1),
        drawn_digits=0.0,
        non_digits=0.0,
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
        digits_rollout,
        sharp,
        sentences_causal,
        sentences,
    )
}
"""The recipes by name; a parameter of a recipe is a setting that must be given"""


def configured(
    recipe: str | TrainConfig | TextTrainConfig, settings: dict[str, Any]
) -> tuple[TrainConfig | TextTrainConfig, dict[str, Any] | None]:
    """The settings of a recipe, or the given ones, with some of them changed.

    Returns:
        The settings; and those of the model that are given if the others follow from the images.

    Raises:
        ConfigError: There is no such recipe or setting, or a required setting is missing.
    """
    changed = dict(settings)
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            nearest = did_you_mean(recipe, RECIPES)
            raise ConfigError(
                f"there is no recipe {recipe!r}{nearest or f'; expected one of {list(RECIPES)}'}"
            )
        required = inspect.signature(RECIPES[recipe]).parameters
        for name in required:
            if changed.get(name) is None:
                raise ConfigError(f"the recipe {recipe} needs {name}: a saved model to start from")
        config = RECIPES[recipe](**{name: changed.pop(name) for name in required})
    elif isinstance(recipe, TrainConfig | TextTrainConfig):
        config = recipe
    else:
        raise ConfigError(
            f"train needs the name of a recipe ({', '.join(RECIPES)}) or a TrainConfig, "
            f"got {recipe!r}"
        )
    _check_names(config, changed)
    given = changed.pop("model", {})
    if not isinstance(given, dict):
        return replace(config, **changed, model=given), None
    config = replace(config, **changed)
    _check_names(config.model, given)
    if isinstance(recipe, str) and isinstance(config, TrainConfig):
        return config, given
    model: Any = replace(config.model, **given)
    return replace(config, model=model), None


def _check_names(config: Any, settings: dict[str, Any]) -> None:
    known = [field.name for field in fields(config)]
    for name in settings:
        if name not in known:
            raise ConfigError(f"there is no setting {name!r}{did_you_mean(name, known)}")
