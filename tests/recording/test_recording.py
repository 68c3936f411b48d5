"""A recording as a mapping, its exports for other tools, and its view in notebooks."""

import base64
import copy
import io
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import clearhead as ch
from clearhead.errors import CaptureError, ClearheadError, UnfaithfulCaptureError
from clearhead.recording import AttentionRecord, Recording

from .reference import attention, normal


def query(number: int, tokens: int = 5) -> Tensor:
    return normal(2, 3, tokens, 11, seed=number)


def record_calls(*shapes: tuple[int, int]) -> Recording:
    """One call of attention for each pair of numbers: queries, keys."""
    with ch.capture() as recording:
        for number, (queries, keys) in enumerate(shapes):
            key = query(9, keys)
            F.scaled_dot_product_attention(query(number, queries), key, key)
    return recording


RECORDING = record_calls((5, 5), (5, 5))


def test_records_are_found_by_name_and_index() -> None:
    names = ("attention", "attention#2")
    assert RECORDING.names == tuple(RECORDING) == tuple(RECORDING.keys()) == names
    assert RECORDING.records == tuple(RECORDING.values())
    assert len(RECORDING) == 2
    assert "attention#2" in RECORDING
    assert "attention#3" not in RECORDING
    assert RECORDING[0] is RECORDING["attention"] is RECORDING[-2]
    assert repr(RECORDING) == "Recording(attention, attention#2)"


def test_unknown_names_and_indices_raise() -> None:
    with pytest.raises(KeyError, match=r"'blocks.*attention, attention#2"):
        RECORDING["blocks.3.attn"]
    for index in (2, -3):
        with pytest.raises(IndexError, match="2"):
            RECORDING[index]


def test_a_recording_of_chosen_records() -> None:
    part = Recording({"mine": RECORDING[1]})
    assert part.names == ("mine",)
    assert part.to_tensor().equal(RECORDING.to_tensor()[:, 1:])


def test_exports_as_transformers_and_vit_pytorch_return_them() -> None:
    weights, stacked = RECORDING.to_hf(), RECORDING.to_tensor()
    assert isinstance(weights, tuple)
    assert stacked.shape == (2, 2, 3, 5, 5)  # batch, layers, heads, queries, keys
    for number, (layer, record) in enumerate(zip(weights, RECORDING.records, strict=True)):
        expected = attention(query(number), query(9), query(9)).weights
        np.testing.assert_allclose(layer, expected, atol=1e-12)
        assert stacked[:, number].equal(record.weights)


def test_exports_as_dictionaries_have_shapes_and_weights() -> None:
    exported = RECORDING.to_dict()
    assert list(exported) == ["attention", "attention#2"]
    assert exported["attention"]["shape"] == [2, 3, 5, 5]
    np.testing.assert_array_equal(exported["attention"]["weights"], RECORDING[0].weights)


def test_exports_for_bertviz_are_one_batch_entry_with_its_tokens() -> None:
    for entry in (0, 1):
        weights, tokens = RECORDING.to_bertviz(tuple("abcde"), entry)
        assert tokens == list("abcde")
        for layer, record in zip(weights, RECORDING.records, strict=True):
            assert layer.shape == (1, 3, 5, 5)
            assert layer[0].equal(record.weights[entry])
    with pytest.raises(CaptureError, match="4 tokens"):
        RECORDING.to_bertviz(list("abcd"))
    with pytest.raises(CaptureError, match=r"attention#2.*5 queries and 7 keys"):
        record_calls((5, 5), (5, 7)).to_bertviz(list("abcde"))
    with pytest.raises(ClearheadError):
        RECORDING.to_bertviz(list("abcde"), 2)


def test_weights_of_different_shapes_do_not_fit_into_one_tensor() -> None:
    with pytest.raises(CaptureError, match=r"attention#2 \(2, 3, 5, 7\).*layers"):
        record_calls((5, 5), (5, 7)).to_tensor()


def rows_of(view: Recording | AttentionRecord) -> list[ElementTree.Element]:
    """The rows of the HTML table below its head; raises if the HTML is not well-formed."""
    closed = re.sub(r"(<img [^>]*)>", r"\1/>", view._repr_html_())  # XML closes every element
    head, *rows = ElementTree.fromstring(closed)
    assert [cell.tag for cell in head] == ["th"] * 3
    return rows


def test_the_notebook_view_has_a_thumbnail_of_the_weights_of_each_head() -> None:
    rows = rows_of(RECORDING)
    assert ["".join(row[0].itertext()) for row in rows] == ["attention", "attention#2"]
    assert rows[0][1].text == "2 × 3 × 5 × 5"
    for row, record in zip(rows, RECORDING.records, strict=True):
        (single,) = rows_of(record)
        assert ElementTree.tostring(single) == ElementTree.tostring(row)
        assert [image.get("title") for image in row[2]] == ["head 1", "head 2", "head 3"]
        for image, weights in zip(row[2], record.weights[0], strict=True):
            kind, _, data = image.get("src", "").partition(",")
            assert kind == "data:image/png;base64"
            shades = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), dtype=float)
            expected = 255 - 255 * weights.numpy() / weights.numpy().max()
            np.testing.assert_allclose(shades, expected, atol=0.51)


def test_the_notebook_view_escapes_names() -> None:
    name = "<script>alert('&')</script>"
    (row,) = rows_of(Recording({"any": replace(RECORDING[0], name=name)}))
    assert row[0].text == name
    assert not list(row[0])


@pytest.mark.parametrize(
    ("shape", "thumbnails"),
    [((1, 2, 256, 3), 2), ((1, 2, 257, 3), 0), ((1, 2, 3, 257), 0), ((1, 17, 3, 3), 16),
     ((0, 2, 3, 3), 0), ((1, 2, 0, 3), 0)],
)  # fmt: skip
def test_the_notebook_view_has_no_thumbnails_of_large_or_empty_matrices(
    shape: tuple[int, int, int, int], thumbnails: int
) -> None:
    batch, heads, queries, keys = shape
    key = normal(batch, heads, keys, 2)
    with ch.capture() as recording:
        F.scaled_dot_product_attention(normal(batch, heads, queries, 2), key, key)
    (row,) = rows_of(recording[0])
    assert len(row[2]) == thumbnails


def test_reading_a_recording_inside_its_block_raises_with_advice() -> None:
    with ch.capture() as recording:
        F.scaled_dot_product_attention(query(1), query(2), query(3))
        for name in (0, "attention"):
            with pytest.raises((KeyError, CaptureError), match="filled when the `with` block ends"):
                recording[name]
    (verification,) = recording.verify()
    assert repr(verification).startswith(
        f"Verification({verification.name!r}, passed=True, output_error="
    )


COPY: dict[str, Callable[[Recording], Recording]] = {
    "copy": copy.deepcopy,
    "pickle": lambda recording: pickle.loads(pickle.dumps(recording)),
}


@pytest.mark.parametrize("copied", COPY.values(), ids=COPY)
def test_copies_of_a_recording_are_verified_and_replay_its_steps(
    copied: Callable[[Recording], Recording],
) -> None:
    key, mixing = query(9), normal(3, 3, seed=1)
    with ch.capture() as recording:
        F.scaled_dot_product_attention(query(0), key, key)
        F.scaled_dot_product_attention(query(0), key, key, dropout_p=0.5)
        scores = (query(1) @ key.mT).tanh()
        weights = torch.cat([scores, normal(2, 3, 5, 1)], dim=-1).softmax(-1)[..., :-1]
        torch.einsum("bhqk,hg->bgqk", weights, mixing) @ key
    copies = copied(recording)
    assert len(copies.verify()) == 3
    for name, record in recording.items():
        assert copies[name].applied_weights.equal(record.applied_weights), name
    recording[0].query.zero_()
    assert len(copies.verify()) == 3
    with pytest.raises(UnfaithfulCaptureError, match="in place"):
        copied(recording)


def test_calls_on_meta_tensors_have_shapes_and_cannot_be_verified() -> None:
    model = ch.load().to("meta")
    with ch.capture() as recording:
        for _ in range(2):
            model(torch.empty(2, 1, 28, 28, device="meta"))
    assert len(recording) == 12
    assert recording[-1].weights.shape == (2, 4, 16, 16)
    assert "blocks.5.attn#2" in recording._repr_html_()
    with pytest.raises(UnfaithfulCaptureError, match="meta"):
        recording.verify()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Attempted to insert")
def test_capture_does_not_disturb_tracing() -> None:
    layer, x = nn.Linear(4, 4), torch.rand(2, 3, 5, 4)

    def attend(x: Tensor) -> Tensor:
        return ch.scaled_dot_product_attention(layer(x), x, x)

    with ch.capture():
        _, derivative = torch.func.linearize(attend, x)
    expected = torch.func.jvp(attend, (x,), (x,))[1]
    torch.testing.assert_close(derivative(x), expected)
