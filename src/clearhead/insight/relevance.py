"""Relevance of tokens for one class, and the traces that it is computed from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clearhead.errors import InputError
from clearhead.inference import evaluation_mode
from clearhead.insight.forward import (
    Classes,
    check_finite,
    class_logits,
    class_of_each,
    eager,
    logits_of,
    on_device_of,
)
from clearhead.insight.propagation import Readout, read_out, readout_mask, square_layers
from clearhead.recording import AttentionRecord, Layers, Recording, capture

Inputs = Tensor | Mapping[str, Any]
Score = Callable[[Any], Float[Tensor, " batch"]]
Call = tuple[nn.Module, Tensor, Tensor]  # a module, its first argument and its first output
OVERFLOW = "the map or its gradients are NaN or infinite (in half precision, try float32)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Relevance:
    """Relevance of tokens for the score of each image, in units of the score; at least 0.

    Attributes:
        score: The score y, such as the logit of the class.
        target: The class; None where a function computed the score.
        matrix: R - I: row i is the relevance of each input token for token i of the last layer.
        tokens: The mean of the rows of the tokens in `readout`.
        readout: True for the tokens from which the model computes its output.
    """

    score: Float[Tensor, " batch"]
    target: Int[Tensor, " batch"] | None
    matrix: Float[Tensor, "batch tokens tokens"]
    tokens: Float[Tensor, "batch tokens"]
    readout: Bool[Tensor, "batch tokens"]

    def __repr__(self) -> str:
        batch, tokens = self.tokens.shape
        return f"Relevance({batch} images, {tokens} tokens)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """A forward pass with gradients; each layer is computed from the output of the one before.

    Attributes:
        score: The score y of each image, such as the logit of a class.
        records: The attention of each layer.
        gradients: ∂y/∂output of each layer.
        classes: The class; None where a function computed the score.
        calls: The calls of the modules that `trace_model` was asked to observe.
    """

    score: Float[Tensor, " batch"]
    records: Sequence[AttentionRecord]
    gradients: Sequence[Float[Tensor, "batch heads queries value_dim"]]
    classes: Int[Tensor, " batch"] | None = None
    calls: Sequence[Call] = ()

    @property
    def readout(self) -> Bool[Tensor, "batch queries"]:
        """True for tokens with a gradient in the last layer; for all of an image if none has."""
        check_finite(self.gradients[-1], OVERFLOW)
        nonzero = (self.gradients[-1] != 0).any(dim=-1).any(dim=1)
        return nonzero | ~nonzero.any(dim=1, keepdim=True)

    def contributions(self) -> Iterator[Float[Tensor, "batch heads tokens tokens"]]:
        """(∂y/∂A ⊙ A)⁺ of each layer, in float64."""
        layers = zip(square_layers(self.records), self.records, self.gradients, strict=True)
        for (_, weights), record, gradient in layers:
            change = weight_gradient(record, gradient).double()
            yield (change * weights.detach()).clamp_min(0.0)

    def relevance(self) -> Float[Tensor, "batch tokens tokens"]:
        """R - I of `class_relevance`."""
        steps = (x.mean(dim=1) for x in self.contributions())
        # (I + step) (I + matrix) - I
        return reduce(lambda matrix, step: matrix + step + step @ matrix, steps)


@torch.inference_mode(mode=False)
def class_relevance(
    model: nn.Module,
    inputs: Inputs,
    target: Classes | None = None,
    *,
    layers: Layers = None,
    score: Score | None = None,
    readout: Readout | None = None,
) -> Relevance:
    """The relevance of each token for the score of a class, in any self-attention model.

    Starting from R = I, each layer updates R ← R + Ā R, where Ā is the mean over heads of
    (∂y/∂A ⊙ A)⁺ and y is the score of the class (Chefer, Gur & Wolf 2021, "Generic
    Attention-model Explainability", arXiv 2103.15679, equations 5 and 6).

    Args:
        model: The model; it runs in evaluation mode.
        inputs: Normalised images of shape (batch, channels, height, width), or a dictionary of the
            model's arguments; tensors are moved to the model's device, and floats cast to its type.
        target: A class for all inputs, or one for each, of shape (batch,); by default the predicted
            class.
        layers: The layers to record, as in `capture`; by default all.
        score: Function from the model's output to the scores, of shape (batch,); needed where the
            output is neither logits nor an object with `.logits`.
        readout: The tokens from which the model computes its output: an index, several, or "mean"
            for all; by default those whose output in the last layer has a gradient.

    Returns:
        The relevance of each token, of shape (batch, tokens), with the matrix R - I, of shape
        (batch, tokens, tokens), and the scores.

    Raises:
        InputError: If the output is not logits, `target` is not a class, the layers attend to
            different tokens, a layer is not computed from the output of the one before, or the
            score or its gradients are not finite.
    """
    return _of_trace(trace_model(model, inputs, target, layers=layers, score=score), readout)


def relevance_of(
    score: Float[Tensor, " batch"], recording: Recording, *, readout: Readout | None = None
) -> Relevance:
    """`class_relevance` for a score of each image, computed inside `capture(gradients=True)`.

    Raises `InputError` as `class_relevance`, and if the score has no gradient with respect to a
    recorded layer.
    """
    return _of_trace(trace_score(score, recording.records), readout)


def _of_trace(trace: Trace, readout: Readout | None) -> Relevance:
    matrix = trace.relevance()
    check_finite(matrix, OVERFLOW)
    readout = trace.readout if readout is None else readout
    return Relevance(
        score=trace.score,
        target=trace.classes,
        matrix=matrix,
        tokens=read_out(matrix, readout),
        readout=readout_mask(matrix, readout),
    )


def trace_model(
    model: nn.Module,
    inputs: Inputs,
    target: Classes | None,
    *,
    layers: Layers,
    score: Score | None = None,
    skip_unused: bool = False,
    observed: type[nn.Module] | tuple[()] = (),
    retain_graph: bool = False,
) -> Trace:
    """One forward pass with gradients, as `class_relevance` runs it.

    Args:
        model: As in `class_relevance`.
        inputs: As in `class_relevance`.
        target: As in `class_relevance`.
        layers: As in `class_relevance`.
        score: As in `class_relevance`.
        skip_unused: Leave out layers that the score does not depend on, instead of an error.
        observed: The type of the modules whose calls are collected; by default none.
        retain_graph: Keep the autograd graph, for gradients of other scores.
    """
    check_module(model)
    named = {"": inputs} if isinstance(inputs, Tensor) else inputs
    named = {k: on_device_of(model, x) if isinstance(x, Tensor) else x for k, x in named.items()}
    classes = None
    with (
        evaluation_mode(model),
        gradients_on(model),
        _calls_of(model, observed) as calls,
        capture(layers, gradients=True) as recording,
    ):
        output = model(*named.values()) if isinstance(inputs, Tensor) else model(**named)
        if score is None:
            logits = logits_of(
                output, advice="give score=..., a function from the output to a score for each"
            )
            if target is None:
                target = logits.detach().argmax(dim=1)
            classes = on_device_of(model, class_of_each(target, len(logits)))
            y = class_logits(logits, classes)
        else:
            y = score(output)
    trace = trace_score(y, recording.records, skip_unused=skip_unused, retain_graph=retain_graph)
    return replace(trace, classes=classes, calls=calls)


def check_module(model: object) -> None:
    """Raise `InputError` unless the model is a module: a function has no layers to inspect."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be an nn.Module, got a {type(model).__name__}")


def trace_score(
    score: Float[Tensor, " batch"],
    records: Sequence[AttentionRecord],
    *,
    skip_unused: bool = False,
    retain_graph: bool = False,
) -> Trace:
    """The trace of a score that was computed inside `capture(gradients=True)`.

    `skip_unused` leaves out the layers that the score does not depend on; without it, they raise
    `InputError`, as do other scores and layers that `class_relevance` rejects.
    """
    if score.dim() != 1:
        raise InputError(f"score must be one number for each image, got {tuple(score.shape)}")
    check_finite(score, "the score is NaN or infinite")
    outputs = [record.raw_output for record in records]
    without = [record.name for record in records if not record.raw_output.requires_grad]
    if without or not score.requires_grad:
        raise InputError(
            f"no gradient of {', '.join(without) or 'the score'}; run the model inside "
            "capture(gradients=True), without torch.no_grad or reentrant checkpoints, with "
            "parameters that require gradients"
        )
    with torch.inference_mode(False):
        ones = torch.ones_like(score)
        gradients = torch.autograd.grad(
            score, outputs, ones, allow_unused=True, retain_graph=retain_graph
        )
    used = [(x, y) for x, y in zip(records, gradients, strict=True) if y is not None]
    if not used or (not skip_unused and len(used) < len(records)):
        unused = next(x for x, y in zip(records, gradients, strict=True) if y is None)
        raise InputError(
            f"the score does not depend on {unused.name}; choose other layers: "
            "capture(layers=..., gradients=True)"
        )
    _check_sequence([record for record, _ in used], len(score))
    return Trace(
        score=score.detach(),
        records=tuple(x for x, _ in used),
        gradients=tuple(x.layout.canonical(y) for x, y in used),
    )


def _check_sequence(records: Sequence[AttentionRecord], images: int) -> None:
    """Raise `InputError` unless each layer is computed from the output of the one before."""
    for record in records:
        if record.shape[0] != images:
            raise InputError(
                f"{record.name} has a batch of {record.shape[0]} for {images} images; choose "
                "layers without windows, and a model that runs once for each image"
            )
    for before, after in pairwise(records):
        inputs = (after.query, after.key, after.value)
        if not any(_depends_on(x, before.raw_output) for x in inputs):
            raise InputError(
                f"{after.name} is not computed from the output of {before.name}, as in parallel "
                "layers and in several forward passes; choose layers that follow one another: "
                "layers=[0, 1, ...]"
            )


def _depends_on(x: Tensor, source: Tensor) -> bool:
    """Whether a tensor is computed from another one, according to the autograd graph."""
    seen: set[Any] = set()
    waiting = [x.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is source.grad_fn:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return False


def weight_gradient(
    record: AttentionRecord, output_gradient: Float[Tensor, "*batch heads queries value_dim"]
) -> Float[Tensor, "*batch heads queries keys"]:
    """∂y/∂weights = ∂y/∂output · Vᵀ, because output = weights · V.

    Where a model changes its weights before it multiplies them with the values (such as by mixing
    heads), the gradient is propagated through that as well. Keys that are not tokens are left out.
    """
    weights = record.weights.detach()
    value = record.expanded_heads()[1].detach().to(weights)
    applied = output_gradient.to(weights) @ value.transpose(-2, -1)
    if not record.post_softmax:
        return applied
    with torch.enable_grad():
        leaf = weights.requires_grad_()
        (gradient,) = torch.autograd.grad(record.applied_weights_from(leaf), leaf, applied)
    return record.on_tokens(gradient)


@contextmanager
def _calls_of(model: nn.Module, module_type: type[nn.Module] | tuple[()]) -> Iterator[list[Call]]:
    """Collect the calls of all modules of a type."""
    calls: list[Call] = []

    def keep(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        first = [*args, *named.values(), None][0]
        result = output[0] if isinstance(output, tuple | list) and output else output
        if isinstance(first, Tensor) and isinstance(result, Tensor):
            calls.append((module, first, result))

    with ExitStack() as hooks:
        for module in (x for x in model.modules() if isinstance(x, module_type)):
            hooks.enter_context(module.register_forward_hook(keep, with_kwargs=True))
        yield calls


def pixel_gradient(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    classes: Int[Tensor, " batch"],
) -> Float[Tensor, "batch channels height width"]:
    """The gradient of the logit of each image's class with respect to its pixels.

    Meanwhile parameters require no gradient, so that only what depends on the image has one.
    """
    with evaluation_mode(model), gradients_on(model, of_parameters=False):
        pixels = images.detach().clone().requires_grad_()
        y = class_logits(logits_of(model(pixels)), classes)
        (gradient,) = torch.autograd.grad(y.sum(), pixels)
    return gradient


@contextmanager
def gradients_on(model: nn.Module, *, of_parameters: bool = True) -> Iterator[None]:
    """Gradients on inside the block, of all parameters or of none; compiled models run eagerly."""
    if any(x.is_inference() for x in model.parameters()):
        raise InputError(
            "the model was made inside torch.inference_mode, so its parameters have no gradients; "
            "make or load it outside"
        )
    changed = [
        x for x in model.parameters() if x.is_floating_point() and x.requires_grad != of_parameters
    ]
    with torch.inference_mode(False), torch.enable_grad(), eager():
        for parameter in changed:
            parameter.requires_grad_(of_parameters)
        try:
            yield
        finally:
            for parameter in changed:
                parameter.requires_grad_(not of_parameters)
