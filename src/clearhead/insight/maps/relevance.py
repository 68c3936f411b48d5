"""Gradient-weighted relevance: which tokens spoke for one class."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead.errors import InputError
from clearhead.inference import evaluation_mode
from clearhead.insight.maps.rollout import Readout, check_same_tokens, read_out, square_weights
from clearhead.recording._capture import Layers, capture
from clearhead.recording._record import AttentionRecord
from clearhead.recording._recording import Recording
from clearhead.recording._steps import run

Inputs = Tensor | Mapping[str, Any]
Score = Callable[[Any], Float[Tensor, " batch"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Relevance:
    """What spoke for the score of each image.

    `matrix` is R without the identity: row i holds what reached token i through attention.
    `tokens` is the row, or the mean of the rows, that the answer is read from (`readout`).
    Both are in units of the score, at least 0, and sum to nothing in particular.
    """

    score: Float[Tensor, " batch"]
    target: Int[Tensor, " batch"] | None
    matrix: Float[Tensor, "batch tokens tokens"]
    tokens: Float[Tensor, "batch tokens"]
    readout: tuple[int, ...]


def class_relevance(
    model: nn.Module,
    inputs: Inputs,
    target: int | Sequence[int] | Int[Tensor, " batch"] | None = None,
    *,
    layers: Layers = None,
    score: Score | None = None,
    readout: Readout | None = None,
) -> Relevance:
    """Which tokens spoke for a class, in any self-attention model.

    Starting from R = I, each layer adds what its attention carried: R ← R + Ā R, where
    Ā = mean over heads of (∂y/∂A ⊙ A)⁺ and y is the score of the class (Chefer, Gur & Wolf 2021,
    "Generic Attention-model Explainability", arXiv 2103.15679, equations 5 and 6).

    `inputs` are what the model takes: a tensor, or arguments by name. `target` is a class for all
    images or one for each; by default the class that the model answers. `score` makes y from the
    model's output where that is no tensor of logits and has no `.logits`. `readout` says which
    tokens the answer is read from; by default those whose output in the last layer moves y.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be an nn.Module, got a {type(model).__name__}")
    with evaluation_mode(model), _graph(model), capture(layers, gradients=True) as seen:
        output = model(**inputs) if isinstance(inputs, Mapping) else model(_plain(inputs))
        chosen = None if score is not None else _target(logits_of(output), target)
        y = score(output) if score is not None else _logit(logits_of(output), chosen)
    found = relevance_of(y, seen, readout=readout)
    return Relevance(
        score=found.score,
        target=chosen,
        matrix=found.matrix,
        tokens=found.tokens,
        readout=found.readout,
    )


def relevance_of(
    score: Float[Tensor, " batch"], seen: Recording, *, readout: Readout | None = None
) -> Relevance:
    """The same from a block `capture(gradients=True)` and a score of each image made inside it."""
    gradients = output_gradients(score, seen)
    flow: Tensor | None = None
    for record, gradient in zip(seen.records, gradients, strict=True):
        weights = square_weights(record).detach()
        step = positive_part(weights, weight_gradient(record, gradient))
        identity = torch.eye(step.shape[-1], dtype=step.dtype, device=step.device)
        if flow is None:
            flow = identity.expand_as(step)
        check_same_tokens(step, flow, record.name)
        flow = flow + step @ flow
    assert flow is not None  # noqa: S101, a capture is never empty here
    matrix = flow - identity
    read = _read_tokens(gradients[-1]) if readout is None else _places(readout, matrix.shape[-1])
    return Relevance(
        score=score.detach(),
        target=None,
        matrix=matrix,
        tokens=read_out(matrix, read),
        readout=tuple(read),
    )


def positive_part(
    weights: Float[Tensor, "batch heads tokens tokens"],
    gradient: Float[Tensor, "batch heads tokens tokens"],
) -> Float[Tensor, "batch tokens tokens"]:
    """Mean over heads of (gradient ⊙ weights)⁺: what attention added to the score."""
    return (gradient.double() * weights.double()).clamp_min(0.0).mean(dim=1)


def weight_gradient(
    record: AttentionRecord, output_gradient: Float[Tensor, "*batch heads queries value_dim"]
) -> Float[Tensor, "*batch heads queries keys"]:
    """∂y/∂weights = ∂y/∂output · Vᵀ, because output = weights · V.

    Where a model changes its weights on their way to the values (mixing heads), the gradient goes
    back through that as well.
    """
    weights = record.weights.detach()
    value = record.value.detach().to(weights)
    if record.enable_gqa:
        value = value.repeat_interleave(weights.shape[-3] // value.shape[-3], dim=-3)
    applied = output_gradient.to(weights) @ value.transpose(-2, -1)
    if not record.post_softmax:
        return applied
    with torch.enable_grad():
        leaf = weights.requires_grad_()
        (gradient,) = torch.autograd.grad(run(record.post_softmax, leaf), leaf, applied)
    return gradient


def output_gradients(score: Float[Tensor, " batch"], seen: Recording) -> tuple[Tensor, ...]:
    """∂y/∂output of every captured attention, (batch, heads, queries, value_dim)."""
    if score.dim() != 1:
        raise InputError(f"score must be one number for each image, got {tuple(score.shape)}")
    produced = [record.raw_output for record in seen.records]
    if not score.requires_grad or not all(x.requires_grad for x in produced):
        raise InputError(
            "there is no graph to take gradients in; run the model inside "
            "capture(gradients=True), without torch.no_grad, with parameters that require gradients"
        )
    with torch.inference_mode(False):
        ones = torch.ones_like(score)
        gradients = torch.autograd.grad(score, produced, ones, allow_unused=True)
    for record, gradient in zip(seen.records, gradients, strict=True):
        if gradient is None:
            raise InputError(
                f"the score does not depend on {record.name}; choose other layers: "
                "capture(layers=..., gradients=True)"
            )
    pairs = zip(seen.records, gradients, strict=True)
    return tuple(record.layout.canonical(gradient) for record, gradient in pairs)


def logits_of(output: Any) -> Float[Tensor, "batch classes"]:
    """The logits of what a model gives: a tensor, or an object that has them as `.logits`."""
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(output).__name__
        raise InputError(
            f"expected logits of shape (batch, classes), got {got}; give score=..., a function "
            "from the model's output to one number for each image"
        )
    return logits


def _target(logits: Tensor, target: int | Sequence[int] | Tensor | None) -> Int[Tensor, " batch"]:
    if target is None:
        return logits.detach().argmax(dim=1)
    chosen = torch.as_tensor(target, device=logits.device)
    if chosen.dim() == 0:
        chosen = chosen.expand(len(logits))
    classes = logits.shape[1]
    if chosen.shape != logits.shape[:1] or chosen.is_floating_point():
        raise InputError(
            f"target must be one class, or one for each of {len(logits)} images, got {target}"
        )
    if not bool(((chosen >= 0) & (chosen < classes)).all()):
        raise InputError(f"target must lie in 0 … {classes - 1}, got {target}")
    return chosen.long()


def _logit(logits: Tensor, target: Tensor | None) -> Tensor:
    assert target is not None  # noqa: S101, the caller gives one wherever it gives no score
    return logits.gather(1, target[:, None])[:, 0]


def _read_tokens(gradient: Float[Tensor, "batch heads queries value_dim"]) -> list[int]:
    moves = (gradient != 0).any(dim=-1).flatten(0, 1).any(dim=0)
    places: list[int] = moves.nonzero()[:, 0].tolist()
    return places or list(range(len(moves)))


def _places(readout: Readout, count: int) -> list[int]:
    if readout == "mean":
        return list(range(count))
    return [readout] if isinstance(readout, int) else list(readout)


def _plain(inputs: Tensor) -> Tensor:
    return inputs.clone() if inputs.is_inference() else inputs


@contextmanager
def _graph(model: nn.Module) -> Iterator[None]:
    """Gradients on, through frozen parameters too, which are frozen again afterwards."""
    parameters = [x for x in model.parameters() if x.is_floating_point()]
    frozen = [] if any(x.requires_grad for x in parameters) else parameters
    with torch.inference_mode(False), torch.enable_grad():
        for parameter in frozen:
            parameter.requires_grad_(True)
        try:
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
