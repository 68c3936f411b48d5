"""What the description of the interface says beyond the Python types: bodies and refusals."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import prod
from typing import Any

from starlette.exceptions import HTTPException

from clearhead.serve.schemas import Error

REFUSALS = {
    400: "The request makes no sense, or asks for another host.",
    408: "The request was not there in whole in time.",
    413: "The body is too large.",
    422: "The picture, or a parameter, cannot be read.",
    429: "The server is busy; Retry-After says when to come again.",
    500: "A defect of the server or of its model.",
    503: "The server is about to stop.",
    504: "No answer within the deadline.",
}

IMAGE_TYPES = tuple(f"image/{kind}" for kind in ("png", "jpeg", "gif", "webp"))
_FILE = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": _FILE},
}
PICTURE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "PNG, JPEG, GIF, BMP, TIFF, WebP or PBM, by whatever content type; or a "
        "form (multipart/form-data) that holds one such file, under any name.",
        "content": {kind: {"schema": _FILE} for kind in IMAGE_TYPES}
        | {"multipart/form-data": {"schema": _FORM}},
    }
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The statuses besides 200 that a route answers with, all as an `Error`."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        described[status] = {"model": Error, "description": REFUSALS[status]}
        if status == 429:
            schema = {"type": "integer", "minimum": 1}
            described[status]["headers"] = {"Retry-After": {"schema": schema, "required": True}}
    return described


def in_our_words(error: Mapping[str, Any], known: Sequence[str]) -> str:
    """What pydantic says about a parameter of the address, as one of our own errors.

    `known` are the parameters that there are.
    """
    name, got = error["loc"][1], error["input"]
    match error["type"], error.get("ctx", {}):
        case "extra_forbidden", _:
            return f"there is no parameter {name!r}; known are {', '.join(known)}"
        case "less_than", {"lt": most}:
            return f"{name} are numbers from 0 to {most - 1}, got {got}"
        case "greater_than_equal", {"ge": least}:
            return f"{name} are numbers from {least}, got {got}"
        case "too_long", {"max_length": most}:
            return f"{name} are at most {most}, got {len(got)}"
        case "int_parsing", _:
            return f"{name} are whole numbers, got {got!r}"
    return f"{name}: {error['msg']}"


def refused_in_our_words(method: str, path: str, error: HTTPException) -> str:
    """What the framework says of an address or a method that it does not know; or what we said."""
    if error.detail != HTTPStatus(error.status_code).phrase:
        return error.detail
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        known = (error.headers or {}).get("Allow", "another method")
        return f"{path} does not answer {method}; use {known}"
    return f"there is nothing at {path}; /openapi.json says what there is"


def infer_body(
    name: str, datatype: str, shape: tuple[int, ...], outputs: tuple[str, ...], most: int
) -> dict[str, Any]:
    """The body of an inference request, with the one tensor that this model takes.

    How long `data` is depends on `shape`, which JSON Schema can only say case by case: here for
    one image and for two, and in words for more.
    """
    parameters = {"type": "object"}
    tensor = {
        "anyOf": [_tensor(name, datatype, (images, *shape)) for images in (1, 2) if images <= most]
    }
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(outputs)}, "parameters": parameters},
    }
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": parameters,
            "inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1},
            "outputs": {"type": "array", "items": output},
        },
    }
    return {
        "requestBody": {
            "required": True,
            "description": f"At most {most} images, {datatype}; data row by row, flat or nested.",
            "content": {"application/json": {"schema": schema}},
        }
    }


def _tensor(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    pixel = {"type": "integer", "minimum": 0, "maximum": 255}
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": name},
            "shape": {"const": list(shape)},
            "datatype": {"const": datatype},
            "parameters": {"type": "object"},
            "data": {
                "type": "array",
                "items": pixel,
                "minItems": prod(shape),
                "maxItems": prod(shape),
            },
        },
    }
