"""The Open Inference Protocol's request as pictures for the model, and what it asks for.

(Open Inference Protocol 2.0, specification/protocol/inference_rest.md.)
"""

from math import prod

import numpy as np
import torch
from pydantic import ValidationError

from clearhead.errors import InputError
from clearhead.inference import ModelInput
from clearhead.models.config import ImageModelConfig
from clearhead.serve.schemas import InferRequest, Tensor

INPUT, INPUT_TYPE = "images", "UINT8"


def read_request(body: bytes) -> InferRequest:
    """The request as the protocol's JSON has it; `InputError` says where it has not."""
    try:
        return InferRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        if first["type"] == "missing":
            raise InputError(f'the request has no "{where}"; see /openapi.json') from error
        raise InputError(f"{where}: {first['msg']}") from error


def pictures_from(request: InferRequest, config: ImageModelConfig, most: int) -> list[ModelInput]:
    """One picture a row of the input tensor; the model's own pixels, nothing is found or moved."""
    if [tensor.name for tensor in request.inputs] != [INPUT]:
        names = [tensor.name for tensor in request.inputs]
        raise InputError(f'there is one input, "{INPUT}"; got {names}')
    pixels = _pixels(request.inputs[0], config, most)
    return [ModelInput(torch.from_numpy(row)) for row in pixels]


def _pixels(tensor: Tensor, config: ImageModelConfig, most: int) -> np.ndarray:
    shape, expected = tuple(tensor.shape), (config.in_channels, *config.image_shape)
    if tensor.datatype != INPUT_TYPE:
        raise InputError(f"{INPUT} has datatype {INPUT_TYPE}, got {tensor.datatype}")
    if shape[1:] != expected or not 1 <= shape[0] <= most:
        raise InputError(f"{INPUT} has shape {[f'1 to {most}', *expected]}, got {list(shape)}")
    try:
        np.asarray(tensor.data)
    except ValueError as error:
        raise InputError("data has rows of different lengths") from error
    values = np.asarray(tensor.data, dtype=object)
    if not all(map(_is_byte, values.flat)):
        raise InputError("data holds whole numbers from 0 to 255")
    if values.size != prod(shape) or (values.ndim > 1 and values.shape != shape):
        raise InputError(f"data has shape {list(values.shape)}, the tensor {list(shape)}")
    return values.astype(np.uint8).reshape(shape)


def _is_byte(value: object) -> bool:
    """Whether JSON Schema calls it an integer, which 81.0 is and `true` is not, from 0 to 255."""
    return type(value) in (int, float) and 0 <= value <= 255 and value == int(value)  # type: ignore[operator, call-overload]
