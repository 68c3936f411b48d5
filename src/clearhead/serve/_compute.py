"""Predictions and attention for several requests in one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.data import normalize
from clearhead.errors import InputError, NothingCapturedError
from clearhead.inference import EngineModel, ModelLike, Prediction, predict_inputs
from clearhead.recording import capture
from clearhead.serve._bodies import Decoded


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The predictions for one request, and the attention weights in float64."""

    predictions: tuple[Prediction, ...]
    attention: Float[Tensor, "images layers heads queries keys"] | None = None


def compute(model: ModelLike, batch: Sequence[Decoded]) -> list[Result | Exception]:
    """Results of a batch in one forward pass; after a failure, of each request alone.

    An image that makes the forward pass fail thus fails only its own request.
    """
    try:
        return list(_forward(model, batch))
    except Exception as error:  # noqa: BLE001 - raised in the request that it belongs to
        if len(batch) == 1:
            return [error]
        return [result for request in batch for result in compute(model, [request])]


def _forward(model: ModelLike, batch: Sequence[Decoded]) -> list[Result]:
    predictions = iter(predict_inputs(model, [item for x in batch for item in x.inputs]))
    explained = [item.pixels for x in batch if x.explain for item in x.inputs]
    attention = iter(attention_weights(model, torch.stack(explained)) if explained else ())
    results = []
    for request in batch:
        count = len(request.inputs)
        weights = torch.stack([*islice(attention, count)]) if request.explain else None
        results.append(Result(predictions=tuple(islice(predictions, count)), attention=weights))
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
