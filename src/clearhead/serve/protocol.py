"""The Open Inference Protocol, version 2: health, metadata, and inference on tensors.

(https://github.com/kserve/open-inference-protocol.) Tensors are model inputs and are not
preprocessed; `/v1/predict` takes pictures.
"""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from clearhead.inference import Prediction
from clearhead.serve._service import Service
from clearhead.serve.schemas import (
    INPUT_NAME,
    INPUT_TYPE,
    InferResponse,
    OutputTensor,
    error_responses,
    infer_body,
)

PROBABILITIES, LABEL = "probabilities", "label"
OUTPUTS = {PROBABILITIES: "FP64", LABEL: "BYTES"}
VERSION = "1"


def protocol_routes(service: Service) -> APIRouter:
    """All routes under /v2."""
    router = APIRouter(tags=["Open Inference Protocol"])

    @router.get("/v2/health/live", responses=error_responses(400))
    async def live() -> dict[str, bool]:
        """Whether the server responds."""
        return {"live": True}

    @router.get("/v2/health/ready", responses=error_responses(400, 503))
    async def ready(response: Response) -> dict[str, bool]:
        """Whether it accepts requests: from the end of its warm-up until it drains."""
        response.status_code = 200 if service.is_ready else 503
        return {"ready": service.is_ready}

    @router.get("/v2", responses=error_responses(400))
    @router.get("/v2/", include_in_schema=False)
    async def server() -> dict[str, Any]:
        """Name and version of the server."""
        return {"name": "clearhead", "version": version("clearhead"), "extensions": []}

    _add_model_routes(router, service)
    return router


def _add_model_routes(router: APIRouter, service: Service) -> None:
    """/v2/models/NAME, its /ready and its /infer, with or without /versions/1."""
    config, name, max_images = service.model.config, service.config.name, service.config.max_batch
    shape = (config.in_channels, *config.image_shape)

    async def model() -> dict[str, Any]:
        """Inputs and outputs of the model; -1 is any number of images."""
        shapes = {PROBABILITIES: [-1, config.num_classes], LABEL: [-1]}
        return {
            "name": name,
            "versions": [VERSION],
            "platform": "pytorch_eager",
            "inputs": [{"name": INPUT_NAME, "datatype": INPUT_TYPE, "shape": [-1, *shape]}],
            "outputs": [
                {"name": output, "datatype": datatype, "shape": shapes[output]}
                for output, datatype in OUTPUTS.items()
            ],
        }

    async def model_ready(response: Response) -> dict[str, Any]:
        """Whether the model accepts requests."""
        response.status_code = 200 if service.is_ready else 503
        return {"name": name, "ready": service.is_ready}

    async def infer(request: Request) -> InferResponse:
        """Probabilities and labels of preprocessed images."""
        decoded, result = await service.process(request, "tensor")
        outputs = dict.fromkeys(decoded.outputs or OUTPUTS)
        return InferResponse(
            model_name=name,
            model_version=VERSION,
            id=decoded.request_id,
            outputs=[_output(output, result.predictions) for output in outputs],
        )

    for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{VERSION}"):
        router.add_api_route(path, model, responses=error_responses(400))
        router.add_api_route(f"{path}/ready", model_ready, responses=error_responses(400, 503))
        router.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            openapi_extra=infer_body(shape, tuple(OUTPUTS), max_images),
            responses=error_responses(400, 408, 413, 429, 500, 504),
            response_model_exclude_none=True,
        )


def _output(name: str, predictions: tuple[Prediction, ...]) -> OutputTensor:
    rows = len(predictions)
    if name == LABEL:
        labels = [prediction.label or "" for prediction in predictions]
        return OutputTensor(name=name, shape=[rows], datatype=OUTPUTS[name], data=labels)
    if name == PROBABILITIES:
        values = [value for prediction in predictions for value in prediction.probabilities]
        shape = [rows, len(values) // rows]
        return OutputTensor(name=name, shape=shape, datatype=OUTPUTS[name], data=values)
    raise HTTPException(400, f"outputs must be among {list(OUTPUTS)}, got {name!r}")
