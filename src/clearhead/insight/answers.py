"""What any image model answers: probabilities, batch by batch, one mode and no gradients."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.errors import ConfigError, InputError
from clearhead.inference import evaluation_mode

# Gives logits, or an object that has them as `.logits`.
Model = Callable[..., Any]

# What a batch of so many images is answered in: nothing, or an intervention.
Around = Callable[[int], AbstractContextManager[None]]


def probabilities(
    model: Model, images: Tensor, *, batch_size: int = 250, around: Around | None = None
) -> Float[Tensor, "batch classes"]:
    """softmax(logits) in float64, on the CPU.

    `images` are what the model takes, normalised already. A module runs in evaluation mode, on its
    device, and each of its parts gets its own mode back. Raises `InputError` if it gives no finite
    logits.
    """
    if not len(images):
        raise InputError("nothing to answer: there are no images")
    around = around or _nothing
    parts = []
    with evaluation_mode(model), torch.no_grad():
        for batch in batches(images, batch_size):
            with around(len(batch)):
                answer = model(batch.to(device_of(model, batch)))
            parts.append(_logits(answer, len(batch)).cpu().double())
    logits = torch.cat(parts)
    if not logits.isfinite().all():
        first = int((~logits.isfinite()).any(dim=1).nonzero()[0])
        raise InputError(f"the model gave NaN or infinite logits, first for image {first}")
    return logits.softmax(dim=1)


def batches(images: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """The images (or what there is one of for each) in parts of at most that many."""
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    parts: tuple[Tensor, ...] = images.split(batch_size)
    return parts


def device_of(model: Model, images: Tensor) -> torch.device:
    """Where a module's parameters are; for other callables, where the images are."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return images.device if first is None else first.device


def _nothing(images: int) -> AbstractContextManager[None]:
    return nullcontext()


def _logits(answer: Any, images: int) -> Tensor:
    logits = getattr(answer, "logits", answer)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != images:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(answer).__name__
        raise InputError(
            f"the model must give logits of shape ({images}, classes), or an object that has them "
            f"as .logits, got {got}; wrap it in a function that gives its logits"
        )
    return logits
