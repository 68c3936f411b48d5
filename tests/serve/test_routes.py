import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clearhead.data.preprocessing.digits import NO_DIGIT
from clearhead.inference import predict, prepare
from clearhead.models.pretrained import ImageModel

from .drawings import BLANK, as_bytes, drawn, png
from .reference import attention_in_float64
from .served import Served, tensor


def form(file: bytes, *, name: str = "image", end: str = "--X--\r\n") -> tuple[bytes, str]:
    head = f'--X\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'
    return head.encode() + file + b"\r\n" + end.encode(), "multipart/form-data; boundary=X"


def test_a_picture_gets_the_answer_that_python_gives(server: Served, model: ImageModel) -> None:
    seen = set()
    for number in range(6):
        reply = server.ask("POST", "/v1/predict", png(number))
        expected = predict(model, png(number))
        said = reply.json()
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert said["label"] == expected.label
        assert said["runner_up"] == expected.runner_up
        assert said["warnings"] == list(expected.warnings)
        assert said["classes"] == list("0123456789")
        np.testing.assert_allclose(said["probabilities"], expected.probabilities, atol=1e-6)
        assert said["probability"] == max(said["probabilities"])
        seen.add(round(said["probability"], 4))
    assert len(seen) == 6


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "PPM"])
def test_a_file_in_a_form_is_the_same_as_the_file(server: Served, kind: str) -> None:
    file = as_bytes(drawn(3), kind)
    body, content_type = form(file)
    in_form = server.ask("POST", "/v1/predict", body, content_type=content_type)
    alone = server.ask("POST", "/v1/predict", file, content_type="application/octet-stream")
    assert (in_form.status, in_form.json()) == (200, alone.json())


def test_no_content_type_is_needed_and_a_wrong_one_does_no_harm(server: Served) -> None:
    expected = server.ask("POST", "/v1/predict", png(1)).json()
    for kind in ("image/jpeg", "application/x-www-form-urlencoded", "multi/part", ""):
        assert server.ask("POST", "/v1/predict", png(1), content_type=kind).json() == expected


def test_paper_alone_has_no_label(server: Served) -> None:
    said = server.ask("POST", "/v1/predict", BLANK).json()
    assert (said["label"], said["probabilities"], said["warnings"]) == (None, [], [NO_DIGIT])


@pytest.mark.parametrize(
    ("body", "content_type", "told"),
    [
        (b"", "image/png", "no bytes"),
        (b"no picture", "image/png", "not a picture"),
        (png(0)[:-1], "image/png", "cut short"),
        (*form(b"no picture"), "not a picture"),
        (*form(b""), "no bytes"),
        (*form(png(0), end=""), "holds 0"),
        (*form(png(0), end="--X\r\n" + form(png(1))[0].decode("latin-1")[5:]), "holds 2"),
        (b"--X--\r\n", "multipart/form-data; boundary=X", "holds 0"),
        (b"--Y\r\n", "multipart/form-data; boundary=X", "damaged"),
        (png(0), "multipart/form-data", "damaged"),
    ],
)
def test_what_is_no_picture_is_told_in_one_line(
    server: Served, body: bytes, content_type: str, told: str
) -> None:
    reply = server.ask("POST", "/v1/predict", body, content_type=content_type)
    assert reply.status == 422
    assert list(reply.json()) == ["error"]
    assert told in reply.json()["error"]
    assert "\n" not in reply.json()["error"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_file_cut_anywhere_is_an_error(server: Served, kind: str) -> None:
    file = as_bytes(drawn(2), kind)
    for cut in range(1, len(file), len(file) // 7):
        assert server.ask("POST", "/v1/predict", file[:cut]).status == 422


def test_a_small_file_that_unfolds_to_many_megapixels_is_refused(server: Served) -> None:
    bomb = as_bytes(Image.new("1", (6_000, 6_000)), "PNG")
    assert len(bomb) < 200_000
    reply = server.ask("POST", "/v1/predict", bomb)
    assert (reply.status, "megapixels" in reply.json()["error"]) == (422, True)


def test_the_attention_is_that_of_the_definition(server: Served, model: ImageModel) -> None:
    said = server.ask("POST", "/v1/explain", png(4)).json()
    pixels = prepare(png(4), model.config).pixels.numpy()
    assert said["pixels"] == pixels.tolist()
    assert (said["grid"], said["num_prefix_tokens"]) == ([4, 4], 1)
    assert said["label"] == predict(model, png(4)).label
    expected = attention_in_float64(model, pixels)
    assert [(one["layer"], one["head"]) for one in said["attention"]] == [
        (layer, head) for layer in range(3) for head in range(5)
    ]
    for one in said["attention"]:
        weights = np.array(one["weights"])
        np.testing.assert_allclose(weights, expected[one["layer"], one["head"]], atol=2e-5)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def test_layers_and_heads_can_be_chosen(server: Served) -> None:
    every = server.ask("POST", "/v1/explain", png(5)).json()["attention"]
    some = server.ask("POST", "/v1/explain?layers=2&layers=0&layers=2&heads=4", png(5)).json()
    assert some["attention"] == [every[2 * 5 + 4], every[4]]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("layers=3", "layers are numbers from 0 to 2, got 3"),
        ("layers=0&heads=5", "heads are numbers from 0 to 4, got 5"),
        ("layers=-1", "layers are numbers from 0, got -1"),
        ("heads=x", "heads are whole numbers, got 'x'"),
        ("layers=", "layers are whole numbers, got ''"),
        ("layers=0&layers=1&layers=2&layers=0", "layers are at most 3, got 4"),
        ("layer=1", "there is no parameter 'layer'; known are layers, heads"),
    ],
)
def test_layers_and_heads_that_are_not_there_are_told(
    server: Served, query: str, said: str
) -> None:
    reply = server.ask("POST", f"/v1/explain?{query}", png(5))
    assert (reply.status, reply.json()) == (422, {"error": said})


def test_a_parameter_that_is_not_there_is_told(server: Served) -> None:
    reply = server.ask("POST", "/v1/predict?layers=1", png(5))
    assert reply.status == 422
    assert reply.json() == {"error": "/v1/predict has no parameters, got 'layers=1'"}


def test_blank_paper_can_be_explained_too(server: Served) -> None:
    said = server.ask("POST", "/v1/explain", BLANK).json()
    assert (said["label"], len(said["attention"])) == (None, 15)


def test_together_every_request_gets_the_answer_it_gets_alone(server: Served) -> None:
    bodies = [png(number) for number in range(23)]
    bodies[7] = b"no picture"
    paths = ["/v1/explain" if number % 5 == 3 else "/v1/predict" for number in range(23)]
    alone = [server.ask("POST", *one) for one in zip(paths, bodies, strict=True)]
    before = server.metrics()
    with ThreadPoolExecutor(23) as pool:
        together = list(
            pool.map(lambda one: server.ask("POST", *one), zip(paths, bodies, strict=True))
        )
    after = server.metrics()
    assert [reply.status for reply in together] == [422 if n == 7 else 200 for n in range(23)]
    passes, images = (
        after[f"clearhead_batch_size_{what}"] - before[f"clearhead_batch_size_{what}"]
        for what in ("count", "sum")
    )
    assert images == 22
    assert passes <= 15
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


def test_a_tensor_may_hold_as_many_images_as_a_batch_and_no_more(server: Served) -> None:
    for rows, status in ((5, 200), (6, 400)):
        pixels = tensor(rows)
        body = {"name": "images", "shape": pixels.shape, "datatype": "UINT8"}
        asked = json.dumps({"inputs": [body | {"data": pixels.tolist()}]}).encode()
        assert server.ask("POST", "/v2/models/digits/infer", asked).status == status
