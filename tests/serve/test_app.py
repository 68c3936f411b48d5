"""The server's own routes: predictions, attention, the page, errors."""

import base64
import gzip
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pydantic
import pytest
from PIL import Image, ImageDraw

from clearhead.data.preprocessing.digits import NO_DIGIT
from clearhead.errors import ConfigError, InputError
from clearhead.inference import predict, prepare
from clearhead.models import build
from clearhead.models.config import CNNConfig
from clearhead.models.pretrained import ImageModel
from clearhead.serve import telemetry
from clearhead.serve.app import Application, make_app
from clearhead.serve.config import ServeConfig
from clearhead.serve.schemas import HeadWeights

from .reference import attention_in_float64
from .server import BLANK, MODEL, ServerThread, drawn, encoded, png, run_async


def form(file: bytes, end: str = "--X--\r\n") -> tuple[bytes, str]:
    head = '--X\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head.encode() + file + b"\r\n" + end.encode(), "multipart/form-data; boundary=X"


def test_http_and_python_give_the_same_prediction(server: ServerThread, model: ImageModel) -> None:
    probabilities = set()
    for number in range(6):
        response = server.predict(png(number))
        expected = predict(model, png(number)).to_dict()
        result = response.json()
        assert (response.status, response.headers["content-type"]) == (200, "application/json")
        np.testing.assert_allclose(
            result.pop("probabilities"), expected.pop("probabilities"), atol=1e-6
        )
        probabilities.add(round(result["probability"], 4))
        for key in ("probability", "runner_up_probability"):
            assert result.pop(key) == pytest.approx(expected.pop(key), abs=1e-6)
        assert result == expected
    assert len(probabilities) == 6


def test_several_digits_come_with_their_boxes(server: ServerThread, model: ImageModel) -> None:
    page = Image.new("L", (240, 90), 255)
    for left in (10, 90, 170):
        ImageDraw.Draw(page).line([(left, 10), (left + 40, 13), (left + 15, 70)], 0, width=7)
    result = server.predict(encoded(page)).json()
    expected = predict(model, page)
    assert (result["label"], len(result["digits"]), len(expected.digits)) == (expected.label, 3, 3)
    assert [digit["box"] for digit in result["digits"]] == [
        [*x.box] for x in expected.digits if x.box
    ]
    assert all(len(digit["probabilities"]) == 10 for digit in result["digits"])
    explained = server.request("POST", "/v1/explain", encoded(page)).json()
    assert explained["digits"] == [{key: explained[key] for key in result["digits"][0]}]
    assert len(explained["attention"]) == 15


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "PPM"])
def test_a_file_in_a_form_or_of_any_content_type_gives_the_same(
    server: ServerThread, kind: str
) -> None:
    file = encoded(drawn(3), kind)
    expected = server.predict(file).json()
    types = ("image/jpeg", "multi/part", "", "application/x-www-form-urlencoded")
    for body, content_type in (form(file), *((file, name) for name in types)):
        response = server.request("POST", "/v1/predict", body, content_type=content_type)
        assert (response.status, response.json()) == (200, expected)


def test_blank_paper_has_no_label_and_can_be_explained(server: ServerThread) -> None:
    result = server.predict(BLANK).json()
    assert (result["label"], result["probabilities"], result["warnings"]) == (None, [], [NO_DIGIT])
    explained = server.request("POST", "/v1/explain", BLANK).json()
    assert (explained["label"], len(explained["attention"])) == (None, 15)


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"", "image/png", "empty"),
        (b"no picture", "image/png", "not an image"),
        (png(0)[:-30], "image/png", "damaged or truncated"),
        (*form(b"no picture"), "not an image"),
        (*form(b""), "empty"),
        (*form(png(0), end=""), "has 0"),
        (*form(png(0), end="--X\r\n" + form(png(1))[0].decode("latin-1")[5:]), "has 2"),
        (b"--Y\r\n", "multipart/form-data; boundary=X", "damaged"),
        (png(0), "multipart/form-data", "damaged"),
        (png(0).translate(None, b"\0\r\n"), "application/x-www-form-urlencoded", "--data-binary"),
        (b"image=%89PNG", "application/x-www-form-urlencoded", "--data-binary"),
        (encoded(Image.new("1", (6_000, 6_000))), "image/png", "6000 × 6000"),
    ],
)
def test_an_unreadable_picture_is_an_error_of_one_line(
    server: ServerThread, body: bytes, content_type: str, message: str
) -> None:
    response = server.request("POST", "/v1/predict", body, content_type=content_type)
    assert (response.status, list(response.json())) == (422, ["error"])
    assert message in response.json()["error"]
    assert "\n" not in response.json()["error"]


def test_the_attention_weights_equal_a_reference_in_float64(
    server: ServerThread, model: ImageModel
) -> None:
    result = server.request("POST", "/v1/explain", png(4)).json()
    pixels = prepare(png(4), model.config).pixels.numpy()
    assert result["pixels"] == pixels.tolist()
    assert (result["grid"], result["num_prefix_tokens"]) == ([4, 4], 1)
    assert result["label"] == predict(model, png(4)).label
    expected = attention_in_float64(model, pixels)
    assert [(part["layer"], part["head"]) for part in result["attention"]] == [
        (layer, head) for layer in range(3) for head in range(5)
    ]
    for part in result["attention"]:
        weights = np.array(part["weights"])
        np.testing.assert_allclose(weights, expected[part["layer"], part["head"]], atol=2e-5)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def test_layers_and_heads_can_be_selected(server: ServerThread) -> None:
    all_parts = server.request("POST", "/v1/explain", png(5)).json()["attention"]
    path = "/v1/explain?layers=2&layers=0&layers=2&heads=4"
    some = server.request("POST", path, png(5)).json()["attention"]
    assert_close(some, [all_parts[2 * 5 + 4], all_parts[4]])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/explain?layers=3", "layers.0: Input should be less than 3 (counted from 0), got '3'"),
        ("/v1/explain?layers=0&heads=-1", "heads.0: Input should be greater than or equal to 0"),
        ("/v1/explain?heads=x", "heads.0: Input should be a valid integer"),
        ("/v1/explain?layers=0&layers=1&layers=2&layers=0", "layers: List should have at most 3"),
        ("/v1/explain?layer=1", "layer: Extra inputs are not permitted"),
        ("/v1/predict?layers=1", "no query parameters"),
    ],
)
def test_a_wrong_query_parameter_is_named(server: ServerThread, path: str, message: str) -> None:
    response = server.request("POST", path, png(5))
    assert (response.status, message in response.json()["error"]) == (422, True)


def test_concurrent_requests_get_the_responses_of_single_ones(server: ServerThread) -> None:
    bodies = [png(number) for number in range(23)]
    bodies[7] = b"no picture"
    calls = [
        ("/v1/explain" if number % 5 == 3 else "/v1/predict", body)
        for number, body in enumerate(bodies)
    ]
    alone = [server.request("POST", *call) for call in calls]
    before = server.metrics()
    with ThreadPoolExecutor(23) as pool:
        together = list(pool.map(lambda call: server.request("POST", *call), calls))
    after = server.metrics()
    assert [response.status for response in together] == [422 if n == 7 else 200 for n in range(23)]
    passes, images = (
        after[f"clearhead_batch_size_{name}"] - before[f"clearhead_batch_size_{name}"]
        for name in ("count", "sum")
    )
    assert images == 22
    assert passes < 22
    for one, other in zip(alone, together, strict=True):
        assert_close(one.json(), other.json())


def assert_close(one: Any, other: Any) -> None:
    if isinstance(one, float):
        assert abs(one - other) <= 1e-6
    elif isinstance(one, list | dict):
        assert len(one) == len(other)
        for key in one if isinstance(one, dict) else range(len(one)):
            assert_close(one[key], other[key])
    else:
        assert one == other


def respond(app: Application, method: str, path: str) -> tuple[int, Any]:
    """Status and body from an application that was not started."""
    status, headers, body = exchange(app, method, path)
    is_json = headers[b"content-type"] == b"application/json"
    return status, json.loads(body) if is_json else body.decode()


def exchange(
    app: Application, method: str, path: str, **headers: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body from an application that was not started."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "query_string": b""}
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope |= {"headers": [(b"host", b"localhost"), *given], "http_version": "1.1"}
    scope |= {"scheme": "http", "server": ("localhost", 80), "client": ("localhost", 9)}
    run_async(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], dict(sent[0]["headers"]), body


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_picture_in_json_is_base64(server: ServerThread, prefix: str) -> None:
    body = json.dumps({"image": prefix + base64.b64encode(png(2)).decode()}).encode()
    for content_type in ("application/json", "Application/JSON; charset=utf-8"):
        response = server.request("POST", "/v1/predict", body, content_type=content_type)
        assert (response.status, response.json()) == (200, server.predict(png(2)).json())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "invalid JSON"),
        (b'{"image": "*"}', "invalid base64"),
        (b'{"image": "\xc3\xa9"}', "invalid"),
        (b'{"image": 5}', "expected"),
        (b'{"image": "", "more": 1}', "expected"),
        (b"[]", "expected"),
        (b"[" * 100_000, "invalid JSON"),
        (b'{"image": ""}', "empty"),
        (b'{"image": "AAAA"}', "not an image"),
    ],
)
def test_wrong_json_is_an_error_of_one_line(
    server: ServerThread, body: bytes, message: str
) -> None:
    response = server.request("POST", "/v1/predict", body, content_type="application/json")
    assert (response.status, message in response.json()["error"]) == (422, True)


def test_the_page_is_compressed_and_revalidated(model: ImageModel) -> None:
    app = make_app(model, page_of=lambda _: "é" * 1000)

    def page(**headers: str) -> tuple[int, dict[bytes, bytes], bytes]:
        return exchange(app, "GET", "/", **headers)

    status, headers, body = page()
    assert (status, body.decode()) == (200, "é" * 1000)
    etag = headers[b"etag"].decode()
    assert headers[b"cache-control"] == b"no-cache"
    for accepted in ("gzip", "br, gzip;q=0.5", "*"):
        _, headers, body = page(accept_encoding=accepted)
        assert headers[b"content-encoding"] == b"gzip"
        assert (gzip.decompress(body).decode(), len(body) < 200) == ("é" * 1000, True)
    for refused in ("", "br", "gzip;q=0", "gzip; q=0.0"):
        assert b"content-encoding" not in page(accept_encoding=refused)[1]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        status, headers, body = page(if_none_match=known)
        assert (status, body, headers[b"etag"].decode()) == (304, b"", etag)
    assert page(if_none_match='"x"')[0] == 200


def test_docs_describe_every_route_without_scripts_from_anywhere(server: ServerThread) -> None:
    page = server.request("GET", "/docs").body.decode()
    for path in server.request("GET", "/openapi.json").json()["paths"]:
        assert f" {path}</code>" in page
    address = "http://127.0.0.1:8000"
    for path in ("/v1/predict", "/v1/explain"):
        assert f"<pre>curl --data-binary @photo.jpg {address}{path}</pre>" in page
    assert f"<pre>curl {address}/metrics</pre>" in page
    assert f"{address}{MODEL}/infer" not in page  # its body is no file that people have
    assert "<table>\n</table>" not in page
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=.(?:https?:)?//", page)


def test_the_models_name_is_its_own_unless_another_is_given() -> None:
    letters = build(CNNConfig(widths=(2,), num_classes=2, class_names=("a", "b")))
    for model, name in ((build(CNNConfig(widths=(2,))), "digits"), (letters, "model")):
        status, body = respond(make_app(model), "GET", f"/v2/models/{name}")
        assert (status, body["name"]) == (200, name)
    app = make_app(letters, ServeConfig(name="letters"))
    assert respond(app, "GET", "/v2/models/letters")[0] == 200


def test_telemetry_has_a_span_for_each_request(model: ImageModel) -> None:
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    spans = export.InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)

    def page_of(_: ImageModel) -> str:
        raise ZeroDivisionError

    app = make_app(model, ServeConfig(telemetry=True), page_of=page_of)
    for path in ("/v2/health/live", "/v2", "/nowhere"):
        respond(app, "GET", path)
    with pytest.raises(ZeroDivisionError):
        respond(app, "GET", "/")
    kind = trace.SpanKind.SERVER  # the framework adds its own inside
    served = [span for span in spans.get_finished_spans() if span.kind is kind]
    assert len(served) == 3
    for span, status in zip(served, (200, 404, 500), strict=True):
        assert status in span.attributes.values()  # its key depends on OpenTelemetry's version


def test_spans_are_exported_under_the_name_of_the_service_unless_something_exports_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporters = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    from opentelemetry import trace

    providers: list[Any] = []
    exported: list[Any] = []

    def export(_: object, spans: Any) -> None:
        exported.extend(spans)

    monkeypatch.setattr(exporters.OTLPSpanExporter, "export", export)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: providers[-1] if providers else None)
    monkeypatch.setattr(trace, "set_tracer_provider", providers.append)
    for name in ("first", "second"):
        telemetry.start(name)
    (provider,) = providers
    with provider.get_tracer("test").start_as_current_span("a request"):
        pass
    provider.shutdown()
    (span,) = exported
    assert span.name == "a request"
    assert span.resource.attributes["service.name"] == "first"


def test_the_page_is_built_once(model: ImageModel) -> None:
    built: list[ImageModel] = []

    def page_of(served: ImageModel) -> str:
        built.append(served)
        return "<!doctype html><title>é</title>"

    app = make_app(model, page_of=page_of)
    for _ in range(2):
        assert respond(app, "GET", "/") == (200, "<!doctype html><title>é</title>")
    assert built == [model]


def test_a_model_that_the_page_cannot_show_is_served_without_it(model: ImageModel) -> None:
    def page_of(_: ImageModel) -> str:
        raise ConfigError("too many tokens")

    app = make_app(model, page_of=page_of)
    assert respond(app, "GET", "/") == (404, {"error": "too many tokens"})
    assert respond(make_app(model), "GET", "/")[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/predict", 405), ("DELETE", "/metrics", 405)],
)
def test_an_unknown_path_or_method_is_named(
    server: ServerThread, method: str, path: str, status: int
) -> None:
    response = server.request(method, path)
    assert response.status == status
    assert f"{method} {path}; /docs lists all routes" in response.json()["error"]


def test_before_startup_the_server_is_live_and_not_ready(model: ImageModel) -> None:
    app = make_app(model, ServeConfig(name="other"))
    for method in ("GET", "HEAD"):
        assert respond(app, method, "/v2/health/live")[0] == 200
    for path in ("/v2/health/ready", "/v2/models/other/ready"):
        assert respond(app, "GET", path)[0] == 503


@pytest.mark.parametrize("wrong", ["digits", None, 3])
def test_an_application_needs_an_image_model(wrong: Any) -> None:
    with pytest.raises(InputError, match="make_app needs"):
        make_app(wrong)


def test_a_model_without_attention_has_no_explain_route() -> None:
    app = make_app(build(CNNConfig(widths=(2,))))
    status, body = respond(app, "POST", "/v1/explain")
    assert (status, "ConvNet" in body["error"]) == (404, True)
    assert "/v1/explain" not in respond(app, "GET", "/openapi.json")[1]["paths"]


def test_no_route_takes_a_path_an_address_or_a_model(server: ServerThread) -> None:
    described = server.request("GET", "/openapi.json").json()
    parameters = {
        (path, parameter["in"], parameter["name"])
        for path, methods in described["paths"].items()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
    }
    assert parameters == {("/v1/explain", "query", "layers"), ("/v1/explain", "query", "heads")}
    assert not any("{" in path for path in described["paths"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_response_can_contain_nan(value: float) -> None:
    with pytest.raises(pydantic.ValidationError):
        HeadWeights(layer=0, head=0, weights=[[value]])
