"""The application: predictions, attention, metrics and the page; errors as JSON."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache, cached_property, partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearhead.errors import ConfigError
from clearhead.inference import (
    ModelCopy,
    check_image_model,
    load_engine,
    uses_digit_preprocessing,
)
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.serve import telemetry
from clearhead.serve._compute import Job, Kind
from clearhead.serve._limits import ConcurrencyLimit, read_body, within_deadline
from clearhead.serve._pages import Page, docs_page
from clearhead.serve._pictures import Selection
from clearhead.serve._pool import Pool
from clearhead.serve.config import ServeConfig
from clearhead.serve.protocol import add_protocol_routes
from clearhead.serve.schemas import (
    PICTURE_BODY,
    ExplanationResponse,
    PredictionResponse,
    error_responses,
)

PREDICT = "/v1/predict"
PageOf = Callable[[ImageModel], str]

CLIENT_DISCONNECTED = 499  # nginx's code for a client that has disconnected; it is not sent
OTHER = "other"
MIN_COMPRESSED = 16_384  # bytes of a response; compressing smaller ones takes longer than it saves
NO_SNIFF, NO_STORE = (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")
CLOSE = (b"connection", b"close")


class Application(FastAPI):
    """The ASGI application of one model: counts all responses, and adds headers to them."""

    def __init__(self, model: ImageModel, config: ServeConfig) -> None:
        if config.telemetry:
            telemetry.check_installed()
        # The engine is compiled and checked here; "auto" is decided once, for all processes.
        engine = config.engine
        if engine != "torch":
            engine = load_engine(model, engine, batch_size=config.max_batch).name
        self.model = model
        self.config = config
        self.metrics = telemetry.Metrics()
        self.pool = Pool(ModelCopy(model, engine), config, self.metrics)
        self.is_ready = self.draining = False
        super().__init__(
            title="Clearhead",
            version=version("clearhead"),
            description="Classifies pictures, and shows the attention behind a prediction.",
            lifespan=_lifespan,
            docs_url=None,  # FastAPI's two pages load scripts from other hosts
            redoc_url=None,
            redirect_slashes=False,
            telemetry={"tracing": False},  # `build_middleware_stack` adds it
            exception_handlers=ERROR_HANDLERS,
            middleware=[
                # Pages of other sites must not reach the server by a name that resolves to its
                # address (DNS rebinding).
                Middleware(
                    TrustedHostMiddleware, allowed_hosts=config.allowed_hosts, www_redirect=False
                ),
                Middleware(
                    ConcurrencyLimit, metrics=self.metrics, max_concurrency=config.max_concurrency
                ),
                Middleware(GZipMiddleware, minimum_size=MIN_COMPRESSED, compresslevel=5),
            ],
        )

    def build_middleware_stack(self) -> ASGIApp:
        """That of the framework, in the span of a request, which has the status of errors too."""
        stack = super().build_middleware_stack()
        return telemetry.traced(stack) if self.config.telemetry else stack

    @cached_property
    def paths(self) -> set[str]:
        """Paths that are counted by name; all others are counted as one."""
        return {route.path for route in self.routes if isinstance(route, Route)}

    def drain(self) -> None:
        """Report that the server is not ready, and close the connection after each response."""
        self.is_ready = False
        self.draining = True

    async def process(
        self, request: Request, kind: Kind, selection: Selection | None = None
    ) -> Response:
        """The response to a request; `HTTPException` if it exceeds a limit of size or time."""
        limit, seconds = self.config.body_limit, self.config.client_timeout
        body = await read_body(request, limit=limit, seconds=seconds)
        work = self.pool.run(Job.of(request, kind, body, selection))
        return await within_deadline(request, work, seconds=self.config.deadline)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        route = scope["path"] if scope["path"] in self.paths else OTHER

        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.metrics.requests.labels(route, message["status"]).inc()
                headers = [*message["headers"], NO_SNIFF]
                if not any(name == NO_STORE[0] for name, _ in headers):
                    headers.append(NO_STORE)
                message["headers"] = [*headers, CLOSE] if self.draining else headers
            await send(message)

        if scope["method"] == "HEAD":  # as GET; uvicorn sends no body
            scope = {**scope, "method": "GET"}
        await super().__call__(scope, receive, count_and_send)


@asynccontextmanager
async def _lifespan(app: Application) -> AsyncIterator[None]:
    async with app.pool:
        app.is_ready = True
        yield
        app.is_ready = False


def make_app(
    model: ImageModel, config: ServeConfig | None = None, *, page_of: PageOf | None = None
) -> Application:
    """An ASGI application that serves one model.

    Args:
        model: An image classifier.
        config: Configuration of the server; `None` for the defaults.
        page_of: A function from the model to the HTML page at /; `None` for no page.

    Returns:
        The application, for `run` or another ASGI server.

    Raises:
        InputError: The model is not one of Clearhead's image classifiers.
        ConfigError: The engine cannot be used, or OpenTelemetry is needed and not installed.
    """
    check_image_model(model, "make_app")
    config = config or ServeConfig()
    if config.name is None:
        name = "digits" if uses_digit_preprocessing(model.config) else "model"
        config = replace(config, name=name)
    app = Application(model, config)
    _add_picture_routes(app)
    add_protocol_routes(app)
    _add_pages(app, page_of)
    return app


def _add_picture_routes(app: Application) -> None:
    errors = error_responses(400, 408, 413, 415, 422, 429, 500, 504)
    post = partial(app.post, tags=["pictures"], openapi_extra=PICTURE_BODY, responses=errors)

    async def predict(request: Request) -> Response:
        """Classify the digits of a picture: the body itself, in a form, or in JSON."""
        if request.scope["query_string"]:
            raise HTTPException(422, f"{PREDICT} has no query parameters; leave them out")
        return await app.process(request, "picture")

    # The first route is used, because it takes half the time; the second describes it in OpenAPI.
    app.add_route(PREDICT, predict, ["POST"])
    post(PREDICT, response_model=PredictionResponse)(predict)

    if not isinstance(app.model, VisionTransformer):
        name = type(app.model).__name__

        @app.post("/v1/explain", include_in_schema=False)
        async def no_attention() -> None:
            raise HTTPException(404, f"a {name} has no attention to explain")

        return
    depth, num_heads = app.model.config.depth, app.model.config.num_heads
    layer_index = Annotated[int, Field(ge=0, lt=depth)]
    head_index = Annotated[int, Field(ge=0, lt=num_heads)]

    class SelectionQuery(BaseModel, extra="forbid"):
        layers: Annotated[list[layer_index], Field(max_length=depth)] = list(range(depth))
        heads: Annotated[list[head_index], Field(max_length=num_heads)] = list(range(num_heads))

    @post("/v1/explain", response_model=ExplanationResponse)
    async def explain(request: Request, query: Annotated[SelectionQuery, Query()]) -> Response:
        """Classify a picture, and return the attention weights of selected layers and heads.

        `?layers=0&layers=5&heads=2` selects two layers and one head; by default all.
        """
        return await app.process(request, "picture", Selection(query.layers, query.heads))


def _add_pages(app: Application, page_of: PageOf | None) -> None:
    """Add the metrics, the page of the model, and the description of the API."""
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    microscope = cache(lambda make: Page(make(app.model)))
    description = cache(lambda: Page(docs_page(app.openapi())))

    @app.get("/metrics", response_class=Response, responses={**error_responses(400), 200: text})
    async def metrics() -> Response:
        """Counters and timings for Prometheus."""
        return Response(app.metrics.text(), headers={"content-type": telemetry.CONTENT_TYPE})

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
    text = "the server failed; its log has the reason"
    # The exception goes on to uvicorn, which closes the connection.
    return JSONResponse({"error": text}, 500, {"connection": "close"})


ERROR_HANDLERS: dict[
    int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]
] = {
    HTTPException: _refused,
    StarletteHTTPException: _refused,
    RequestValidationError: _invalid,
    ClientDisconnect: _disconnected,
    Exception: _failed,
}
"""{"error": "…"} for all errors, as in the Open Inference Protocol"""
