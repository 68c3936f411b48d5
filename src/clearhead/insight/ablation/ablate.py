"""What a model loses when a part of its attention is removed.

    parts = every_head(model, images)
    for ablation in ablate(model, images, labels, parts):
        print(ablation)

The answers are compared with those of the whole model, image by image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight.ablation.parts import Part, attention_sizes, check_parts
from clearhead.insight.ablation.removal import Means, Method, reference_means, removing
from clearhead.insight.answers import Model, probabilities
from clearhead.insight.paired import mean_interval, paired_proportion_interval
from clearhead.insight.tokens import Grid
from clearhead.recording._capture import intervene

# Told how many parts are done, and of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What removing one part did, over `total` images.

    `lost` answers were right and are wrong without the part, `gained` the other way round, and
    `changed` are different at all. `drop` = (lost - gained) / total is the fall in accuracy, with
    its interval (Tango 1998). `probability_drop` is the mean fall in the probability of the true
    class, which also moves where no answer does; its interval (Student's t) is None for one image.
    Each interval is for its own part: of twenty parts without any effect, one will seem to have
    one at 95 %.
    """

    part: Part
    method: Method
    total: int
    correct: int
    lost: int
    gained: int
    changed: int
    drop: float
    interval: tuple[float, float]
    probability_drop: float
    probability_interval: tuple[float, float] | None

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"without {self.part} ({self.method}): accuracy falls by {self.drop:+.2%} "
            f"({low:+.2%} to {high:+.2%}), {self.lost} lost and {self.gained} gained "
            f"of {self.total}"
        )


def ablate(
    model: Model,
    images: Tensor,
    labels: Int[Tensor, " batch"],
    parts: Sequence[Part],
    *,
    method: Method = "mean",
    reference: Tensor | None = None,
    grid: Grid | None = None,
    confidence: float = 0.95,
    batch_size: int = 250,
    progress: Progress | None = None,
) -> tuple[Ablation, ...]:
    """Remove each part in turn, in any model whose attention `capture` sees.

    "mean" puts the mean over the `reference` images (default: `images`) in its place: a head's
    mean output for each query, or a patch's mean value. Unlike zeros this leaves what the part
    gives to every image alike, so that the drop is due to what it says about this one (as
    recommended by Wang et al. 2023, "Interpretability in the Wild", arXiv 2211.00593). "zero" puts
    zeros. "mask", for patches, forbids every query to look there. Patches need `grid`.

    `images` are what the model takes, normalised already. The order is that of `parts`, one
    forward pass of all images for each.
    """
    _check(images, labels, parts, method)
    check_parts(parts, attention_sizes(model, images), grid)
    means = None
    if method == "mean":
        whole = images if reference is None else reference
        means = reference_means(model, whole, batch_size=batch_size)
    labels = labels.cpu().long()  # bytes would be read as a mask
    before = probabilities(model, images, batch_size=batch_size)
    _check_labels(labels, before.shape[1])
    ablations = []
    for done, part in enumerate(parts, start=1):
        after = _without(part, model, images, method, means, grid, batch_size)
        ablations.append(_compare(part, method, labels, before, after, confidence))
        if progress is not None:
            progress(done, len(parts))
    return tuple(ablations)


def _without(
    part: Part,
    model: Model,
    images: Tensor,
    method: Method,
    means: Means | None,
    grid: Grid | None,
    batch_size: int,
) -> Float[Tensor, "batch classes"]:
    first_patch = grid.num_prefix_tokens if grid else 0
    return probabilities(
        model,
        images,
        batch_size=batch_size,
        around=lambda count: intervene(removing(part, method, means, first_patch, count)),
    )


def _compare(
    part: Part,
    method: Method,
    labels: Int[Tensor, " batch"],
    before: Float[Tensor, "batch classes"],
    after: Float[Tensor, "batch classes"],
    confidence: float,
) -> Ablation:
    answers, others = before.argmax(1), after.argmax(1)
    right, still_right = answers == labels, others == labels
    lost, gained = int((right & ~still_right).sum()), int((~right & still_right).sum())
    rows = torch.arange(len(labels))
    falls = before[rows, labels] - after[rows, labels]
    return Ablation(
        part=part,
        method=method,
        total=len(labels),
        correct=int(right.sum()),
        lost=lost,
        gained=gained,
        changed=int((answers != others).sum()),
        drop=(lost - gained) / len(labels),
        interval=paired_proportion_interval(lost, gained, len(labels), confidence),
        probability_drop=float(falls.mean()),
        probability_interval=mean_interval(falls, confidence),
    )


def _check(images: Tensor, labels: Tensor, parts: Sequence[Part], method: str) -> None:
    if method not in get_args(Method):
        raise ConfigError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if method == "mask" and any(part.patch is None for part in parts):
        raise ConfigError(
            'method="mask" removes patches only; heads and layers take "mean" or "zero"'
        )
    if labels.dim() != 1 or len(labels) != len(images):
        raise InputError(f"there are {len(images)} images, but labels {tuple(labels.shape)}")


def _check_labels(labels: Tensor, classes: int) -> None:
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"labels must lie in 0 … {classes - 1}, got {int(labels.min())} … {int(labels.max())}"
        )
