"""Predictions and attention for several requests in one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.data import normalize
from clearhead.errors import InputError, NothingCapturedError
from clearhead.inference import EngineModel, ModelInput, ModelLike, Prediction, predict_inputs
from clearhead.recording import capture


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """The model inputs of one request, and whether their attention is wanted too."""

    inputs: tuple[ModelInput, ...]
    explain: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The predictions for one request, and the attention weights in float64."""

    predictions: tuple[Prediction, ...]
    attention: Float[Tensor, "images layers heads queries keys"] | None = None


def compute(model: ModelLike, batch: Sequence[Work]) -> list[Result | Exception]:
    """Results of a batch in one forward pass; after a failure, of each request alone.

    An image that makes the forward pass fail thus fails only its own request.
    """
    try:
        return list(_forward(model, batch))
    except Exception as error:  # noqa: BLE001 - raised in the request that it belongs to
        if len(batch) == 1:
            return [error]
        return [result for work in batch for result in compute(model, [work])]


def _forward(model: ModelLike, batch: Sequence[Work]) -> list[Result]:
    predictions = iter(predict_inputs(model, [item for work in batch for item in work.inputs]))
    explained = [item.pixels for work in batch if work.explain for item in work.inputs]
    attention = iter(attention_weights(model, torch.stack(explained)) if explained else ())
    results = []
    for work in batch:
        count = range(len(work.inputs))
        weights = torch.stack([next(attention) for _ in count]) if work.explain else None
        results.append(
            Result(predictions=tuple(next(predictions) for _ in count), attention=weights)
        )
    return results


def attention_weights(
    model: ModelLike, images: UInt8[Tensor, "images channels height width"]
) -> Float[Tensor, "images layers heads queries keys"]:
    """The attention weights of all layers and heads, in float64 on the CPU; by torch."""
    model = model.model if isinstance(model, EngineModel) else model
    like = next(model.parameters())
    try:
        with torch.inference_mode(), capture() as recording:
            model(normalize(images.to(like.device), model.config).to(like.dtype))
    except NothingCapturedError as error:
        raise InputError(f"a {type(model).__name__} has no attention to explain") from error
    return torch.stack([weights.double().cpu() for weights in recording.to_hf()], dim=1)
