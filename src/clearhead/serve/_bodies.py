"""Request bodies: pictures, forms, JSON with base64, and tensors, compressed or not."""

import re
import zlib
from base64 import b64decode
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError

from clearhead.errors import ImageError, InputError
from clearhead.inference import ModelInput, prepare
from clearhead.models.config import ImageModelConfig
from clearhead.serve.schemas import INPUT_NAME, INPUT_TYPE, InferRequest, InputTensor

Kind = Literal["picture", "digit", "tensor"]

JSON_SIZE = "inference-header-content-length"
"""The header with the size of the JSON in front of binary tensors"""
ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content-Encoding, and zlib's number for it"""


class Job(NamedTuple):
    """The body of a request, what it is, and the headers that describe it."""

    kind: Kind
    body: bytes
    content_type: str = ""
    content_encoding: str = ""
    json_size: str = ""

    @classmethod
    def of(cls, kind: Kind, body: bytes, request: Request) -> "Job":
        """That of a request whose body was read."""
        names = ("content-type", "content-encoding", JSON_SIZE)
        return cls(kind, body, *(request.headers.get(name, "") for name in names))


@dataclass(frozen=True, eq=False)
class Decoded:
    """Model inputs and requested results: each output's name, and whether it is binary."""

    inputs: tuple[ModelInput, ...]
    explain: bool = False
    request_id: str | None = None
    outputs: tuple[tuple[str, bool], ...] = ()
    binary: bool = False


class BodyDecoder(NamedTuple):
    """Decodes bodies for a model."""

    config: ImageModelConfig
    max_images: int
    """In one tensor"""
    body_limit: int
    """Bytes of a body after decompression"""

    def __call__(self, job: Job) -> Decoded:
        """The decoded body; raises `HTTPException` 422, 400 (tensors), 413 or 415 (compressed)."""
        body = self._decompressed(job.body, job.content_encoding.strip().lower())
        try:
            if job.kind == "tensor":
                return self._tensor(body, job.json_size)
            picture = _picture(body, job.content_type)
            single = job.kind == "digit"
            return Decoded((prepare(picture, self.config, single=single),), explain=single)
        except (ImageError, InputError) as error:
            raise HTTPException(400 if job.kind == "tensor" else 422, str(error)) from None

    def _decompressed(self, body: bytes, encoding: str) -> bytes:
        if encoding in ("", "identity"):
            return body
        if encoding not in ENCODINGS:
            raise HTTPException(415, f"Content-Encoding must be gzip or deflate, got {encoding!r}")
        stream = zlib.decompressobj(ENCODINGS[encoding])
        try:
            content = stream.decompress(body, self.body_limit + 1)
        except zlib.error as error:
            raise HTTPException(415, f"the body is not {encoding} ({error})") from None
        if len(content) > self.body_limit:
            raise HTTPException(413, f"the body exceeds {self.body_limit:,} bytes; send less")
        if not stream.eof:
            raise HTTPException(415, f"the body is not {encoding} (incomplete)")
        if stream.unused_data:
            raise HTTPException(415, f"the body has data behind its {encoding} stream; send one")
        return content

    def _tensor(self, body: bytes, json_size: str) -> Decoded:
        """The images of an inference request: model inputs already, one per row."""
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
        shape, expected = tuple(tensor.shape), (self.config.in_channels, *self.config.image_shape)
        if tensor.datatype != INPUT_TYPE:
            raise InputError(f"{INPUT_NAME} must have datatype {INPUT_TYPE}, got {tensor.datatype}")
        if shape[1:] != expected or not 1 <= shape[0] <= self.max_images:
            wanted = ", ".join(map(str, ("n", *expected)))
            raise InputError(
                f"{INPUT_NAME} must have shape [{wanted}] with n from 1 to {self.max_images}, "
                f"got {list(shape)}"
            )
        all_binary = request.parameters.get("binary_data_output") is True
        return Decoded(
            tuple(ModelInput(torch.from_numpy(row)) for row in _pixels(tensor, shape, binary)),
            request_id=request.id if "id" in request.model_fields_set else None,
            outputs=tuple(
                (output.name, output.parameters.get("binary_data", all_binary) is True)
                for output in request.outputs
            ),
            binary=all_binary,
        )


def _picture(body: bytes, content_type: str) -> bytes:
    """The body, the one file in it if it is a form, or the one in base64 if it is JSON."""
    kind = content_type.lower()
    if kind.startswith("multipart/form-data"):
        body = _file_in_form(body, content_type)
    elif kind.partition(";")[0].strip() == "application/json":
        body = _file_in_json(body)
    if not body:
        raise ImageError("the body is empty; send a picture as the body, or as a file in a form")
    return body


class _PictureInJson(BaseModel, extra="forbid", strict=True):
    image: str


def _file_in_json(body: bytes) -> bytes:
    wanted = 'expected {"image": "…"} with a picture file in base64'
    try:
        text = _PictureInJson.model_validate_json(body).image
        if text.startswith("data:"):  # as a canvas's toDataURL makes it
            text = text.partition(",")[2]
        return b64decode(text, validate=True)
    except ValidationError as error:
        is_json = error.errors()[0]["type"] != "json_invalid"
        raise ImageError(wanted if is_json else f"{wanted}, got invalid JSON") from error
    except ValueError as error:
        raise ImageError(f"{wanted}, got invalid base64") from error


def _file_in_form(body: bytes, content_type: str) -> bytes:
    from python_multipart import create_form_parser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import File

    files: list[File] = []
    headers = {"Content-Type": content_type.encode("latin-1", "replace")}
    try:
        parser = create_form_parser(
            headers,
            lambda _: None,
            files.append,
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},  # never on a disk
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise ImageError(f"this form is damaged ({error})") from error
    if len(files) != 1:
        raise ImageError(f"a form must have one file, the picture; this one has {len(files)}")
    files[0].file_object.seek(0)
    return bytes(files[0].file_object.read())


def _pixels(tensor: InputTensor, shape: tuple[int, ...], binary: bytes) -> np.ndarray:
    size = tensor.parameters.get("binary_data_size")
    if size is None and tensor.data is not None and not binary:
        return _pixels_in_json(tensor.data, shape)
    if tensor.data is not None or type(size) is not int:
        raise InputError("a tensor has either data, or binary_data_size and bytes behind the JSON")
    if size != len(binary) or size != prod(shape):
        raise InputError(
            f"a binary tensor of shape {list(shape)} has {prod(shape)} bytes; binary_data_size is "
            f"{size}, and {len(binary)} bytes came"
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
    """Whether JSON Schema calls it an integer, which 81.0 is and `true` is not, from 0 to 255."""
    return type(value) in (int, float) and 0 <= value <= 255 and value == int(value)  # type: ignore[operator, call-overload]
