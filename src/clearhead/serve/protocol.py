"""The Open Inference Protocol, version 2: health, metadata, and inference on tensors.

(https://github.com/kserve/open-inference-protocol.) Tensors are the model's own pixels; what finds
the digit in a photo is `/v1/predict` alone.
"""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from clearhead.inference import Prediction
from clearhead.serve.openapi import infer_body, refusals
from clearhead.serve.schemas import (
    InferResponse,
    Live,
    ModelMetadata,
    ModelReady,
    OutputTensor,
    Ready,
    ServerMetadata,
    TensorMetadata,
)
from clearhead.serve.service import Service
from clearhead.serve.tensors import INPUT, INPUT_TYPE

PROBABILITIES, LABEL = "probabilities", "label"
OUTPUTS = {PROBABILITIES: "FP64", LABEL: "BYTES"}
VERSION = "1"


def health_routes(service: Service) -> APIRouter:
    """GET /v2, /v2/health/live and /v2/health/ready."""
    router = APIRouter(tags=["Open Inference Protocol"])

    @router.get("/v2/health/live", responses=refusals(400))
    async def live() -> Live:
        """Whether the server answers at all."""
        return Live()

    @router.get("/v2/health/ready", responses={**refusals(400), 503: {"model": Ready}})
    async def ready(response: Response) -> Ready:
        """Whether it takes requests: not before it is warm, nor once it was told to stop."""
        response.status_code = 200 if service.is_ready else 503
        return Ready(ready=service.is_ready)

    @router.get("/v2", responses=refusals(400))
    @router.get("/v2/", include_in_schema=False)
    async def server() -> ServerMetadata:
        """Who answers."""
        return ServerMetadata(name="clearhead", version=version("clearhead"), extensions=[])

    return router


def model_routes(service: Service) -> APIRouter:
    """GET /v2/models/NAME and its /ready, with or without /versions/1."""
    router = APIRouter(tags=["Open Inference Protocol"])
    config, name = service.model.config, service.config.name

    async def model() -> ModelMetadata:
        """What the model takes and gives."""
        pixels = [-1, config.in_channels, *config.image_shape]
        shapes = {PROBABILITIES: [-1, config.num_classes], LABEL: [-1]}
        return ModelMetadata(
            name=name,
            versions=[VERSION],
            platform="pytorch_eager",
            inputs=[TensorMetadata(name=INPUT, datatype=INPUT_TYPE, shape=pixels)],
            outputs=[
                TensorMetadata(name=output, datatype=datatype, shape=shapes[output])
                for output, datatype in OUTPUTS.items()
            ],
        )

    async def model_ready(response: Response) -> ModelReady:
        """Whether the model takes requests."""
        response.status_code = 200 if service.is_ready else 503
        return ModelReady(name=name, ready=service.is_ready)

    not_ready: dict[int | str, dict[str, Any]] = {503: {"model": ModelReady}}
    for path in _paths(name):
        router.add_api_route(path, model, responses=refusals(400))
        router.add_api_route(f"{path}/ready", model_ready, responses={**refusals(400), **not_ready})
    return router


def infer_routes(service: Service) -> APIRouter:
    """POST /v2/models/NAME/infer, with or without /versions/1."""
    router = APIRouter(tags=["Open Inference Protocol"])
    config, most = service.model.config, service.config.max_batch
    shape = (config.in_channels, *config.image_shape)

    async def infer(request: Request) -> InferResponse:
        """Probabilities and labels of images that are ready for the model."""
        decoded, done = await service.ask(request, "tensor")
        wanted = decoded.outputs or tuple(OUTPUTS)
        return InferResponse(
            model_name=service.config.name,
            model_version=VERSION,
            id=decoded.request_id,
            outputs=[_output(name, done.predictions) for name in dict.fromkeys(wanted)],
        )

    for path in _paths(service.config.name):
        router.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            openapi_extra=infer_body(INPUT, INPUT_TYPE, shape, tuple(OUTPUTS), most),
            responses=refusals(400, 408, 413, 429, 500, 504),
            response_model_exclude_none=True,
        )
    return router


def _paths(name: str) -> tuple[str, str]:
    return f"/v2/models/{name}", f"/v2/models/{name}/versions/{VERSION}"


def _output(name: str, predictions: tuple[Prediction, ...]) -> OutputTensor:
    rows = len(predictions)
    if name == LABEL:
        labels = [prediction.label or "" for prediction in predictions]
        return OutputTensor(name=name, shape=[rows], datatype=OUTPUTS[name], data=labels)
    if name == PROBABILITIES:
        values = [value for prediction in predictions for value in prediction.probabilities]
        shape = [rows, len(values) // rows]
        return OutputTensor(name=name, shape=shape, datatype=OUTPUTS[name], data=values)
    raise HTTPException(400, f"outputs are {list(OUTPUTS)}, got {name!r}")
