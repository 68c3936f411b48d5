from typing import Any

import httpx
import pydantic
import pytest

from clearhead.errors import ConfigError
from clearhead.models.build import build
from clearhead.models.config import CNNConfig
from clearhead.models.pretrained import ImageModel
from clearhead.serve.app import make_app
from clearhead.serve.config import ServeConfig
from clearhead.serve.schemas import Answer, HeadWeights

from .loops import run_alone


def get(app: Any, method: str, path: str) -> httpx.Response:
    """From an application that was not started: it has no decoders and no compute thread."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path)

    reply: httpx.Response = run_alone(ask())
    return reply


def test_without_a_page_the_root_says_so(model: ImageModel) -> None:
    reply = get(make_app(model), "GET", "/")
    assert (reply.status_code, list(reply.json())) == (404, ["error"])


def test_the_page_is_made_once_for_the_model_that_is_served(model: ImageModel) -> None:
    made: list[ImageModel] = []

    def page_of(one: ImageModel) -> str:
        made.append(one)
        return "<!doctype html><title>é</title>"

    app = make_app(model, page_of=page_of)
    for _ in range(2):
        reply = get(app, "GET", "/")
        assert (reply.status_code, reply.text) == (200, "<!doctype html><title>é</title>")
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert made == [model]


def test_a_model_that_fits_on_no_page_is_served_without_one(model: ImageModel) -> None:
    def page_of(_: ImageModel) -> str:
        raise ConfigError("too many tokens")

    reply = get(make_app(model, page_of=page_of), "GET", "/")
    assert (reply.status_code, reply.json()) == (404, {"error": "too many tokens"})


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("GET", "/nowhere", 404, "there is nothing at /nowhere; /openapi.json says what there is"),
        ("GET", "/v1/predict", 405, "/v1/predict does not answer GET; use POST"),
        ("DELETE", "/metrics", 405, "/metrics does not answer DELETE; use GET"),
    ],
)
def test_a_wrong_address_or_method_is_told_what_to_do(
    model: ImageModel, method: str, path: str, status: int, told: str
) -> None:
    reply = get(make_app(model), method, path)
    assert (reply.status_code, reply.json()) == (status, {"error": told})


@pytest.mark.parametrize(
    ("path", "status"), [("/v2/health/live", 200), ("/nowhere", 404), ("/v1/predict", 405)]
)
def test_head_is_get(model: ImageModel, path: str, status: int) -> None:
    assert get(make_app(model), "HEAD", path).status_code == status


def test_the_description_is_counted_by_its_name(model: ImageModel) -> None:
    app = make_app(model)
    get(app, "GET", "/openapi.json")
    get(app, "GET", "/nowhere")
    counted = get(app, "GET", "/metrics").text
    assert 'route="/openapi.json",status="200"} 1.0' in counted
    assert 'route="other",status="404"} 1.0' in counted


def test_before_it_is_started_it_is_live_and_not_ready(model: ImageModel) -> None:
    app = make_app(model, ServeConfig(name="other"))
    assert get(app, "GET", "/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/other/ready"):
        assert get(app, "GET", path).status_code == 503


def test_a_model_without_attention_has_nothing_to_explain() -> None:
    app = make_app(build(CNNConfig(widths=(2,))))
    reply = get(app, "POST", "/v1/explain")
    assert (reply.status_code, "ConvNet" in reply.json()["error"]) == (404, True)
    assert "/v1/explain" not in get(app, "GET", "/openapi.json").json()["paths"]


def test_a_defect_is_one_line_and_tells_nothing(model: ImageModel) -> None:
    def page_of(_: ImageModel) -> str:
        raise ZeroDivisionError("a secret")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(
            make_app(model, page_of=page_of), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/")

    reply = run_alone(ask())
    assert (reply.status_code, list(reply.json())) == (500, ["error"])
    assert "secret" not in reply.text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_answer_can_hold_nan(value: float) -> None:
    with pytest.raises(pydantic.ValidationError):
        HeadWeights(layer=0, head=0, weights=[[value]])
    with pytest.raises(pydantic.ValidationError):
        Answer(
            label="1",
            probability=1,
            runner_up=None,
            runner_up_probability=0,
            probabilities=[value],
            classes=["1"],
            warnings=[],
        )


def test_no_endpoint_takes_a_path_an_address_or_a_model(model: ImageModel) -> None:
    described = get(make_app(model), "GET", "/openapi.json").json()
    parameters = {
        (path, parameter["in"], parameter["name"])
        for path, methods in described["paths"].items()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
    }
    assert parameters == {("/v1/explain", "query", "layers"), ("/v1/explain", "query", "heads")}
    assert not any("{" in path for path in described["paths"])
