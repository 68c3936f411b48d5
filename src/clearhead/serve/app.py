"""The application: predictions, attention, metrics and the page; errors as JSON."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearhead.errors import ConfigError
from clearhead.inference import check_image_model
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.serve import telemetry
from clearhead.serve._pages import Page, docs_page
from clearhead.serve._service import ConcurrencyLimit, Service
from clearhead.serve.config import ServeConfig
from clearhead.serve.protocol import protocol_routes
from clearhead.serve.schemas import (
    PICTURE_BODY,
    ExplanationResponse,
    HeadWeights,
    PredictionResponse,
    error_responses,
)
from clearhead.serve.telemetry import CONTENT_TYPE

logger = logging.getLogger(__name__)

PREDICT = "/v1/predict"
PageOf = Callable[[ImageModel], str]

CLIENT_DISCONNECTED = 499  # nginx's code for a client that has disconnected; it is not sent
OTHER = "other"
MIN_COMPRESSED = 16_384  # bytes of a response; compressing smaller ones takes longer than it saves
NO_SNIFF, NO_STORE = (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")
CLOSE = (b"connection", b"close")
PICTURE_ERRORS = (400, 408, 413, 415, 422, 429, 500, 504)


class Application:
    """The ASGI application of one model: counts all responses, and adds headers to them."""

    def __init__(self, app: ASGIApp, service: Service, routes: Collection[str]) -> None:
        """`routes` are counted by name, all other paths as one."""
        self.app = app
        self.service = service
        self.routes = routes
        self.draining = False

    def drain(self) -> None:
        """From now on the server is not ready, and each response closes its connection."""
        self.service.is_ready = False
        self.draining = True

    def stop(self) -> None:
        """End the model processes at once; a start that waits for them goes on without them."""
        self.service.pool.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route = scope["path"] if scope["path"] in self.routes else OTHER

        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.service.metrics.requests.labels(route, message["status"]).inc()
                headers = [*message["headers"], NO_SNIFF]
                if not any(name == NO_STORE[0] for name, _ in headers):
                    headers.append(NO_STORE)
                message["headers"] = [*headers, CLOSE] if self.draining else headers
            await send(message)

        if scope["method"] == "HEAD":  # as GET; uvicorn sends no body
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, count_and_send)


def make_app(
    model: ImageModel, config: ServeConfig | None = None, *, page_of: PageOf | None = None
) -> Application:
    """An ASGI application that serves one model.

    Args:
        model: An image classifier.
        config: Limits of the server; `None` for the defaults.
        page_of: Makes the HTML page at / for the model; `None` for no page.

    Returns:
        The application, for `run` or another ASGI server.

    Raises:
        InputError: The model is not one of Clearhead's image classifiers.
        ConfigError: The engine cannot be used.
    """
    check_image_model(model, "make_app")
    config = config or ServeConfig()
    service = Service(model, config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service:
            yield

    app = FastAPI(
        title="Clearhead",
        version=version("clearhead"),
        description="Classifies pictures, and shows the attention behind a prediction.",
        lifespan=lifespan,
        docs_url=None,  # these two pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        telemetry={
            "tracing": False
        },  # /v1/predict does not come here, so `telemetry` has all spans
    )
    app.add_middleware(GZipMiddleware, minimum_size=MIN_COMPRESSED, compresslevel=5)
    for kind, handler in ERROR_HANDLERS.items():
        app.add_exception_handler(kind, handler)
    routers = _picture_routes(service), protocol_routes(service)
    for router in routers:
        app.include_router(router)
    _add_pages(app, service, page_of)
    all_routes = [route for owner in (app, *routers) for route in owner.routes]
    routes = {route.path for route in all_routes if isinstance(route, APIRoute)}
    limited = ConcurrencyLimit(
        _PredictFirst(service, app), metrics=service.metrics, max_concurrency=config.max_concurrency
    )
    # A page elsewhere must not reach the server by a name that resolves here (DNS rebinding).
    checked = TrustedHostMiddleware(limited, allowed_hosts=config.allowed_hosts, www_redirect=False)
    traced = telemetry.traced(checked) if config.telemetry else checked
    return Application(traced, service, {*routes, "/openapi.json"})


class _PredictFirst:
    """Handles /v1/predict itself: the framework takes half as long as its forward pass.

    FastAPI describes this route too.
    """

    def __init__(self, service: Service, others: ASGIApp) -> None:
        self.service = service
        self.others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["path"], scope["method"]) != (PREDICT, "POST"):
            await self.others(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await _predict(self.service, request)
        except (HTTPException, ClientDisconnect) as error:
            response = await ERROR_HANDLERS[type(error)](request, error)
        except Exception as error:
            logger.exception("a prediction failed")
            response = await _failed(request, error)
        await response(scope, receive, send)


async def _predict(service: Service, request: Request) -> Response:
    if request.scope["query_string"]:
        raise HTTPException(422, f"{PREDICT} has no query parameters; leave them out")
    return Response(await service.process(request, "picture"), media_type="application/json")


def _picture_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["pictures"])

    @router.post(
        PREDICT,
        openapi_extra=PICTURE_BODY,
        response_model=PredictionResponse,
        responses=error_responses(*PICTURE_ERRORS),
    )
    async def predict(request: Request) -> Response:
        """Classify the digits of a picture: the body itself, in a form, or in JSON."""
        return await _predict(service, request)

    if isinstance(service.model, VisionTransformer):
        _add_explain_route(router, service, service.model)
    else:
        name = type(service.model).__name__

        @router.post("/v1/explain", include_in_schema=False)
        async def no_attention() -> None:
            raise HTTPException(404, f"a {name} has no attention to explain")

    return router


def _add_explain_route(router: APIRouter, service: Service, model: VisionTransformer) -> None:
    depth, num_heads = model.config.depth, model.config.num_heads
    layer_numbers = Annotated[int, Field(ge=0, lt=depth)]
    head_numbers = Annotated[int, Field(ge=0, lt=num_heads)]

    class Selection(BaseModel, extra="forbid"):
        layers: Annotated[list[layer_numbers], Field(max_length=depth)] = list(range(depth))
        heads: Annotated[list[head_numbers], Field(max_length=num_heads)] = list(range(num_heads))

    @router.post(
        "/v1/explain", openapi_extra=PICTURE_BODY, responses=error_responses(*PICTURE_ERRORS)
    )
    async def explain(
        request: Request, selection: Annotated[Selection, Query()]
    ) -> ExplanationResponse:
        """Classify a picture, and return the attention weights of selected layers and heads.

        `?layers=0&layers=5&heads=2` selects two layers and one head; default: all.
        """
        decoded, result = await service.process(request, "digit")
        weights = result.attention[0]
        return ExplanationResponse(
            **result.predictions[0].to_dict(),
            grid=model.grid,
            num_prefix_tokens=model.num_prefix_tokens,
            pixels=decoded.inputs[0].pixels.tolist(),
            attention=[
                HeadWeights(layer=layer, head=head, weights=weights[layer, head].tolist())
                for layer in dict.fromkeys(selection.layers)
                for head in dict.fromkeys(selection.heads)
            ],
        )


def _add_pages(app: FastAPI, service: Service, page_of: PageOf | None) -> None:
    """Metrics, the page of the model, and the description of the API."""
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    microscope = cache(lambda make: Page(make(service.model)))
    description = cache(lambda: Page(docs_page(app.openapi())))

    @app.get("/metrics", response_class=Response, responses={**error_responses(400), 200: text})
    async def metrics() -> Response:
        """Counters and timings for Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    @app.get("/", response_class=HTMLResponse, include_in_schema=page_of is not None)
    async def page(request: Request) -> Response:
        """The microscope: a page that shows the model's attention."""
        if page_of is None:
            raise HTTPException(404, "this server has no page; see /docs")
        try:
            return (await run_in_threadpool(microscope, page_of)).response_to(request)
        except ConfigError as error:  # the page cannot show every model
            raise HTTPException(404, str(error)) from error

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs(request: Request) -> Response:
        """The OpenAPI description as a page."""
        return description().response_to(request)


async def _refused(request: Request, error: Any) -> Response:
    text = error.detail
    if text == HTTPStatus(error.status_code).phrase:  # the framework's own: 404 and 405
        text = f"{text}: {request.method} {request.url.path}; /docs lists all routes"
    return JSONResponse({"error": text}, error.status_code, error.headers)


async def _invalid(_: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"][1:]))
    base = " (counted from 0)" if first["type"] in ("less_than", "greater_than_equal") else ""
    text = f"{where}: {first['msg']}{base}, got {first['input']!r}"
    return JSONResponse({"error": text}, 422)


async def _disconnected(_: Request, __: Any) -> Response:
    return Response(status_code=CLIENT_DISCONNECTED)


async def _failed(_: Request, __: Any) -> Response:
    return JSONResponse({"error": "the server failed; its log has the reason"}, 500)


ERROR_HANDLERS: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
    HTTPException: _refused,
    StarletteHTTPException: _refused,
    RequestValidationError: _invalid,
    ClientDisconnect: _disconnected,
    Exception: _failed,
}
"""{"error": "…"} for all errors, as in the Open Inference Protocol"""
