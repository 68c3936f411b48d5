"""What a capture gives: by name and by place, and in the shapes of other tools."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import clearhead as ch
from clearhead.errors import CaptureError
from clearhead.recording import Recording

from .independent import attention, normal


def see(*shapes: tuple[int, int]) -> Recording:
    """One attention for each pair of numbers: queries, keys."""
    with ch.capture() as seen:
        for call_site, (queries, keys) in enumerate(shapes):
            F.scaled_dot_product_attention(
                normal(2, 3, queries, 11, seed=call_site), *(normal(2, 3, keys, 11, seed=9),) * 2
            )
    return seen


SEEN = see((5, 5), (5, 5))


def test_it_is_a_mapping_in_the_order_of_the_calls() -> None:
    assert SEEN.names == tuple(SEEN) == tuple(SEEN.keys()) == ("attention", "attention#2")
    assert SEEN.records == tuple(SEEN.values())
    assert len(SEEN) == 2
    assert "attention#2" in SEEN
    assert "attention#3" not in SEEN
    assert SEEN[0] is SEEN["attention"] is SEEN[-2]
    assert "attention#2" in repr(SEEN)


def test_names_and_places_that_are_not_there() -> None:
    with pytest.raises(KeyError, match=r"'blocks.*attention, attention#2"):
        SEEN["blocks.3.attn"]
    for call_site in (2, -3):
        with pytest.raises(IndexError, match="2"):
            SEEN[call_site]


def test_as_transformers_gives_them() -> None:
    given = SEEN.to_hf()
    assert isinstance(given, tuple)
    assert [w.shape for w in given] == [(2, 3, 5, 5)] * 2
    for call_site, weights in enumerate(given):
        key = normal(2, 3, 5, 11, seed=9)
        expected = attention(normal(2, 3, 5, 11, seed=call_site), key, key)
        np.testing.assert_allclose(weights, expected.weights, atol=1e-12)


def test_as_bertviz_takes_them() -> None:
    tokens = list("abcde")
    for image in (0, 1):
        given, names = SEEN.to_bertviz(tokens, image)
        assert names == tokens
        assert isinstance(names, list)
        assert [w.shape for w in given] == [(1, 3, 5, 5)] * 2
        for weights, record in zip(given, SEEN.records, strict=True):
            assert weights[0].equal(record.weights[image])
    assert SEEN.to_bertviz(tuple(tokens))[1] == tokens


def test_bertviz_wants_a_token_for_each_row_and_column() -> None:
    with pytest.raises(CaptureError, match="4 tokens"):
        SEEN.to_bertviz(list("abcd"))
    with pytest.raises(CaptureError, match=r"attention#2.*5 queries and 7 keys"):
        see((5, 5), (5, 7)).to_bertviz(list("abcde"))
    with pytest.raises(IndexError):
        SEEN.to_bertviz(list("abcde"), 2)


def test_in_one_tensor_as_vit_pytorch_gives_them() -> None:
    stacked = SEEN.to_tensor()
    assert stacked.shape == (2, 2, 3, 5, 5)  # batch, layers, heads, queries, keys
    for layer, record in enumerate(SEEN.records):
        assert stacked[:, layer].equal(record.weights)


def test_weights_of_different_shapes_fit_into_no_tensor() -> None:
    with pytest.raises(CaptureError, match=r"attention#2 \(2, 3, 5, 7\).*layers"):
        see((5, 5), (5, 7)).to_tensor()


def test_a_part_of_what_was_captured_can_be_taken_along() -> None:
    part = Recording({"mine": SEEN[1]})
    assert part.names == ("mine",)
    assert part.to_tensor().equal(SEEN.to_tensor()[:, 1:])
    assert torch.is_tensor(part[0].weights)
