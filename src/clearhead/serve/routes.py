"""The project's own routes: a picture's answer, and the attention that led to it."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field

from clearhead.inference import Prediction
from clearhead.models.vit import VisionTransformer
from clearhead.serve.direct import DirectRoute
from clearhead.serve.openapi import PICTURE_BODY, refusals
from clearhead.serve.schemas import Answer, Explanation, HeadWeights
from clearhead.serve.service import Service
from clearhead.serve.work import Attention

JSON = "application/json"
MOST_SAID = 100  # characters of a wrong address that are said again


def predict_routes(service: Service) -> APIRouter:
    """POST /v1/predict."""
    router = APIRouter(tags=["pictures"], route_class=DirectRoute)

    @router.post(
        "/v1/predict",
        response_model=Answer,
        openapi_extra=PICTURE_BODY,
        responses=refusals(*WITH_PICTURE),
    )
    async def predict(request: Request) -> Response:
        """What a picture shows. The body is the picture, or a form with one file in it."""
        if request.url.query:
            said = f"/v1/predict has no parameters, got {request.url.query[:MOST_SAID]!r}"
            raise HTTPException(422, said)
        _, done = await service.ask(request, "picture")
        answer = Answer(**_answer(service, done.predictions[0]))
        return Response(answer.model_dump_json(), media_type=JSON)

    return router


def explain_routes(service: Service) -> APIRouter:
    """POST /v1/explain."""
    model = service.model
    router = APIRouter(tags=["pictures"])
    if not isinstance(model, VisionTransformer):
        name = type(model).__name__

        @router.post("/v1/explain", include_in_schema=False)
        async def nothing_to_explain() -> None:
            raise HTTPException(404, f"a {name} has no attention to explain")

        return router

    depth, num_heads = model.config.depth, model.config.num_heads
    layer_numbers = Annotated[int, Field(ge=0, lt=depth)]
    head_numbers = Annotated[int, Field(ge=0, lt=num_heads)]

    class Chosen(BaseModel, extra="forbid"):
        layers: Annotated[list[layer_numbers], Field(max_length=depth)] = list(range(depth))
        heads: Annotated[list[head_numbers], Field(max_length=num_heads)] = list(range(num_heads))

    @router.post("/v1/explain", openapi_extra=PICTURE_BODY, responses=refusals(*WITH_PICTURE))
    async def explain(request: Request, chosen: Annotated[Chosen, Query()]) -> Explanation:
        """The answer to a picture and the attention weights of chosen layers and heads.

        `?layers=0&layers=5&heads=2` chooses two layers and one head; default: all.
        """
        decoded, done = await service.ask(request, "picture", explain=True)
        if done.attention is None:  # never: it was asked for
            raise HTTPException(500, "the attention is missing")
        return Explanation(
            **_answer(service, done.predictions[0]),
            grid=model.grid,
            num_prefix_tokens=model.num_prefix_tokens,
            pixels=decoded.pictures[0].pixels.tolist(),
            attention=_parts(done.attention, chosen.layers, chosen.heads),
        )

    return router


def _answer(service: Service, prediction: Prediction) -> dict[str, Any]:
    return {
        "label": prediction.label,
        "probability": prediction.probability,
        "runner_up": prediction.runner_up,
        "runner_up_probability": prediction.runner_up_probability,
        "probabilities": list(prediction.probabilities),
        "classes": list(service.model.config.labels),
        "warnings": list(prediction.warnings),
    }


def _parts(attention: Attention, layers: list[int], heads: list[int]) -> list[HeadWeights]:
    return [
        HeadWeights(layer=layer, head=head, weights=attention[layer, 0, head].tolist())
        for layer in dict.fromkeys(layers)
        for head in dict.fromkeys(heads)
    ]


WITH_PICTURE = (400, 408, 413, 422, 429, 500, 504)
