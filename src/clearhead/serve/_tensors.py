"""Bodies that contain a tensor of the Open Inference Protocol, and the responses to them."""

import re
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from fastapi import Response
from pydantic import ValidationError

from clearhead.errors import InputError
from clearhead.inference import Prediction
from clearhead.serve.schemas import (
    INPUT_NAME,
    INPUT_TYPE,
    LABEL,
    OUTPUTS,
    VERSION,
    InferRequest,
    InferResponse,
    InputTensor,
    OutputTensor,
)

JSON_SIZE = "inference-header-content-length"
"""The header with the size of the JSON before binary tensors"""


def decode_tensor(
    body: bytes, json_size: str, shape: tuple[int, ...], max_images: int
) -> tuple[InferRequest, np.ndarray]:
    """The request in a body, and its images: model inputs of this shape, one in each row.

    Raises `InputError` if the request is invalid.
    """
    header, binary = body, b""
    if json_size:
        if not re.fullmatch("[0-9]{1,18}", json_size) or int(json_size) > len(body):
            raise InputError(
                f"{JSON_SIZE} must be at most the body's {len(body)} bytes, got {json_size!r}"
            )
        header, binary = body[: int(json_size)], body[int(json_size) :]
    try:
        request = InferRequest.model_validate_json(header)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise InputError(f"{where}: {first['msg']}; see /openapi.json") from error
    names = [tensor.name for tensor in request.inputs]
    if names != [INPUT_NAME]:
        raise InputError(f'expected one input, "{INPUT_NAME}"; got {names}')
    (tensor,) = request.inputs
    if tensor.datatype != INPUT_TYPE:
        raise InputError(f"{INPUT_NAME} must have datatype {INPUT_TYPE}, got {tensor.datatype}")
    given = tuple(tensor.shape)
    if given[1:] != shape or not 1 <= given[0] <= max_images:
        wanted = ", ".join(map(str, ("n", *shape)))
        raise InputError(
            f"{INPUT_NAME} must have shape [{wanted}] with n from 1 to {max_images}, "
            f"got {list(given)}"
        )
    for output in request.outputs:
        if output.name not in OUTPUTS:
            raise InputError(f"outputs must be among {list(OUTPUTS)}, got {output.name!r}")
    return request, _pixels(tensor, given, binary)


def _pixels(tensor: InputTensor, shape: tuple[int, ...], binary: bytes) -> np.ndarray:
    size = tensor.parameters.get("binary_data_size")
    if size is None and tensor.data is not None and not binary:
        return _pixels_in_json(tensor.data, shape)
    if tensor.data is not None or type(size) is not int:
        raise InputError("a tensor has either data, or binary_data_size and bytes after the JSON")
    if size != len(binary) or size != prod(shape):
        raise InputError(
            f"a binary tensor of shape {list(shape)} has {prod(shape)} bytes; binary_data_size is "
            f"{size}, and {len(binary)} bytes were received"
        )
    return np.frombuffer(bytearray(binary), dtype=np.uint8).reshape(shape)


def _pixels_in_json(data: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    try:
        np.asarray(data)
    except ValueError as error:
        raise InputError("data has rows of different lengths") from error
    values = np.asarray(data, dtype=object)
    if values.size != prod(shape) or (values.ndim > 1 and values.shape != shape):
        raise InputError(f"data has shape {list(values.shape)}, the tensor {list(shape)}")
    if not all(map(_is_byte, values.flat)):
        raise InputError("data must be whole numbers from 0 to 255")
    return values.astype(np.uint8).reshape(shape)


def _is_byte(value: object) -> bool:
    """Whether a value is an integer from 0 to 255 by JSON Schema: 81.0 is one, `true` is not."""
    return type(value) in (int, float) and 0 <= value <= 255 and value == int(value)  # type: ignore[operator, call-overload]


def infer_response(name: str, request: InferRequest, predictions: Sequence[Prediction]) -> Response:
    """The requested outputs of the model with this name: as JSON, or as bytes after the JSON."""
    all_binary = request.parameters.get("binary_data_output") is True
    wanted = {
        output.name: output.parameters.get("binary_data", all_binary) is True
        for output in request.outputs
    }
    outputs, contents = [], []
    for output, binary in (wanted or dict.fromkeys(OUTPUTS, all_binary)).items():
        values = _output(output, predictions)
        content = _bytes(values) if binary else b""
        contents.append(content)
        outputs.append(
            OutputTensor(
                name=output,
                shape=list(values.shape),
                datatype=OUTPUTS[output],
                parameters={"binary_data_size": len(content)} if binary else None,
                data=None if binary else values.ravel().tolist(),
            )
        )
    response = InferResponse(
        model_name=name,
        model_version=VERSION,
        id=request.id if "id" in request.model_fields_set else None,
        outputs=outputs,
    )
    head, tail = response.model_dump_json(exclude_none=True).encode(), b"".join(contents)
    if not tail:
        return Response(head, media_type="application/json")
    headers = {JSON_SIZE: str(len(head))}
    return Response(head + tail, headers=headers, media_type="application/octet-stream")


def _output(name: str, predictions: Sequence[Prediction]) -> np.ndarray:
    if name == LABEL:
        return np.array([prediction.label or "" for prediction in predictions], dtype=object)
    return np.array([prediction.probabilities for prediction in predictions], dtype="<f8")


def _bytes(values: np.ndarray) -> bytes:
    """An output in binary; an element of type BYTES follows its length, of 4 bytes."""
    if values.dtype != object:
        return values.tobytes()
    texts = [text.encode() for text in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
