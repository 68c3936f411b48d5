"""Batches of images. Every random number is a function of (seed, epoch, step).

No state is kept between steps: a resumed training, and one with more processes, see the same
images in the same order with the same augmentation.
"""

import hashlib
from dataclasses import dataclass, replace

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
from clearhead.training.config import TrainConfig
from clearhead.training.distillation import Teachers
from clearhead.training.distributed import World


def seed_of(*key: int | str) -> int:
    """A seed of 63 bits: a hash of `key`, so that neighbouring keys are unrelated."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator_for(*key: int | str) -> torch.Generator:
    """A CPU generator with the seed `seed_of(*key)`."""
    return torch.Generator().manual_seed(seed_of(*key))


def epoch_order(seed: int, epoch: int, examples: int) -> Int[Tensor, " examples"]:
    """The order of all examples in one epoch: indices of shape (examples,)."""
    return torch.randperm(examples, generator=generator_for("order", seed, epoch))


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Whole batches in an epoch, at least 1; the examples left over vary from epoch to epoch."""
    return max(examples // batch_size, 1)


def with_generated_images(dataset: ImageDataset, config: TrainConfig) -> ImageDataset:
    """The data set with as many drawn digits and non-digits as the configuration says.

    Non-digits have the label of an additional last class.

    Raises:
        ConfigError: If there should be any, but the images are not those of digits.
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
class ImageBatches:
    """The batches of a training on images."""

    dataset: ImageDataset
    config: TrainConfig
    world: World
    teachers: Teachers | None = None

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(len(self.dataset), self.config.batch_size)

    def order(self, epoch: int) -> Int[Tensor, " images"]:
        """The order of the images in an epoch."""
        return epoch_order(self.config.seed, epoch, len(self.dataset))

    def batch(
        self, step: int, order: Int[Tensor, " images"]
    ) -> tuple[Float[Tensor, "batch channels height width"], Tensor]:
        """This process's part of the batch of `step`: normalised images, and labels.

        With teachers or non-digits, the labels are probabilities of shape (batch, classes).
        """
        start = step % self.per_epoch * self.config.batch_size
        whole = order[start : start + self.config.batch_size]
        part = self.world.part(len(whole))
        indices = whole[part].to(self.world.device)
        images, labels = to_float(self.dataset.images[indices]), self.dataset.labels[indices]
        distortion = self._distortion(step, len(whole), part)
        if distortion is not None:
            images = distort(images, replace(distortion, style=None))
        if self.teachers is not None:  # which do not see the style: the model is to ignore it
            labels = self.teachers.targets(normalize(images, self.config.model), labels, step)
        elif self.config.non_digits > 0:
            labels = class_probabilities(
                labels, self.config.model.num_classes, self.config.label_smoothing
            )
        if distortion is not None and distortion.style is not None:
            images = apply_style(images, distortion.style)
        return normalize(images, self.config.model), labels

    def _distortion(self, step: int, batch: int, part: slice) -> Distortion | None:
        if not self.config.augment.active:
            return None
        size = (self.dataset.images.shape[-2], self.dataset.images.shape[-1])
        generator = generator_for("augment", self.config.seed, step)
        distortion = draw_distortion(self.config.augment, batch, size, generator)
        return distortion.part(part.start, part.stop)
