"""Logits, probabilities and scores of any image model, in evaluation mode without gradients."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead.errors import ConfigError, InputError
from clearhead.inference import evaluation_mode

# Returns logits, or an object that has them as `.logits`.
Model = Callable[..., Any]

# Returns the context manager in which a batch is run, such as an intervention.
Around = Callable[[], AbstractContextManager[None]]

# What is measured of one class: its logit; log(p / (1 - p)); or its probability p.
Score = Literal["log-odds", "logit", "probability"]

NOT_FINITE = "the model gave NaN or infinite logits"
INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
# One class for all images, or one for each.
Classes = int | Sequence[int] | Int[Tensor, " batch"]


def class_of_each(classes: Classes, images: int) -> Int[Tensor, " batch"]:
    """The class of each image; `InputError` unless there is one for all or one for each."""
    try:
        numbers = torch.as_tensor(classes)
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.empty(0)
    if numbers.dim() == 0:
        numbers = numbers.expand(images)
    if numbers.shape != (images,) or numbers.dtype not in INTEGERS:
        got = tuple(classes.shape) if isinstance(classes, Tensor) else classes
        raise InputError(f"expected one class, or one for each of {images} images, got {got}")
    return numbers.long()


def class_logits(
    logits: Float[Tensor, "batch classes"], classes: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """The logit of one class of each image; `InputError` if there is none, or it is not finite."""
    count = logits.shape[1]
    wrong = classes[(classes < 0) | (classes >= count)]
    if len(wrong) or classes.shape != logits.shape[:1]:
        got = wrong.unique().tolist() if len(wrong) else f"{tuple(classes.shape)} classes"
        raise InputError(f"expected a class from 0 to {count - 1} for each image, got {got}")
    chosen = logits.gather(1, classes.to(logits.device)[:, None])[:, 0]
    check_finite(chosen, NOT_FINITE)
    return chosen


def check_finite(x: Float[Tensor, "batch ..."], what: str) -> None:
    """Raise `InputError`, which names the first image, unless all numbers are finite."""
    right = x.detach().isfinite()[:, None].flatten(1).all(dim=1)
    if not bool(right.all()):
        raise InputError(f"{what}, first for image {int((~right).nonzero()[0])}")


def class_scores(
    logits: Float[Tensor, "batch classes"], classes: Int[Tensor, " batch"], score: Score
) -> Float[Tensor, " batch"]:
    """The score of one class of each image.

    The log-odds, log(p / (1 - p)) = z_c - log Σ_{k≠c} exp(z_k), do not change when a constant is
    added to all logits, as the logit does, and do not saturate near 1, as the probability does.
    """
    chosen = class_logits(logits, classes)
    if score == "logit":
        return chosen
    if score == "probability":
        return class_logits(logits.softmax(1), classes)
    if logits.shape[1] < 2:
        raise InputError('log-odds need at least two classes, got one; give score="logit"')
    return chosen - logits.scatter(1, classes[:, None], -torch.inf).logsumexp(1)


def probabilities(
    model: Model, images: Tensor, *, batch_size: int = 250, around: Around | None = None
) -> Float[Tensor, "batch classes"]:
    """softmax(logits) in float64, on the CPU, from `model_logits`."""
    return model_logits(model, images, batch_size=batch_size, around=around).softmax(dim=1)


def model_logits(
    model: Model, images: Tensor, *, batch_size: int = 250, around: Around | None = None
) -> Float[Tensor, "batch classes"]:
    """The logits in float64, on the CPU; `InputError` unless they are finite.

    A module runs in evaluation mode on its own device. `images` are model inputs, normalised
    already; `around()` returns the context manager of each forward pass.
    """
    if not len(images):
        raise InputError("expected at least one image, got none")
    parts = []
    with evaluation_mode(model), torch.no_grad():
        for batch in batches(images, batch_size):
            batch = on_device_of(model, batch)  # outside the context, which may intercept it
            with around() if around is not None else nullcontext():
                output = model(batch)
            parts.append(logits_of(output, len(batch)).cpu().double())
    logits = torch.cat(parts)
    check_finite(logits, NOT_FINITE)
    return logits


def logits_of(
    output: Any,
    batch: int | None = None,
    *,
    advice: str = "wrap the model in a function that returns its logits",
) -> Float[Tensor, "batch classes"]:
    """The logits in a model's output: a tensor, or an object that has them as `.logits`.

    Raises `InputError`, which ends with `advice`, unless they are of shape (batch, classes).
    """
    logits = getattr(output, "logits", output)
    if isinstance(logits, Tensor) and logits.dim() == 2 and batch in (None, len(logits)):
        return logits
    got = tuple(logits.shape) if isinstance(logits, Tensor) else type(output).__name__
    raise InputError(
        f"expected logits of shape ({batch or 'batch'}, classes), or an object that has them as "
        f".logits, got {got}; {advice}"
    )


def batches(images: Tensor, batch_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """The images (or other values, one for each) in batches of at most that size."""
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    parts: tuple[Tensor, ...] = images.split(batch_size, dim)
    return parts


def on_device_of(model: Model, x: Tensor) -> Tensor:
    """The tensor on the device of a module; floats also in the dtype that its parameters share.

    Where parameters differ in dtype, the tensor keeps its own; for other callables, it keeps device
    and dtype. Inference tensors are copied, because autograd cannot use them.
    """
    x = x.clone() if x.is_inference() else x
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    types = {dtype for dtype in {y.dtype for y in parameters} if dtype.is_floating_point}
    floats = x.is_floating_point() and len(types) == 1
    return x.to(
        parameters[0].device if parameters else x.device, types.pop() if floats else x.dtype
    )


@contextmanager
def eager() -> Iterator[None]:
    """Run compiled models eagerly, so that hooks and recordings include each layer."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
