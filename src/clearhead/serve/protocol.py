"""The Open Inference Protocol, version 2: health, metadata, and inference on tensors.

(https://github.com/kserve/open-inference-protocol, with its extension for binary tensors.) Tensors
are model inputs and are not preprocessed; `/v1/predict` takes pictures.
"""

from importlib.metadata import version
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response

from clearhead.inference import Prediction
from clearhead.serve._bodies import JSON_SIZE
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
EXTENSION = "binary_tensor_data"


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
        return {"name": "clearhead", "version": version("clearhead"), "extensions": [EXTENSION]}

    _add_model_routes(router, service)
    return router


def _add_model_routes(router: APIRouter, service: Service) -> None:
    """/v2/models/NAME, its /ready and its /infer, with or without /versions/1."""
    config, name, max_images = service.model.config, service.name, service.config.max_batch
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

    async def infer(request: Request) -> Response:
        """Probabilities and labels of preprocessed images."""
        decoded, result = await service.process(request, "tensor")
        wanted = dict(decoded.outputs or dict.fromkeys(OUTPUTS, decoded.binary))
        outputs = [
            _output(output, result.predictions, binary=binary) for output, binary in wanted.items()
        ]
        response = InferResponse(
            model_name=name,
            model_version=VERSION,
            id=decoded.request_id,
            outputs=[output for output, _ in outputs],
        )
        head = response.model_dump_json(exclude_none=True).encode()
        if not any(wanted.values()):
            return Response(head, media_type="application/json")
        return Response(
            head + b"".join(tensor for _, tensor in outputs),
            headers={JSON_SIZE: str(len(head))},
            media_type="application/octet-stream",
        )

    for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{VERSION}"):
        router.add_api_route(path, model, responses=error_responses(400))
        router.add_api_route(f"{path}/ready", model_ready, responses=error_responses(400, 503))
        router.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            openapi_extra=infer_body(shape, tuple(OUTPUTS), max_images),
            response_model=InferResponse,
            responses=error_responses(400, 408, 413, 415, 429, 500, 504),
        )


def _output(
    name: str, predictions: tuple[Prediction, ...], *, binary: bool
) -> tuple[OutputTensor, bytes]:
    """An output, and its bytes if they follow the JSON."""
    rows = len(predictions)
    values: list[Any]
    if name == LABEL:
        shape, values = [rows], [prediction.label or "" for prediction in predictions]
        content = b"".join(map(_length_and_bytes, values)) if binary else b""
    elif name == PROBABILITIES:
        values = [value for prediction in predictions for value in prediction.probabilities]
        shape = [rows, len(values) // rows]
        content = np.asarray(values, dtype="<f8").tobytes() if binary else b""
    else:
        raise HTTPException(400, f"outputs must be among {list(OUTPUTS)}, got {name!r}")
    tensor = OutputTensor(
        name=name,
        shape=shape,
        datatype=OUTPUTS[name],
        parameters={"binary_data_size": len(content)} if binary else None,
        data=None if binary else values,
    )
    return tensor, content


def _length_and_bytes(text: str) -> bytes:
    """An element of a BYTES tensor: its length in 4 bytes, little-endian, and its UTF-8."""
    content = text.encode()
    return len(content).to_bytes(4, "little") + content
