"""The batches of a training on images: distortion, targets, and patches that are left out.

Every random number is a function of (seed, epoch, step). No state is kept between steps: a resumed
training run, and one with more processes, see the same images in the same order with the same
augmentation.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
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
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.training.config import TrainConfig
from clearhead.training.distributed import World, uses_bfloat16
from clearhead.training.state import TrainingState

NO_LABEL = -100
"""A label that the loss ignores: the default `ignore_index` of torch's cross entropy"""


def seed_of(*key: int | str) -> int:
    """A seed of 63 bits: a hash of `key`, so that neighbouring keys are unrelated."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator_for(*key: int | str) -> torch.Generator:
    """A CPU generator with the seed `seed_of(*key)`."""
    return torch.Generator().manual_seed(seed_of(*key))


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


class Batch(NamedTuple):
    """One process's part of the examples of a step.

    Attributes:
        inputs: The arguments of the model.
        labels: Classes, or `NO_LABEL`.
        targets: Probabilities to learn instead of the labels.
    """

    inputs: tuple[Tensor, ...]
    labels: Int[Tensor, "*batch"]
    targets: Float[Tensor, "batch classes"] | None = None


@dataclass(frozen=True)
class ImageBatches:
    """The batches of a training run on images, which the processes of `world` share.

    Labels beyond the classes are those of images that show none. The teachers take turns: cross
    entropy is linear in the target, so that on average this gives the gradient of the mean of their
    probabilities, for the time of one. Drawn digits keep their labels, because they have forms of
    which a teacher is not sure.
    """

    data: ImageDataset
    config: TrainConfig
    world: World
    teachers: tuple[ImageModel, ...] = ()
    generated_from: int | None = None
    """The first row of `data` with a drawn digit or a non-digit; None: there are none"""

    def batch(self, step: int, rows: Int[Tensor, " images"]) -> Batch:
        """This process's part of a step on the images at `rows`: normalised images."""
        config, part = self.config, self.world.part(len(rows))
        mine = rows[part].to(self.world.device)
        images = to_float(self.data.images.index_select(0, mine))  # faster than an index
        distortion = self._distortion(step, len(rows), part)
        if distortion is not None:
            images = distort(images, replace(distortion, style=None))
        labels = self.data.labels[mine]
        generated = mine >= (len(self.data) if self.generated_from is None else self.generated_from)
        # which should not depend on the style
        targets = self._targets(images, labels, generated, step)
        if distortion is not None and distortion.style is not None:
            images = apply_style(images, distortion.style)
        labels = labels.masked_fill(labels >= config.model.num_classes, NO_LABEL)
        return Batch((normalize(images, config.model),), labels, targets)

    def _distortion(self, step: int, batch: int, part: slice) -> Distortion | None:
        if not self.config.augment.active:
            return None
        size = (self.data.images.shape[-2], self.data.images.shape[-1])
        generator = generator_for("augment", self.config.seed, step)
        distortion = draw_distortion(self.config.augment, batch, size, generator)
        return distortion.part(part.start, part.stop)

    def _targets(
        self,
        images: Float[Tensor, "batch channels height width"],
        labels: Int[Tensor, " batch"],
        generated: Bool[Tensor, " batch"],
        step: int,
    ) -> Float[Tensor, "batch classes"] | None:
        """Smoothed labels, or a teacher's targets; all classes alike for images that show none."""
        config, classes = self.config, self.config.model.num_classes
        if not self.teachers and config.non_digits == 0:
            return None
        shown = labels.clamp(max=classes - 1)
        targets = F.one_hot(shown, classes).float()
        targets = targets * (1 - config.label_smoothing) + config.label_smoothing / classes
        if self.teachers:
            teacher = self.teachers[step % len(self.teachers)]
            inputs, bfloat16 = normalize(images, config.model), uses_bfloat16(config, images.device)
            with (
                torch.no_grad(),
                torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16),
            ):
                logits = teacher(inputs)
            taught = corrected((logits.float() / config.distill_temperature).softmax(1), shown)
            targets = torch.where(generated[:, None], targets, taught)
        return targets.masked_fill((labels >= classes)[:, None], 1 / classes)


def corrected(
    probabilities: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, "batch classes"]:
    """Where the most probable class is not the label, the two exchange their probabilities.

    (Wen et al. 2019, "Preparing Lessons: Improve Knowledge Distillation with Better Supervision",
    arXiv 1911.07471.)
    """
    most, top = probabilities.max(dim=1, keepdim=True)
    other = probabilities.gather(1, labels[:, None])
    result: Tensor = probabilities.scatter(1, top, other).scatter(1, labels[:, None], most)
    return result


@contextmanager
def early_patches(
    state: TrainingState[Any], images: Float[Tensor, "batch channels height width"]
) -> Iterator[None]:
    """In two thirds of the steps, the blocks of a ViT get the patches of the highest contrast.

    `config.early_patches` is their share in each image; they keep their order. Time and memory of
    the blocks shrink with the share. (Patch dropout: Liu et al. 2022, arXiv 2208.07220, where the
    choice is random.)
    """
    config: Any = state.config
    model, is_early = state.model, 3 * state.step < 2 * state.total_steps
    share = config.early_patches if is_early and isinstance(model, VisionTransformer) else 1.0
    if share == 1:
        yield
        return
    square, mean = (F.avg_pool2d(x, model.config.patch_shape).mean(1) for x in (images**2, images))
    contrast = (square - mean**2).flatten(1)  # the variance, four times as fast as torch.std
    count = max(1, round(share * contrast.shape[1]))
    kept = contrast.topk(count, dim=1).indices.sort(dim=1).values + model.num_prefix_tokens
    prefix = torch.arange(model.num_prefix_tokens, device=images.device).expand(len(images), -1)
    index = torch.cat([prefix, kept], dim=1)
    tokens = contrast.shape[1] + model.num_prefix_tokens
    rows = (index + tokens * torch.arange(len(images), device=images.device)[:, None]).flatten()

    def select(_: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        return (args[0].flatten(0, 1).index_select(0, rows).unflatten(0, index.shape),)

    handle = model.blocks.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
