"""The application: all routes, behind one door."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

from clearhead.errors import ConfigError
from clearhead.models.pretrained import ImageModel
from clearhead.serve.attention import AttentionOf, attention_of
from clearhead.serve.bodies import ClientGoneError, LastResponse
from clearhead.serve.config import ServeConfig
from clearhead.serve.door import Door
from clearhead.serve.metrics import CONTENT_TYPE
from clearhead.serve.openapi import in_our_words, refusals, refused_in_our_words
from clearhead.serve.protocol import health_routes, infer_routes, model_routes
from clearhead.serve.routes import explain_routes, predict_routes
from clearhead.serve.service import Service

PageOf = Callable[[ImageModel], str]

CLIENT_GONE = 499  # as nginx logs it; nobody receives it


def make_app(
    model: ImageModel,
    config: ServeConfig | None = None,
    *,
    attention_of: AttentionOf = attention_of,
    page_of: PageOf | None = None,
) -> Door:
    """An ASGI application that serves one model; `page_of` gives the page at / for it."""
    config = config or ServeConfig()
    service = Service(model, config, attention_of)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service:
            yield

    app = FastAPI(
        title="Clearhead",
        version=version("clearhead"),
        description="Reads pictures, and shows the attention that led to the answer.",
        lifespan=lifespan,
        docs_url=None,  # these two pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    _answer_errors_as_json(app)
    routers = (
        predict_routes(service),
        explain_routes(service),
        health_routes(service),
        model_routes(service),
        infer_routes(service),
        _metrics_route(service),
        _page_route(model, page_of),
    )
    for router in routers:
        app.include_router(router)
    routes = [r for router in routers for r in router.routes if isinstance(r, APIRoute)]
    described = (app.openapi_url,) if app.openapi_url else ()
    return Door(
        app,
        service=service,
        routes=frozenset((*(route.path for route in routes), *described)),
        limited=frozenset(route.path for route in routes if "POST" in (route.methods or ())),
    )


def _metrics_route(service: Service) -> APIRouter:
    router = APIRouter()
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}

    @router.get("/metrics", response_class=Response, responses={**refusals(400), 200: text})
    async def metrics() -> Response:
        """What is counted and timed, for Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    return router


def _page_route(model: ImageModel, page_of: PageOf | None) -> APIRouter:
    router = APIRouter()
    pages: list[str] = []

    @router.get("/", response_class=HTMLResponse, include_in_schema=page_of is not None)
    async def page() -> HTMLResponse:
        """The microscope: a page to look through the model's attention."""
        if page_of is None:
            raise HTTPException(404, "this server has no page; its interface is at /openapi.json")
        if not pages:
            try:
                pages.append(await run_in_threadpool(page_of, model))
            except ConfigError as error:  # not every model fits on a page
                raise HTTPException(404, str(error)) from error
        return HTMLResponse(pages[0])

    return router


def _answer_errors_as_json(app: FastAPI) -> None:
    """{"error": "..."} for all of them, which is the Open Inference Protocol's way."""

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> Response:
        closes = error.status_code == 413
        response = LastResponse if closes else JSONResponse
        words = refused_in_our_words(request.method, request.url.path, error)
        return response({"error": words}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        described = app.openapi()["paths"][request.url.path][request.method.lower()]
        known = [parameter["name"] for parameter in described["parameters"]]
        words = in_our_words(error.errors()[0], known)
        return JSONResponse({"error": words}, 422)

    @app.exception_handler(ClientGoneError)
    async def gone(_: Request, __: ClientGoneError) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return JSONResponse({"error": "the server failed; its log says why"}, 500)
