"""Value-weighted norms in loops."""

import numpy as np
import pytest
import torch
from torch import nn

from clearhead.errors import InputError
from clearhead.insight.importance import value_norms
from clearhead.recording import AttentionRecord, capture

from .reference import oblong_images, oblong_model


@pytest.fixture(scope="module")
def record() -> AttentionRecord:
    with torch.no_grad(), capture(1) as recording:
        oblong_model("class")(oblong_images(3))
    return recording[0]


@pytest.fixture(scope="module")
def projection() -> nn.Linear:
    projection = oblong_model("class").get_submodule("blocks.1.attn.proj")
    assert isinstance(projection, nn.Linear)
    return projection


def test_norms_are_weight_times_norm_of_value(record: AttentionRecord) -> None:
    weights, value = record.weights.numpy(), record.value.numpy()
    vectors = weights[..., None] * value[:, :, None]
    np.testing.assert_allclose(value_norms(record, None), np.sqrt((vectors**2).sum(axis=-1)))


def test_with_the_projection_norms_are_those_added_to_the_residual_stream(
    record: AttentionRecord, projection: nn.Linear
) -> None:
    result = value_norms(record, projection)
    weight = projection.weight.detach().numpy()
    for head in range(2):
        projected = record.value[:, head].numpy() @ weight[:, 7 * head : 7 * head + 7].T
        vectors = record.weights[:, head].numpy()[..., None] * projected[:, None]
        np.testing.assert_allclose(result[:, head], np.linalg.norm(vectors, axis=-1))
    assert torch.equal(result, value_norms(record, projection.weight))
    with pytest.raises(InputError, match=r"heads · value_dim = 14\), .* got \(14, 13\)"):
        value_norms(record, torch.zeros(14, 13))


def test_grouped_queries_share_their_values() -> None:
    query, key, value = torch.randn(2, 6, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    with capture() as recording:
        nn.functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    result, weights = value_norms(recording[0], None), recording[0].weights
    for head in range(6):
        expected = weights[:, head] * value[:, head // 2].norm(dim=-1)[:, None]
        torch.testing.assert_close(result[:, head], expected)
