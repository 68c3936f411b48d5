"""The Open Inference Protocol, as its own description has it."""

import json
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import torch

from clearhead.inference import ModelInput, predict_inputs
from clearhead.models.pretrained import ImageModel

from .server import MODEL, Response, ServerThread, tensor, tensor_request


def infer(server: ServerThread, body: Any, path: str = f"{MODEL}/infer") -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.request("POST", path, data, content_type="application/json")


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_has_a_name_and_a_version(server: ServerThread, path: str) -> None:
    expected = {
        "name": "clearhead",
        "version": version("clearhead"),
        "extensions": ["binary_tensor_data"],
    }
    assert server.request("GET", path).json() == expected


def test_it_is_live_and_ready(server: ServerThread) -> None:
    assert server.request("GET", "/v2/health/live").json() == {"live": True}
    assert server.request("GET", "/v2/health/ready").json() == {"ready": True}
    for path in (f"{MODEL}/ready", f"{MODEL}/versions/1/ready"):
        assert server.request("GET", path).json() == {"name": "digits", "ready": True}


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/1"])
def test_the_metadata_describe_inputs_and_outputs(server: ServerThread, path: str) -> None:
    result = server.request("GET", path).json()
    assert (result["name"], result["versions"]) == ("digits", ["1"])
    assert result["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
    assert result["outputs"] == [
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 10]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]


@pytest.mark.parametrize("path", [f"{MODEL}/infer", f"{MODEL}/versions/1/infer"])
@pytest.mark.parametrize("nested", [True, False])
def test_infer_returns_the_models_probabilities(
    server: ServerThread, model: ImageModel, path: str, nested: bool
) -> None:
    pixels = tensor(3, seed=7)
    data = pixels.tolist() if nested else pixels.ravel().tolist()
    images = {"name": "images", "shape": [3, 1, 28, 28], "datatype": "UINT8", "data": data}
    result = infer(server, {"id": "q7", "inputs": [images]}, path).json()
    expected = predict_inputs(model, [ModelInput(torch.from_numpy(row)) for row in pixels])
    probabilities, labels = result.pop("outputs")
    assert result == {"model_name": "digits", "model_version": "1", "id": "q7"}
    assert (probabilities["shape"], labels["shape"]) == ([3, 10], [3])
    assert labels["data"] == [prediction.label for prediction in expected]
    np.testing.assert_allclose(
        np.reshape(probabilities["data"], (3, 10)),
        [prediction.probabilities for prediction in expected],
        atol=1e-6,
    )


def test_outputs_can_be_selected_and_the_id_is_optional(server: ServerThread) -> None:
    result = infer(server, tensor_request(1, outputs=[{"name": "label"}])).json()
    assert "id" not in result
    assert [output["name"] for output in result["outputs"]] == ["label"]


@pytest.mark.parametrize("given", ["", "é"])
def test_the_id_is_returned_unchanged(server: ServerThread, given: str) -> None:
    assert infer(server, tensor_request(1, id=given)).json()["id"] == given


def test_a_whole_number_may_be_written_with_a_point(server: ServerThread) -> None:
    expected = infer(server, tensor_request(1)).json()
    body: dict[str, Any] = json.loads(tensor_request(1))
    body["inputs"][0]["data"] = [float(value) for value in body["inputs"][0]["data"]]
    assert infer(server, body).json() == expected


def changed(**tensor_changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(tensor_request(1))
    body["inputs"][0] |= tensor_changes
    return body


ZEROS = [0] * 784


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"\xff", "JSON"),
        (tensor_request(1).replace(b'"data": [', b'"data": [NaN, '), ""),
        ({}, "inputs: Field required"),
        ({"inputs": []}, "one input"),
        ({"inputs": [changed()["inputs"][0]] * 2}, "one input"),
        (changed(name="pictures"), "images"),
        (changed(datatype="FP32"), "UINT8"),
        (changed(shape=[1, 784]), "shape"),
        (changed(shape=[0, 1, 28, 28], data=[]), "with n from 1 to 5"),
        (changed(shape=[-1, 1, 28, 28]), "shape"),
        (changed(shape=[2, 1, 28, 28]), "shape"),
        (changed(shape=[1, 1, 9, 28]), "shape [n, 1, 28, 28] with n from 1 to "),
        (changed(shape=[10**30, 1, 28, 28]), "shape"),
        (changed(shape="1"), "shape"),
        (changed(data=ZEROS[:-1]), "shape"),
        (changed(data=[ZEROS]), "shape"),
        (changed(data=[[0], [0, 1]]), "lengths"),
        (changed(data=np.zeros((1,) * 40 + (784,), int).tolist()), "shape"),
        (changed(data=[*ZEROS[:-1], 256]), "255"),
        (changed(data=[*ZEROS[:-1], -1]), "255"),
        (changed(data=[*ZEROS[:-1], 0.5]), "255"),
        (changed(data=[*ZEROS[:-1], "0"]), "255"),
        (changed(data=[*ZEROS[:-1], None]), "255"),
        (changed(data=[True] * 784), "255"),
        (changed(data=[*ZEROS[:-1], True]), "255"),
        (changed() | {"outputs": None}, "outputs"),
        (changed() | {"id": None}, "id"),
        (changed(data=[*ZEROS[:-1], 10**30]), "255"),
        (changed(data=[]), ""),
        (changed() | {"id": 5}, "id"),
        (changed() | {"outputs": [{"name": "logits"}]}, "logits"),
    ],
)
def test_an_invalid_request_is_an_error_of_one_line(
    server: ServerThread, body: Any, message: str
) -> None:
    reply = infer(server, body)
    assert (reply.status, list(reply.json())) == (400, ["error"])
    assert message in reply.json()["error"]


@pytest.mark.parametrize(
    "path", ["/v2/models/letters", f"{MODEL}/versions/2", "/v2/models", "/v2/models/../digits"]
)
def test_there_is_one_model_and_one_version(server: ServerThread, path: str) -> None:
    for method, end in (("GET", ""), ("GET", "/ready"), ("POST", "/infer")):
        reply = server.request(method, path + end, b"{}" if method == "POST" else None)
        assert (reply.status, list(reply.json())) == (404, ["error"])


def test_a_tensor_has_up_to_max_batch_images(server: ServerThread) -> None:
    for rows, status in ((5, 200), (6, 400)):
        assert infer(server, tensor_request(rows)).status == status
