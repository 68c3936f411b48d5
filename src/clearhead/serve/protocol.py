"""The Open Inference Protocol, version 2: health, metadata, and inference on tensors.

(https://github.com/kserve/open-inference-protocol, with its extension for binary tensors.) Tensors
are model inputs and are not preprocessed; `/v1/predict` takes pictures.
"""

from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response

from clearhead.serve.schemas import (
    INPUT_NAME,
    INPUT_TYPE,
    LABEL,
    OUTPUTS,
    PROBABILITIES,
    VERSION,
    InferResponse,
    error_responses,
    infer_body,
)

if TYPE_CHECKING:
    from clearhead.serve.app import Application

EXTENSION = "binary_tensor_data"


def add_protocol_routes(app: "Application") -> None:
    """Add all routes under /v2; those of the model with and without /versions/1."""
    tags: list[Any] = ["Open Inference Protocol"]
    get = partial(app.get, tags=tags, responses=error_responses(400))
    get_ready = partial(app.get, tags=tags, responses=error_responses(400, 503))
    config, name, max_images = app.model.config, app.config.name, app.config.max_batch
    shape = (config.in_channels, *config.image_shape)

    @get("/v2/health/live")
    async def live() -> dict[str, bool]:
        """Whether the server responds."""
        return {"live": True}

    @get_ready("/v2/health/ready")
    async def ready(response: Response) -> dict[str, bool]:
        """Whether the server accepts requests: from the end of its warm-up until it drains."""
        response.status_code = 200 if app.is_ready else 503
        return {"ready": app.is_ready}

    @get("/v2")
    @get("/v2/", include_in_schema=False)
    async def server() -> dict[str, Any]:
        """Name and version of the server."""
        return {"name": "clearhead", "version": version("clearhead"), "extensions": [EXTENSION]}

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
        response.status_code = 200 if app.is_ready else 503
        return {"name": name, "ready": app.is_ready}

    async def infer(request: Request) -> Response:
        """Probabilities and labels of preprocessed images."""
        return await app.process(request, "tensor")

    for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{VERSION}"):
        get(path)(model)
        get_ready(f"{path}/ready")(model_ready)
        app.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            tags=tags,
            openapi_extra=infer_body(shape, max_images),
            response_model=InferResponse,
            responses=error_responses(400, 408, 413, 415, 429, 500, 504),
        )
