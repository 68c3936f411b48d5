"""Binary tensors of the Open Inference Protocol, compressed bodies, and Triton's own client."""

import gzip
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch

from clearhead.inference import ModelInput, predict_inputs
from clearhead.models.pretrained import ImageModel

from .server import MODEL, Response, ServerThread, png, tensor, tensor_request

SIZE = "inference-header-content-length"


def send(server: ServerThread, head: dict[str, Any], tail: bytes, size: str = "") -> Response:
    text = json.dumps(head).encode()
    headers = {SIZE.replace("-", "_"): size or str(len(text))}
    return server.request("POST", f"{MODEL}/infer", text + tail, **headers)


def binary(rows: int, *, size: int = 0, data: Any = None, **more: Any) -> dict[str, Any]:
    images = {"name": "images", "shape": [rows, 1, 28, 28], "datatype": "UINT8", "data": data}
    return {"inputs": [images | {"parameters": {"binary_data_size": size or rows * 784}}], **more}


def test_binary_tensors_give_the_same_as_json(server: ServerThread) -> None:
    pixels = tensor(3, seed=2)
    expected = server.request("POST", f"{MODEL}/infer", tensor_request(3, seed=2)).json()
    assert send(server, binary(3), pixels.tobytes()).json() == expected
    response = send(server, binary(3, parameters={"binary_data_output": True}), pixels.tobytes())
    assert response.headers["content-type"] == "application/octet-stream"
    size = int(response.headers[SIZE])
    head, tail = json.loads(response.body[:size]), response.body[size:]
    assert [output["parameters"]["binary_data_size"] for output in head["outputs"]] == [240, 15]
    assert not any("data" in output for output in head["outputs"])
    assert np.frombuffer(tail[:240], "<f8").tolist() == expected["outputs"][0]["data"]
    labels = expected["outputs"][1]["data"]
    assert tail[240:] == b"".join(struct.pack("<I", 1) + label.encode() for label in labels)


def test_each_output_can_be_binary_or_json(server: ServerThread) -> None:
    outputs = [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    response = send(server, binary(1, outputs=outputs), tensor(1).tobytes())
    head = json.loads(response.body[: int(response.headers[SIZE])])
    assert [output["name"] for output in head["outputs"]] == ["label", "probabilities"]
    assert "data" in head["outputs"][0]
    assert head["outputs"][1]["parameters"] == {"binary_data_size": 80}
    outputs = [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": False}}]
    wanted = binary(1, outputs=outputs, parameters={"binary_data_output": True})
    response = send(server, wanted, tensor(1).tobytes())
    head = json.loads(response.body[: int(response.headers[SIZE])])
    assert ["data" in output for output in head["outputs"]] == [False, True]


@pytest.mark.parametrize(
    ("head", "tail", "size", "message"),
    [
        (binary(1), bytes(783), "", "783 bytes were received"),
        (binary(1), bytes(785), "", "785 bytes were received"),
        (binary(2), bytes(784), "", "784 bytes were received"),
        (binary(2, size=784), bytes(784), "", "has 1568 bytes"),
        (binary(1), bytes(784), "9999", "at most the body's"),
        (binary(1), bytes(784), "-1", "at most the body's"),
        (binary(1), bytes(784), "9" * 5000, "at most the body's"),
        (binary(1), bytes(784), "x", "at most the body's"),
        (binary(1), bytes(784), "3", "JSON"),
        (binary(1), b"", "", "0 bytes were received"),
        (json.loads(tensor_request(1)), b"1", "", "either data, or binary_data_size"),
        (binary(1, data=[0] * 784), bytes(784), "", "either data, or binary_data_size"),
    ],
)
def test_wrong_sizes_are_errors_of_one_line(
    server: ServerThread, head: dict[str, Any], tail: bytes, size: str, message: str
) -> None:
    response = send(server, head, tail, size)
    assert (response.status, list(response.json())) == (400, ["error"])
    assert message in response.json()["error"]


def deflated(body: bytes) -> bytes:
    return zlib.compress(body)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), (" X-GZIP", gzip.compress), ("deflate", deflated)],
)
def test_bodies_may_be_compressed(server: ServerThread, encoding: str, compress: Any) -> None:
    for path, body in ((f"{MODEL}/infer", tensor_request(2)), ("/v1/predict", png(1))):
        plain = server.request("POST", path, body, content_encoding="identity").json()
        assert server.request("POST", path, body).json() == plain
        sent = compress(body)
        packed = server.request("POST", path, sent, content_encoding=encoding)
        assert (packed.status, packed.json()) == (200, plain)
        for wrong in (sent[:-9], b"not compressed", sent + compress(b"second")):
            response = server.request("POST", path, wrong, content_encoding=encoding)
            assert (response.status, list(response.json())) == (415, ["error"])


def test_a_body_is_limited_after_decompression_too(server: ServerThread) -> None:
    bomb = gzip.compress(bytes(10**8))
    assert len(bomb) < 200_000
    response = server.request("POST", "/v1/predict", bomb, content_encoding="gzip")
    assert (response.status, "200,000 bytes" in response.json()["error"]) == (413, True)
    response = server.request("POST", "/v1/predict", png(1), content_encoding="br")
    assert (response.status, "gzip or deflate" in response.json()["error"]) == (415, True)


@pytest.mark.unchecked
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_tritonclient_works_with_its_defaults(
    server: ServerThread, model: ImageModel, packed: str | None
) -> None:
    triton = pytest.importorskip("tritonclient.http")
    pixels = tensor(4, seed=9)
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digits")
        assert client.get_server_metadata()["name"] == "clearhead"
        (described,) = client.get_model_metadata("digits")["inputs"]
        images = triton.InferInput(described["name"], pixels.shape, described["datatype"])
        images.set_data_from_numpy(pixels)
        compression = {
            "request_compression_algorithm": packed,
            "response_compression_algorithm": packed,
        }
        result = client.infer("digits", [images], request_id="7", **compression)
        label = triton.InferRequestedOutput("label", binary_data=False)
        labels = client.infer("digits", [images], model_version="1", outputs=[label])
    finally:
        client.close()
    expected = predict_inputs(model, [ModelInput(torch.from_numpy(row)) for row in pixels])
    assert result.get_response()["id"] == "7"
    np.testing.assert_allclose(
        result.as_numpy("probabilities"), [one.probabilities for one in expected], atol=1e-6
    )
    assert [x.decode() for x in result.as_numpy("label")] == [one.label for one in expected]
    assert labels.as_numpy("label").tolist() == [one.label for one in expected]
    assert labels.as_numpy("probabilities") is None
