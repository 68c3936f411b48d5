"""The Open Inference Protocol, as its own description has it."""

import json
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import torch

from clearhead.inference import ModelInput, predict_inputs
from clearhead.models.pretrained import ImageModel

from .served import Reply, Served, tensor, tensor_request

MODEL = "/v2/models/digits"


def infer(server: Served, body: Any, path: str = f"{MODEL}/infer") -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.ask("POST", path, data, content_type="application/json")


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_says_who_it_is(server: Served, path: str) -> None:
    expected = {"name": "clearhead", "version": version("clearhead"), "extensions": []}
    assert server.ask("GET", path).json() == expected


def test_it_is_live_and_ready(server: Served) -> None:
    assert server.ask("GET", "/v2/health/live").json() == {"live": True}
    assert server.ask("GET", "/v2/health/ready").json() == {"ready": True}
    for path in (f"{MODEL}/ready", f"{MODEL}/versions/1/ready"):
        assert server.ask("GET", path).json() == {"name": "digits", "ready": True}


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/1"])
def test_the_model_says_what_it_takes_and_gives(server: Served, path: str) -> None:
    said = server.ask("GET", path).json()
    assert (said["name"], said["versions"]) == ("digits", ["1"])
    assert said["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
    assert said["outputs"] == [
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 10]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]


@pytest.mark.parametrize("path", [f"{MODEL}/infer", f"{MODEL}/versions/1/infer"])
@pytest.mark.parametrize("nested", [True, False])
def test_the_answers_are_the_models_own(
    server: Served, model: ImageModel, path: str, nested: bool
) -> None:
    pixels = tensor(3, seed=7)
    data = pixels.tolist() if nested else pixels.ravel().tolist()
    images = {"name": "images", "shape": [3, 1, 28, 28], "datatype": "UINT8", "data": data}
    said = infer(server, {"id": "q7", "inputs": [images]}, path).json()
    expected = predict_inputs(model, [ModelInput(torch.from_numpy(row)) for row in pixels])
    probabilities, labels = said.pop("outputs")
    assert said == {"model_name": "digits", "model_version": "1", "id": "q7"}
    assert (probabilities["shape"], labels["shape"]) == ([3, 10], [3])
    assert labels["data"] == [one.label for one in expected]
    np.testing.assert_allclose(
        np.reshape(probabilities["data"], (3, 10)),
        [one.probabilities for one in expected],
        atol=1e-6,
    )


def test_outputs_can_be_chosen_and_no_id_comes_back_if_none_was_given(server: Served) -> None:
    said = infer(server, tensor_request(1, outputs=[{"name": "label"}])).json()
    assert "id" not in said
    assert [output["name"] for output in said["outputs"]] == ["label"]


@pytest.mark.parametrize("given", ["", "é"])
def test_the_id_comes_back_as_it_was(server: Served, given: str) -> None:
    assert infer(server, tensor_request(1, id=given)).json()["id"] == given


def test_a_whole_number_may_be_written_with_a_point(server: Served) -> None:
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
    ("body", "told"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"\xff", "JSON"),
        ({}, 'the request has no "inputs"'),
        ({"inputs": []}, "one input"),
        ({"inputs": [changed()["inputs"][0]] * 2}, "one input"),
        (changed(name="pictures"), "images"),
        (changed(datatype="FP32"), "UINT8"),
        (changed(shape=[1, 784]), "shape"),
        (changed(shape=[0, 1, 28, 28]), "shape"),
        (changed(shape=[-1, 1, 28, 28]), "shape"),
        (changed(shape=[2, 1, 28, 28]), "shape"),
        (changed(shape=[10**30, 1, 28, 28]), "shape"),
        (changed(shape="1"), "shape"),
        (changed(data=ZEROS[:-1]), "shape"),
        (changed(data=[ZEROS]), "shape"),
        (changed(data=[[0], [0, 1]]), "lengths"),
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
def test_what_makes_no_sense_is_told_in_the_protocols_form(
    server: Served, body: Any, told: str
) -> None:
    reply = infer(server, body)
    assert (reply.status, list(reply.json())) == (400, ["error"])
    assert told in reply.json()["error"]


@pytest.mark.parametrize(
    "path", ["/v2/models/letters", f"{MODEL}/versions/2", "/v2/models", "/v2/models/../digits"]
)
def test_there_is_one_model_and_one_version(server: Served, path: str) -> None:
    for method, end in (("GET", ""), ("GET", "/ready"), ("POST", "/infer")):
        reply = server.ask(method, path + end, b"{}" if method == "POST" else None)
        assert (reply.status, list(reply.json())) == (404, ["error"])


def test_numbers_that_are_none_are_not_read(server: Served) -> None:
    body = tensor_request(1).replace(b'"data": [', b'"data": [NaN, ')
    assert infer(server, body).status == 400
