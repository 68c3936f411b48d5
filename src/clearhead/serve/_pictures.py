"""Bodies that contain a picture, and the responses with its prediction."""

import json
from base64 import b64decode
from collections.abc import Sequence
from typing import NamedTuple

from fastapi import Response
from jaxtyping import Float
from pydantic import BaseModel, ValidationError
from torch import Tensor

from clearhead.errors import ImageError
from clearhead.inference import ModelInput, Prediction
from clearhead.models.vit import VisionTransformer
from clearhead.serve.schemas import ExplanationResponse, HeadWeights

URL_ENCODED = "application/x-www-form-urlencoded"
LOST_BY_CURL = {*b"\0\r\n"}
"""Bytes that `curl -d @FILE` removes, and of which every picture file has one"""


class Selection(NamedTuple):
    """The layers and heads of an explanation."""

    layers: Sequence[int]
    heads: Sequence[int]


def file_in(body: bytes, content_type: str) -> bytes:
    """The file in a body: the body itself, a form with one file, or JSON with base64.

    Raises `ImageError` if there is none.
    """
    kind = content_type.lower()
    if kind.startswith("multipart/form-data"):
        body = _file_in_form(body, content_type)
    elif kind.partition(";")[0].strip() == "application/json":
        body = _file_in_json(body)
    elif kind.startswith(URL_ENCODED) and body and not LOST_BY_CURL & {*body}:
        raise ImageError(
            "this body is URL-encoded, or has lost its line ends and zero bytes, as by `curl -d`; "
            "send the file unchanged: `curl --data-binary @FILE`"
        )
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
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},  # keep files in memory
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise ImageError(f"this form is damaged ({error})") from error
    if len(files) != 1:
        raise ImageError(f"a form must have one file, the picture; this one has {len(files)}")
    files[0].file_object.seek(0)
    return bytes(files[0].file_object.read())


def prediction_response(predictions: Sequence[Prediction]) -> Response:
    """The prediction as JSON; `ValueError` if a number in it is not finite."""
    content = json.dumps(predictions[0].to_dict(), ensure_ascii=False, allow_nan=False)
    return Response(content, media_type="application/json")


def explanation_response(
    model: VisionTransformer,
    image: ModelInput,
    selection: Selection,
    predictions: Sequence[Prediction],
    weights: Float[Tensor, "layers heads queries keys"],
) -> Response:
    """The prediction and the attention weights of selected layers and heads as JSON."""
    explanation = ExplanationResponse(
        **predictions[0].to_dict(),
        grid=model.grid,
        num_prefix_tokens=model.num_prefix_tokens,
        pixels=image.pixels.tolist(),
        attention=[
            HeadWeights(layer=layer, head=head, weights=weights[layer, head].tolist())
            for layer in dict.fromkeys(selection.layers)
            for head in dict.fromkeys(selection.heads)
        ],
    )
    return Response(explanation.model_dump_json(), media_type="application/json")
