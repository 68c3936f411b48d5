"""What takes the place of a part of the attention that is removed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead import attention
from clearhead.errors import ConfigError, InputError
from clearhead.insight.ablation.parts import Part
from clearhead.insight.answers import Model, probabilities
from clearhead.recording._capture import Change, intervene
from clearhead.recording._record import AttentionRecord
from clearhead.recording._steps import run

# "mean": the mean over the reference images; "zero": zeros; "mask" (patches only): no query may
# look at the patch, and the softmax shares its weight among the other keys.
Method = Literal["mean", "zero", "mask"]


@dataclass(frozen=True, kw_only=True)
class Means:
    """The mean of each attention's output and values over the reference images, by name.

    The first axis holds what one image has more than one of, such as windows.
    """

    outputs: Mapping[str, Float[Tensor, "windows heads queries value_dim"]]
    values: Mapping[str, Float[Tensor, "windows kv_heads keys value_dim"]]


def reference_means(model: Model, reference: Tensor, *, batch_size: int = 250) -> Means:
    """One pass over the reference images, summed in float64."""
    outputs: dict[str, Tensor] = {}
    values: dict[str, Tensor] = {}

    def watching(images: int) -> Change:
        def add(record: AttentionRecord) -> None:
            for sums, x in ((outputs, record.output), (values, record.value)):
                part = by_image(x, images, record.name).double().sum(0)
                sums[record.name] = _sum(sums.get(record.name), part, record.name)

        return add

    probabilities(
        model,
        reference,
        batch_size=batch_size,
        around=lambda images: intervene(watching(images)),
    )
    count = len(reference)
    return Means(
        outputs={name: x / count for name, x in outputs.items()},
        values={name: x / count for name, x in values.items()},
    )


def removing(
    part: Part, method: Method, means: Means | None, first_patch: int, images: int
) -> Change:
    """The change that removes a part from a batch of so many images.

    `first_patch` is the place of the first patch among the keys. "mean" needs `means`.
    """
    if method == "mean" and means is None:
        raise ConfigError('method="mean" needs means: reference_means(model, reference)')
    means = means if method == "mean" else None

    def change(record: AttentionRecord) -> Tensor | None:
        if part.layer is not None and record.name != part.layer:
            return None
        if part.patch is None:
            new = _mean(means.outputs, record) if means else None
            return _without_output(record, part.head, new, images)
        key = first_patch + part.patch
        if method == "mask":
            return _only(part.head, record.output, _without_key(record, key))
        new = _mean(means.values, record) if means else None
        return _only(part.head, record.output, _without_value(record, key, new, images))

    return change


def by_image(
    x: Tensor, images: int, name: str
) -> Float[Tensor, "images windows heads tokens value_dim"]:
    """One axis for the images and one for what each has several of, the images first."""
    count = x.shape[:-3].numel()
    if count % images:
        raise InputError(
            f"{name} has {count} matrices a head for {images} images, which cannot be told apart "
            "by image"
        )
    return x.reshape(images, count // images, *x.shape[-3:])


def _without_output(
    record: AttentionRecord, head: int | None, new: Tensor | None, images: int
) -> Tensor:
    """The output with one head's part (or all of it) replaced for every query."""
    output = record.output
    if new is None:
        return _only(head, output, torch.zeros_like(output))
    whole = new.expand(images, *new.shape).reshape(output.shape)
    return _only(head, output, whole)


def _without_value(record: AttentionRecord, key: int, new: Tensor | None, images: int) -> Tensor:
    """The output plus weights · (new value - value) at one key: exact, since it is linear in V."""
    change = torch.zeros_like(record.value)
    change[..., key, :] = -record.value[..., key, :]
    if new is not None:
        whole = new.expand(images, *new.shape).reshape(record.value.shape)
        change[..., key, :] += whole[..., key, :]
    return record.output + replace(record, value=change).context_from(record.applied_weights)


def _without_key(record: AttentionRecord, key: int) -> Tensor:
    """The context when the softmax never saw the key; zeros where no other key is left."""
    masked = record.masked.clone()
    masked[..., key] = -inf
    return record.context_from(run(record.post_softmax, attention.weights(masked)))


def _only(head: int | None, output: Tensor, changed: Tensor) -> Tensor:
    """The change in one head, the rest as it was; all of the change for no head."""
    if head is None:
        return changed
    whole = output.clone()
    whole[..., head, :, :] = changed[..., head, :, :]
    return whole


def _mean(means: Mapping[str, Tensor], record: AttentionRecord) -> Tensor:
    mean = means[record.name]
    return mean.to(record.output.device, record.output.dtype)


def _sum(before: Tensor | None, part: Tensor, name: str) -> Tensor:
    if before is not None and before.shape != part.shape:
        raise InputError(
            f"{name} has outputs of different sizes, {tuple(before.shape)} and "
            f"{tuple(part.shape)}, whose mean is not defined; give images of one size"
        )
    return part if before is None else before + part
