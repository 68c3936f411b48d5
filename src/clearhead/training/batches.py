"""Batches of images. Every random number is a function of (seed, epoch, step).

No state is kept between steps: a resumed training run, and one with more processes, see the same
images in the same order with the same augmentation.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from clearhead.data import (
    ImageDataset,
    distort,
    draw_distortion,
    drawn_digits,
    non_digits,
    normalize,
    to_float,
)
from clearhead.data.augment import Distortion
from clearhead.data.styles import apply_style
from clearhead.errors import ConfigError
from clearhead.models import load
from clearhead.models.pretrained import ImageModel
from clearhead.training.config import TrainConfig
from clearhead.training.distributed import World, uses_bfloat16

SHARED = ("image_size", "in_channels", "num_classes", "class_names", "mean", "std")
"""Settings that a teacher has in common with the model that is trained"""


def seed_of(*key: int | str) -> int:
    """A seed of 63 bits: a hash of `key`, so that neighbouring keys are unrelated."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator_for(*key: int | str) -> torch.Generator:
    """A CPU generator with the seed `seed_of(*key)`."""
    return torch.Generator().manual_seed(seed_of(*key))


@dataclass(frozen=True)
class Batches:
    """The batches of a training run, which the processes of `world` share."""

    data: Any
    config: Any
    world: World

    @property
    def per_epoch(self) -> int:
        """Whole batches in an epoch, at least 1; the examples left over vary between epochs."""
        batch_size: int = self.config.batch_size
        return max(len(self.data) // batch_size, 1)

    def order(self, epoch: int) -> Int[Tensor, " examples"]:
        """The order of all examples in an epoch."""
        generator = generator_for("order", self.config.seed, epoch)
        return torch.randperm(len(self.data), generator=generator)

    def batch(self, step: int, order: Int[Tensor, " examples"]) -> tuple[Any, Tensor]:
        """This process's part of a step: inputs (a tensor or several), labels or probabilities."""
        raise NotImplementedError

    def part(self, step: int, order: Int[Tensor, " examples"]) -> tuple[Tensor, int, slice]:
        """This process's examples in a step, the size of the whole batch, and their place in it."""
        start = step % self.per_epoch * self.config.batch_size
        whole = order[start : start + self.config.batch_size]
        part = self.world.part(len(whole))
        return whole[part].to(self.world.device), len(whole), part


def with_generated_images(dataset: ImageDataset, config: TrainConfig) -> ImageDataset:
    """The data set with as many drawn digits and non-digits as the configuration says.

    Non-digits have the label of an additional last class.
    """
    generated = config.drawn_digits + config.non_digits
    if generated == 0:
        return dataset
    if dataset.images.shape[1:] != (1, 28, 28) or len(dataset.class_names) != 10:
        raise ConfigError(
            "drawn_digits and non_digits are for ten classes of digits of 28 × 28 grey pixels; "
            f"set both to 0 for {dataset!r}"
        )
    total = len(dataset) / (1 - generated)
    seed = seed_of("generated", config.seed)
    drawn = drawn_digits(round(total * config.drawn_digits), seed)
    none = non_digits(round(total * config.non_digits), dataset, seed)
    images, labels = dataset.images, dataset.labels
    return ImageDataset(
        dataset.name,
        torch.cat([images, drawn.images.to(images), none.to(images)]),
        torch.cat([labels, drawn.labels.to(labels), labels.new_full(none.shape[:1], 10)]),
        (*dataset.class_names, "none"),
    )


def class_probabilities(
    labels: Int[Tensor, " batch"], classes: int, label_smoothing: float
) -> Float[Tensor, "batch classes"]:
    """The smoothed targets of labels; the uniform distribution for a label beyond the classes."""
    targets = F.one_hot(labels.clamp(max=classes - 1), classes).float()
    targets = targets * (1 - label_smoothing) + label_smoothing / classes
    return targets.masked_fill((labels >= classes)[:, None], 1 / classes)


@dataclass(frozen=True)
class Teachers:
    """The teachers of a training run, one per step in turn.

    Cross entropy is linear in the target, so that on average this gives the gradient of the mean of
    their probabilities, for the time of one.
    """

    models: tuple[ImageModel, ...]
    temperature: float
    bfloat16: bool

    @classmethod
    def load(cls, config: TrainConfig, world: World) -> "Teachers | None":
        """The models that `config.teachers` names; None if it names none."""
        models = tuple(load(name, ImageModel).to(world.device) for name in config.teachers)
        for name, model in zip(config.teachers, models, strict=True):
            for setting in SHARED:
                own, other = (getattr(x, setting) for x in (config.model, model.config))
                if own != other:
                    raise ConfigError(
                        f"the teacher {name} has {setting} {other}, expected {own} as in the model "
                        "that is trained; choose another teacher"
                    )
        bfloat16 = uses_bfloat16(config, world.device)
        return cls(models, config.distill_temperature, bfloat16) if models else None

    @torch.no_grad()
    def targets(
        self,
        images: Float[Tensor, "batch channels height width"],
        labels: Int[Tensor, " batch"],
        step: int,
    ) -> Float[Tensor, "batch classes"]:
        """The probabilities to learn: softmax(logits / T) of this step's teacher, corrected.

        Where the most probable class is not the label, the two exchange their probabilities (Wen et
        al. 2019, "Preparing Lessons: Improve Knowledge Distillation with Better Supervision", arXiv
        1911.07471). For a label beyond the classes, an image that shows none, all are equal.
        """
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.models[step % len(self.models)](images)
        probabilities = (logits.float() / self.temperature).softmax(dim=1)
        classes = probabilities.shape[1]
        label = labels.clamp(max=classes - 1)[:, None]
        most, top = probabilities.max(dim=1, keepdim=True)
        other = probabilities.gather(1, label)
        corrected: Tensor = probabilities.scatter(1, top, other).scatter(1, label, most)
        return corrected.masked_fill((labels >= classes)[:, None], 1 / classes)


@dataclass(frozen=True)
class ImageBatches(Batches):
    """The batches of a training run on images."""

    data: ImageDataset
    config: TrainConfig
    teachers: Teachers | None = None

    def batch(
        self, step: int, order: Int[Tensor, " images"]
    ) -> tuple[Float[Tensor, "batch channels height width"], Tensor]:
        """This process's part of the batch of `step`: normalised images, and labels.

        With teachers or non-digits, the labels are probabilities of shape (batch, classes).
        """
        config, (indices, size, part) = self.config, self.part(step, order)
        images = to_float(self.data.images.index_select(0, indices))  # faster than an index
        labels = self.data.labels[indices]
        distortion = self._distortion(step, size, part)
        if distortion is not None:
            images = distort(images, replace(distortion, style=None))
        if self.teachers is not None:  # without the style, on which predictions should not depend
            labels = self.teachers.targets(normalize(images, config.model), labels, step)
        elif config.non_digits > 0:
            labels = class_probabilities(labels, config.model.num_classes, config.label_smoothing)
        if distortion is not None and distortion.style is not None:
            images = apply_style(images, distortion.style)
        return normalize(images, config.model), labels

    def _distortion(self, step: int, batch: int, part: slice) -> Distortion | None:
        if not self.config.augment.active:
            return None
        size = (self.data.images.shape[-2], self.data.images.shape[-1])
        generator = generator_for("augment", self.config.seed, step)
        distortion = draw_distortion(self.config.augment, batch, size, generator)
        return distortion.part(part.start, part.stop)
