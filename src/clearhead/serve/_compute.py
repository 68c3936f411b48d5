"""What a model process does: decode the jobs of a batch, run the model, make the responses."""

import time
import traceback
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from itertools import islice, pairwise
from typing import Any, Literal, NamedTuple

import torch
from fastapi import HTTPException, Request, Response
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from clearhead.data import normalize
from clearhead.errors import ImageError, InputError, NothingCapturedError
from clearhead.inference import EngineModel, ModelInput, ModelLike, predict_inputs, prepare
from clearhead.recording import capture
from clearhead.serve._pictures import (
    Selection,
    explanation_response,
    file_in,
    prediction_response,
)
from clearhead.serve._tensors import JSON_SIZE, decode_tensor, infer_response
from clearhead.serve.config import ServeConfig

Kind = Literal["picture", "tensor"]
ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content-Encoding, and zlib's number for it"""


class Job(NamedTuple):
    """The body of a request, its kind, and the headers that describe it."""

    kind: Kind
    body: bytes
    selection: Selection | None = None
    """The layers and heads of an explanation; None for the prediction alone"""
    content_type: str = ""
    content_encoding: str = ""
    json_size: str = ""

    @classmethod
    def of(cls, request: Request, kind: Kind, body: bytes, selection: Selection | None) -> "Job":
        """The job of a request whose body has been read."""
        names = ("content-type", "content-encoding", JSON_SIZE)
        return cls(kind, body, selection, *(request.headers.get(name, "") for name in names))


class Decoded(NamedTuple):
    """The model inputs of a job, and the function that makes the response from predictions.

    With `explain` there is one input, and the function also gets its attention weights.
    """

    inputs: Sequence[ModelInput]
    respond: Callable[..., Response]
    explain: bool = False


class Outcomes(NamedTuple):
    """A response or an exception for each job of a batch, and measurements."""

    results: list[Response | Exception]
    decode_seconds: list[float]
    compute_seconds: float
    num_images: int


class Processor:
    """Computes the responses of one model."""

    def __init__(self, model: ModelLike, config: ServeConfig) -> None:
        """`config` has the name of the model, and the limits of bodies and tensors."""
        self.model = model
        self.config = config

    def warm_up(self) -> None:
        """Classify a blank picture, because the first forward pass is slow."""
        blank = BytesIO()
        Image.new("L", (40, 40), 255).save(blank, "PNG")
        self.process([Job("picture", blank.getvalue())])  # errors are reported to requests, later

    def process(self, jobs: Sequence[Job]) -> Outcomes:
        """Decode jobs one by one, and classify them in one batch."""
        decoded: list[Decoded | Exception] = []
        times = [time.monotonic()]
        for job in jobs:
            try:
                decoded.append(self.decode(job))
            except Exception as error:  # noqa: BLE001 - raised in the server
                decoded.append(error)
            times.append(time.monotonic())
        batch = [one for one in decoded if isinstance(one, Decoded)]
        computed = iter(self.compute(batch))
        results = [next(computed) if isinstance(one, Decoded) else one for one in decoded]
        return Outcomes(
            [_picklable(result) for result in results],
            [end - start for start, end in pairwise(times)],
            time.monotonic() - times[-1],
            sum(len(one.inputs) for one in batch),
        )

    def decode(self, job: Job) -> Decoded:
        """The inputs of a job.

        Raises `HTTPException` with status 422 (pictures), 400 (tensors), or 413 or 415 (compressed
        bodies).
        """
        body = self._decompressed(job.body, job.content_encoding.strip().lower())
        try:
            decode = self._decode_tensor if job.kind == "tensor" else self._decode_picture
            return decode(job, body)
        except (ImageError, InputError) as error:
            raise HTTPException(400 if job.kind == "tensor" else 422, str(error)) from None

    def _decompressed(self, body: bytes, encoding: str) -> bytes:
        if encoding in ("", "identity"):
            return body
        if encoding not in ENCODINGS:
            raise HTTPException(415, f"Content-Encoding must be gzip or deflate, got {encoding!r}")
        limit = self.config.body_limit
        stream = zlib.decompressobj(ENCODINGS[encoding])
        try:
            content = stream.decompress(body, limit + 1)
        except zlib.error as error:
            raise HTTPException(415, f"the body is not {encoding} ({error})") from None
        if len(content) > limit:
            raise HTTPException(413, f"the body exceeds {limit:,} bytes; send less")
        if not stream.eof:
            raise HTTPException(415, f"the body is not {encoding} (incomplete)")
        if stream.unused_data:
            raise HTTPException(
                415, f"the body has data after its {encoding} stream; send one stream"
            )
        return content

    def _decode_picture(self, job: Job, body: bytes) -> Decoded:
        picture, config = file_in(body, job.content_type), self.model.config
        if job.selection is None:
            return Decoded([prepare(picture, config)], prediction_response)
        image = prepare(picture, config, single=True)
        respond = partial(explanation_response, torch_model(self.model), image, job.selection)
        return Decoded([image], respond, explain=True)

    def _decode_tensor(self, job: Job, body: bytes) -> Decoded:
        config = self.model.config
        shape = (config.in_channels, *config.image_shape)
        request, rows = decode_tensor(body, job.json_size, shape, self.config.max_batch)
        inputs = [ModelInput(torch.from_numpy(row)) for row in rows]
        return Decoded(inputs, partial(infer_response, str(self.config.name), request))

    def compute(self, batch: Sequence[Decoded]) -> list[Response | Exception]:
        """Responses of a batch in one forward pass; if it fails, in one for each request.

        So an image that makes the forward pass fail only affects its own request.
        """
        try:
            return [*self._forward(batch)]
        except Exception as error:  # noqa: BLE001 - raised in the request that it belongs to
            if len(batch) == 1:
                return [error]
            return [result for one in batch for result in self.compute([one])]

    def _forward(self, batch: Sequence[Decoded]) -> list[Response]:
        predictions = iter(predict_inputs(self.model, [item for x in batch for item in x.inputs]))
        explained = [item.pixels for x in batch if x.explain for item in x.inputs]
        attention = iter(attention_weights(self.model, torch.stack(explained)) if explained else ())
        responses = []
        for one in batch:
            of_this = list(islice(predictions, len(one.inputs)))
            weights = islice(attention, int(one.explain))
            responses.append(one.respond(of_this, *weights))
        return responses


def torch_model(model: ModelLike) -> Any:
    """The PyTorch model, without the engine that runs it."""
    return model.model if isinstance(model, EngineModel) else model


def attention_weights(
    model: ModelLike, images: UInt8[Tensor, "images channels height width"]
) -> Float[Tensor, "images layers heads queries keys"]:
    """The attention weights of all layers and heads by PyTorch, in float64 on the CPU.

    Raises `InputError` if the model has no attention.
    """
    model = torch_model(model)
    like = next(model.parameters())
    try:
        with torch.inference_mode(), capture() as recording:
            model(normalize(images.to(like.device), model.config).to(like.dtype))
    except NothingCapturedError as error:
        raise InputError(f"a {type(model).__name__} has no attention to explain") from error
    return torch.stack([weights.double().cpu() for weights in recording.to_hf()], dim=1)


def _picklable(result: Response | Exception) -> Response | Exception:
    if isinstance(result, Response | HTTPException):
        return result
    return RuntimeError("".join(traceback.format_exception(result)))
