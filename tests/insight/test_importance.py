"""Value-weighted norms in loops, and what each of the four standard maps is."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clearhead.errors import InputError
from clearhead.insight.importance import (
    RAW,
    RELEVANCE,
    ROLLOUT,
    VALUES,
    standard_maps,
    value_norms,
)
from clearhead.insight.propagation import class_relevance, rollout
from clearhead.insight.tokens import Grid
from clearhead.recording import AttentionRecord, capture

from .reference import oblong_images, oblong_model, timm_vit, transformers_vit


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
    np.testing.assert_allclose(value_norms(record), np.sqrt((vectors**2).sum(axis=-1)))


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
    result, weights = value_norms(recording[0]), recording[0].weights
    for head in range(6):
        expected = weights[:, head] * value[:, head // 2].norm(dim=-1)[:, None]
        torch.testing.assert_close(result[:, head], expected)


@pytest.mark.parametrize(("pool", "prefix"), [("mean", 0), ("class", 1)])
def test_standard_maps_are_rows_of_the_readout_tokens(pool: str, prefix: int) -> None:
    model, images, grid = oblong_model(pool), oblong_images(5), Grid(5, 3, prefix)
    result = standard_maps(model, images, grid, batch_size=2)
    with torch.no_grad(), capture() as recording:
        model(images)

    def row(matrix: Tensor) -> Tensor:
        return (matrix[:, 0] if prefix else matrix.mean(1))[:, prefix:].double()

    last = recording["blocks.2.attn"]
    expected = {
        RAW: row(last.weights.mean(1)),
        ROLLOUT: row(rollout(recording)),
        RELEVANCE: class_relevance(model, images).tokens[:, prefix:],
        VALUES: row((last.weights * last.value.norm(dim=-1)[:, :, None, :]).mean(1)),
    }
    assert list(result) == list(expected)
    for name, importance in expected.items():
        torch.testing.assert_close(result[name], importance.detach(), rtol=1e-6, atol=1e-9)
    projection = model.get_submodule("blocks.2.attn.proj")
    assert isinstance(projection, nn.Linear)
    projected = standard_maps(model, images, grid, projection=projection)[VALUES]
    torch.testing.assert_close(projected, row(value_norms(last, projection).mean(1)))


@pytest.mark.parametrize("make", [timm_vit, transformers_vit])
def test_standard_maps_of_other_libraries(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model, images = make().eval(), torch.randn(3, 3, 15, 21)
    result = standard_maps(model, images, Grid(3, 3, 1))
    with torch.no_grad(), capture() as recording:
        model(images)
    torch.testing.assert_close(result[RAW], recording[-1].weights.mean(1)[:, 0, 1:].double())
    assert all(x.shape == (3, 9) and x.isfinite().all() for x in result.values())
    with pytest.raises(InputError, match="10 tokens"):
        standard_maps(model, images, Grid(4, 4))
