"""Requests and responses as pydantic models, and what OpenAPI describes beyond them."""

from math import prod
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from clearhead.inference import Status

INPUT_NAME, INPUT_TYPE = "images", "UINT8"
PROBABILITIES, LABEL = "probabilities", "label"
OUTPUTS = {PROBABILITIES: "FP64", LABEL: "BYTES"}
VERSION = "1"

Number = Annotated[float, Field(allow_inf_nan=False)]


class DigitResponse(BaseModel):
    """A prediction; `label` is null if it is rejected, and `warnings` has the reasons.

    `box` has left, top, right and bottom, in pixels of the upright picture.
    """

    status: Status
    label: str | None
    probability: Number
    runner_up: str | None
    runner_up_probability: Number
    probabilities: list[Number] = Field(description="in the order of `classes`")
    classes: list[str]
    warnings: list[str]
    box: tuple[int, int, int, int] | None = None


class PredictionResponse(DigitResponse):
    """The prediction for a picture.

    `digits` has the predictions for its single digits, in reading order. If there are several,
    `label` is the text, and `probabilities` is empty.
    """

    digits: list[DigitResponse]


class HeadWeights(BaseModel):
    """The attention weights of one head: a row per query, a column per key; rows sum to 1."""

    layer: int
    head: int
    weights: list[list[Number]]


class ExplanationResponse(PredictionResponse):
    """A prediction with its attention weights.

    Tokens are `num_prefix_tokens` (the class token, if any), then the patches of `grid` (rows,
    columns), row by row. `pixels` is the model input, from 0 to 255.
    """

    grid: tuple[int, int]
    num_prefix_tokens: int
    pixels: list[list[list[int]]] = Field(description="channels, rows, columns")
    attention: list[HeadWeights]


class Error(BaseModel):
    """A message of one line: what was expected, what was received, what to do."""

    error: str


class InputTensor(BaseModel):
    """A tensor, row-major: nested or flat in JSON, or as bytes after the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class RequestedOutput(BaseModel):
    """The name of a requested output."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    """An inference request of the Open Inference Protocol."""

    model_config = ConfigDict(strict=True)

    id: str = ""
    parameters: dict[str, Any] = {}
    inputs: list[InputTensor]
    outputs: list[RequestedOutput] = []


class OutputTensor(BaseModel):
    """An output, row-major: flat in JSON, or as bytes after the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, int] | None = None
    data: list[Number] | list[str] | None = None


class InferResponse(BaseModel):
    """An inference response of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


ERRORS = {
    400: "The request is invalid, or is for another host.",
    408: "The body was not complete within the client timeout.",
    413: "The body is too large.",
    415: "The body cannot be decompressed.",
    422: "The picture, or a parameter, cannot be read.",
    429: "The server is busy; try again after the seconds in Retry-After.",
    500: "A bug in the server or its model.",
    503: "The server is not ready, or is draining.",
    504: "The deadline has passed.",
}
_FILE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "required": ["image"], "properties": {"image": _FILE}}
_BASE64 = {"type": "string", "format": "byte", "contentEncoding": "base64"}
_JSON = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": _BASE64},
    "additionalProperties": False,
}
PICTURE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A picture file of any content type; a form (multipart/form-data) with one "
        "such file, under any name; or JSON with the file in base64.",
        "content": {f"image/{kind}": {"schema": _FILE} for kind in ("png", "jpeg", "gif", "webp")}
        | {"multipart/form-data": {"schema": _FORM}, "application/json": {"schema": _JSON}},
    }
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of a route's errors."""
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": ERRORS[status]} | ({} if status == 503 else {"model": Error})
        for status in statuses
    }
    if 429 in responses:
        schema = {"type": "integer", "minimum": 1}
        responses[429]["headers"] = {"Retry-After": {"schema": schema, "required": True}}
    return responses


def infer_body(shape: tuple[int, ...], max_images: int) -> dict[str, Any]:
    """OpenAPI's description of an inference request, with the model's one input tensor.

    The length of `data` depends on `shape`, which JSON Schema can only describe case by case: for
    one image and for two.
    """
    parameters = {"type": "object"}
    tensors = [_tensor((images, *shape)) for images in (1, 2) if images <= max_images]
    output = _object({"name": {"enum": list(OUTPUTS)}}, parameters=parameters)
    inputs = {"type": "array", "items": {"anyOf": tensors}, "minItems": 1, "maxItems": 1}
    schema = _object(
        {"inputs": inputs},
        id={"type": "string"},
        parameters=parameters,
        outputs={"type": "array", "items": output},
    )
    return {
        "requestBody": {
            "required": True,
            "description": f"Up to {max_images} images, {INPUT_TYPE}; row-major, flat or nested.",
            "content": {"application/json": {"schema": schema}},
        }
    }


def _tensor(shape: tuple[int, ...]) -> dict[str, Any]:
    pixel = {"type": "integer", "minimum": 0, "maximum": 255}
    count = prod(shape)
    required = {
        "name": {"const": INPUT_NAME},
        "shape": {"const": list(shape)},
        "datatype": {"const": INPUT_TYPE},
        "data": {"type": "array", "items": pixel, "minItems": count, "maxItems": count},
    }
    return _object(required, parameters={"type": "object"})


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """A JSON Schema with these properties."""
    return {"type": "object", "required": [*required], "properties": {**required, **optional}}
