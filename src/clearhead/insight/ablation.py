"""What a model loses when a head, a layer or a patch is removed from its attention.

    for ablation in ablate(model, images, labels, "head"):
        print(ablation)

Predictions are compared with those of the whole model, image by image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import inf
from typing import Any, Literal, TypeAlias, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead import attention
from clearhead._validate import integer, optional, validate
from clearhead.errors import CaptureError, ConfigError, InputError, check_one_of
from clearhead.insight.forward import Around, Model, batches, model_logits, probabilities
from clearhead.insight.stats import mean_interval, paired_proportion_interval
from clearhead.insight.tokens import Grid, check_tokens
from clearhead.recording import AttentionRecord, capture, intervene

# "mean": the mean over the reference images; "zero": zeros; "mask" (patches only): no query may
# attend to the patch, and the softmax divides its weight among the other keys.
Method = Literal["mean", "zero", "mask"]

Every = Literal["layer", "head", "patch"]

# The mean of each layer's output and of its values, by name. Their first axis holds what an image
# has several of, such as windows: (windows heads tokens value_dim).
Means: TypeAlias = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Part of a model's attention; None stands for all. `Part()` is all attention.

    Args:
        layer: Name of the layer, as in a recording.
        head: The head, from 0.
        patch: The patch, from 0, row by row over the grid: its key and value, for every query. Its
            token is still passed on from layer to layer.

    Raises:
        ConfigError: For a negative number.
    """

    layer: str | None = None
    head: int | None = None
    patch: int | None = None

    def __post_init__(self) -> None:
        validate(self, head=optional(integer(0)), patch=optional(integer(0)))

    def __str__(self) -> str:
        """The part, with numbers from 1."""
        head = "all heads" if self.head is None else f"head {self.head + 1}"
        patch = "" if self.patch is None else f"patch {self.patch + 1} in "
        return f"{patch}{head} of {self.layer or 'all layers'}"


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Effect of removing one part.

    Intervals are for each part on its own: among twenty parts without any effect, one is expected
    to exclude 0 at 95 %.

    Attributes:
        part: The part.
        method: What replaced it.
        total: Number of images.
        correct: Right predictions of the whole model.
        lost: Predictions that were right and are wrong without the part.
        gained: Predictions that were wrong and are right without it.
        changed: Predictions that differ.
        drop: Fall in accuracy, (lost - gained) / total.
        interval: Its interval (Tango 1998).
        probability_drop: Mean fall in the probability of the true class, which also changes where
            no prediction does.
        probability_interval: Its interval (Student's t); None for one image.
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

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain data; head and patch count from 0."""
        return asdict(self)


def ablate(
    model: Model,
    images: Tensor,
    labels: Int[Tensor, " batch"],
    parts: Sequence[Part] | Every,
    *,
    method: Method = "mean",
    reference: Tensor | None = None,
    grid: Grid | None = None,
    confidence: float = 0.95,
    batch_size: int = 250,
) -> tuple[Ablation, ...]:
    """Remove each part in turn, in any model whose attention can be recorded.

    Args:
        model: A module, or a function from images to logits of shape (batch, classes).
        images: Normalised images of shape (batch, channels, height, width).
        labels: The true classes, of shape (batch,).
        parts: Which parts, or "layer" for each layer, "head" for each head of each layer, "patch"
            for each patch in all layers.
        method: What replaces a part. "mean" is the mean over the reference images of a head's
            output for each query, or of a patch's value; unlike zeros it keeps what the part
            contributes to every image alike, so that the drop is due to what depends on the image
            (as recommended by Wang et al. 2023, "Interpretability in the Wild", arXiv 2211.00593).
            "zero" is zeros. "mask", for patches, masks the patch for every query.
        reference: Reference images for "mean"; by default `images`.
        grid: The patches; needed to remove patches.
        confidence: Coverage of the intervals, between 0 and 1.
        batch_size: Images in a forward pass.

    Returns:
        The effect of each part, in the order of the parts. Each takes one forward pass of all
        images.

    Raises:
        ConfigError: For an unknown method, a method that does not suit a part, or a missing grid.
        InputError: If labels do not match the images or classes, reference images have another
            shape, or there is no such head or patch.
        CaptureError: If there is no such layer, or no attention at all.
    """
    check_one_of("method", method, get_args(Method))
    if labels.dim() != 1 or len(labels) != len(images):
        raise InputError(
            f"expected {len(images)} labels, one for each image, got {tuple(labels.shape)}"
        )
    with capture() as recording:
        probabilities(model, images[:1])
    parts = _checked_parts(parts, recording, grid)
    if method == "mask" and any(part.patch is None for part in parts):
        raise ConfigError(
            'method="mask" removes patches only; heads and layers take "mean" or "zero"'
        )
    reference = images if reference is None else reference
    if reference.shape[1:] != images.shape[1:]:
        raise InputError(
            f"reference images must have the shape of the images, {tuple(images.shape[1:])}, got "
            f"{tuple(reference.shape[1:])}"
        )
    means = reference_means(model, reference, batch_size=batch_size) if method == "mean" else None
    labels = labels.cpu().long()  # uint8 would index as a mask
    before = probabilities(model, images, batch_size=batch_size)
    if labels.min() < 0 or labels.max() >= before.shape[1]:
        raise InputError(
            f"labels must lie in 0 … {before.shape[1] - 1}, "
            f"got {int(labels.min())} … {int(labels.max())}"
        )

    def without(part: Part) -> Ablation:
        around = without_part(part, method, means=means, grid=grid)
        after = probabilities(model, images, batch_size=batch_size, around=around)
        return _compare(part, method, labels, before, after, confidence)

    return tuple(map(without, parts))


def without_part(
    part: Part, method: Method, *, means: Means | None = None, grid: Grid | None = None
) -> Around:
    """A function that returns the intervention that removes a part, for `around`.

        probabilities(model, images, around=without_part(Part(patch=3), "mask", grid=grid))

    Raises `ConfigError` if the means (for "mean") or the grid (for a patch) are missing.
    """
    if method == "mean" and means is None:
        raise ConfigError('method="mean" needs means: reference_means(model, reference)')
    key = None if part.patch is None else _needed(grid).num_prefix_tokens + part.patch

    def change(record: AttentionRecord) -> Tensor | None:
        if part.layer not in (None, record.name):
            return None
        if method == "mask" and key is not None:
            new = _without_key(record, key)
        else:
            new = torch.zeros_like(record.output if key is None else record.value)
            if method == "mean" and means is not None:
                mean = means[record.name][0 if key is None else 1].to(new)
                num_images = new.shape[:-3].numel() // len(mean)
                new = mean.expand(num_images, *mean.shape).reshape(new.shape)
            if key is not None:
                new = _with_value(record, key, new)
        if part.head is None:
            return new
        output = record.output.clone()
        output[..., part.head, :, :] = new[..., part.head, :, :]
        return output

    return partial(intervene, change)


def reference_means(model: Model, reference: Tensor, *, batch_size: int = 250) -> Means:
    """Means of each layer's outputs and values over the images, in one pass and in float64."""
    sums: dict[str, tuple[Tensor, Tensor]] = {}

    def add(num_images: int, record: AttentionRecord) -> None:
        output, value = (
            _by_image(x, num_images, record.name).double().sum(0)
            for x in (record.output, record.value)
        )
        before = sums.get(record.name, (torch.zeros_like(output), torch.zeros_like(value)))
        if (output.shape, value.shape) != (before[0].shape, before[1].shape):
            raise InputError(
                f"{record.name} has outputs of shapes {tuple(before[0].shape)} and "
                f"{tuple(output.shape)}, which have no mean; give images of one size"
            )
        sums[record.name] = before[0] + output, before[1] + value

    for batch in batches(reference, batch_size):
        around = partial(intervene, partial(add, len(batch)))
        model_logits(model, batch, batch_size=batch_size, around=around)
    count = len(reference)
    return {name: (output / count, value / count) for name, (output, value) in sums.items()}


def _checked_parts(
    parts: Sequence[Part] | Every, layers: Mapping[str, AttentionRecord], grid: Grid | None
) -> Sequence[Part]:
    """The parts, listed; raise unless each exists: its layer, its head, its patch on that grid."""
    if parts == "layer":
        return [Part(layer=layer) for layer in layers]
    if parts == "head":
        heads = ((name, head) for name, x in layers.items() for head in range(x.shape[-3]))
        return [Part(layer=name, head=head) for name, head in heads]
    if parts == "patch":
        parts = [Part(patch=patch) for patch in range(_needed(grid).num_patches)]
    elif isinstance(parts, str):
        raise ConfigError(f"parts must be {', '.join(get_args(Every))}, or Parts, got {parts!r}")
    for part in parts:
        if part.layer is not None and part.layer not in layers:
            raise CaptureError(
                f"no attention named {part.layer!r}; expected one of {', '.join(layers)}"
            )
        if part.patch is not None and part.patch >= _needed(grid).num_patches:
            last = _needed(grid).num_patches - 1
            raise InputError(f"the grid has patches 0 … {last}, got {part.patch}")
        for record in [layers[part.layer]] if part.layer else layers.values():
            last = record.shape[-3] - 1
            if part.head is not None and part.head > last:
                raise InputError(f"{record.name} has heads 0 … {last}, got {part.head}")
            if part.patch is not None:
                check_tokens(_needed(grid), record.key.shape[-2], record.name)
    return parts


def _needed(grid: Grid | None) -> Grid:
    if grid is None:
        raise ConfigError("to remove a patch, give the grid of patches: grid=grid_of(model)")
    return grid


def _with_value(record: AttentionRecord, key: int, value: Tensor) -> Tensor:
    """The output with another value at one key: exact, because the output is linear in V."""
    change = torch.zeros_like(record.value)
    change[..., key, :] = value[..., key, :] - record.value[..., key, :]
    return record.output + replace(record, value=change).context_from(record.applied_weights)


def _without_key(record: AttentionRecord, key: int) -> Tensor:
    """The context with one key masked; zeros where no other key is left."""
    masked = record.masked.clone()
    masked[..., key] = -inf
    return record.context_from(record.applied_weights_from(attention.weights(masked)))


def _by_image(
    x: Tensor, images: int, name: str
) -> Float[Tensor, "images windows heads tokens value_dim"]:
    """A tensor with an axis for the images, and one for the windows of each image."""
    count = x.shape[:-3].numel()
    if count % images:
        raise InputError(
            f"{name} has {count} matrices for each head and {images} images, which cannot be "
            "assigned to images"
        )
    return x.reshape(images, count // images, *x.shape[-3:])


def _compare(
    part: Part,
    method: Method,
    labels: Int[Tensor, " batch"],
    before: Float[Tensor, "batch classes"],
    after: Float[Tensor, "batch classes"],
    confidence: float,
) -> Ablation:
    old, new = before.argmax(1), after.argmax(1)
    right, still_right = old == labels, new == labels
    lost, gained = int((right & ~still_right).sum()), int((~right & still_right).sum())
    falls = (before - after).gather(1, labels[:, None])[:, 0]
    return Ablation(
        part=part,
        method=method,
        total=len(labels),
        correct=int(right.sum()),
        lost=lost,
        gained=gained,
        changed=int((old != new).sum()),
        drop=(lost - gained) / len(labels),
        interval=paired_proportion_interval(lost, gained, len(labels), confidence),
        probability_drop=float(falls.mean()),
        probability_interval=mean_interval(falls, confidence),
    )
