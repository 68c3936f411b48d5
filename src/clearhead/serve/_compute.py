"""In a model process: bodies decoded, predictions and attention for all in one forward pass."""

import json
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import islice, pairwise
from typing import Any, NamedTuple

import torch
from fastapi import HTTPException
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from clearhead.data import normalize
from clearhead.errors import InputError, NothingCapturedError
from clearhead.inference import EngineModel, ModelLike, Prediction, predict_inputs, prepare
from clearhead.recording import capture
from clearhead.serve._bodies import BodyDecoder, Decoded, Job, Kind


class Outcomes(NamedTuple):
    """A result or an exception for each job of a batch, and measurements."""

    results: list[Any]
    decode_seconds: list[float]
    compute_seconds: float
    num_images: int


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


def process(decode: BodyDecoder, model: ModelLike, jobs: list[Job]) -> Outcomes:
    """Decode jobs one by one, and classify them in one batch."""
    decoded: list[Decoded | Exception] = []
    times = [time.monotonic()]
    for job in jobs:
        try:
            decoded.append(decode(job))
        except Exception as error:  # noqa: BLE001 - raised in the server
            decoded.append(error)
        times.append(time.monotonic())
    requests = [one for one in decoded if isinstance(one, Decoded)]
    computed = iter(compute(model, requests))
    results = [
        _result(job.kind, one, next(computed) if isinstance(one, Decoded) else one)
        for job, one in zip(jobs, decoded, strict=True)
    ]
    return Outcomes(
        results,
        [end - start for start, end in pairwise(times)],
        time.monotonic() - times[-1],
        sum(len(request.inputs) for request in requests),
    )


def _result(kind: Kind, decoded: Decoded | Exception, result: Result | Exception) -> Any:
    """What `Pool.run` returns, or an exception that can be pickled."""
    if isinstance(result, HTTPException):
        return result
    if isinstance(result, Exception):
        return RuntimeError("".join(traceback.format_exception(result)))
    if kind == "picture":
        content = result.predictions[0].to_dict()
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    return decoded, result


def warm_up(model: ModelLike) -> None:
    """Classify a blank picture, which is slow the first time."""
    blank = BytesIO()
    Image.new("L", (40, 40), 255).save(blank, "PNG")
    with suppress(Exception):  # a broken model fails in requests
        predict_inputs(model, [prepare(blank.getvalue(), model.config)])
