import numpy as np
import pytest
import torch
from torch import nn

from clearhead.errors import InputError
from clearhead.insight.maps.norms import joined_norms, value_norms
from clearhead.recording import AttentionRecord, capture

from ..plain_forward import oblong_images, oblong_model


def a_record() -> tuple[AttentionRecord, nn.Linear]:
    model = oblong_model("class")
    with torch.no_grad(), capture(1) as seen:
        model(oblong_images(3))
    projection = model.get_submodule("blocks.1.attn.proj")
    assert isinstance(projection, nn.Linear)
    return seen[0], projection


def test_norms_are_weight_times_length_of_value() -> None:
    record, _ = a_record()
    weights, value = record.weights.numpy(), record.value.numpy()
    found = value_norms(record)
    assert found.shape == (3, 2, 16, 16)
    for image in range(3):
        for head in range(2):
            for query in range(16):
                for key in range(16):
                    vector = weights[image, head, query, key] * value[image, head, key]
                    length = np.sqrt((vector**2).sum())
                    assert float(found[image, head, query, key]) == pytest.approx(length)


def test_with_the_projection_norms_are_those_of_what_enters_the_residual_stream() -> None:
    record, projection = a_record()
    weight = projection.weight.detach().numpy()
    found = value_norms(record, projection)
    for head in range(2):
        handed = record.value[:, head].numpy() @ weight[:, 7 * head : 7 * head + 7].T
        for query in (0, 5, 15):
            vectors = record.weights[:, head, query].numpy()[..., None] * handed
            np.testing.assert_allclose(found[:, head, query], np.linalg.norm(vectors, axis=-1))
    assert torch.equal(found, value_norms(record, projection.weight))


def test_joined_heads_add_up_to_the_output_of_the_layer() -> None:
    record, projection = a_record()
    weight = projection.weight.detach().numpy()
    total = np.zeros((3, 16, 16, 14))
    for head in range(2):
        handed = record.value[:, head].numpy() @ weight[:, 7 * head : 7 * head + 7].T
        total += record.weights[:, head].numpy()[..., None] * handed[:, None]
    found = joined_norms(record, projection)
    np.testing.assert_allclose(found, np.linalg.norm(total, axis=-1))
    joined = record.output.transpose(1, 2).flatten(2)
    output = nn.functional.linear(joined, projection.weight).detach()
    np.testing.assert_allclose(total.sum(axis=2), output, atol=1e-12)
    assert bool((found <= value_norms(record, projection).sum(dim=1) + 1e-12).all())


def test_shared_values_of_grouped_queries_are_given_to_every_head() -> None:
    query, key, value = torch.randn(2, 6, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    with capture() as seen:
        nn.functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    found, weights = value_norms(seen[0]), seen[0].weights
    for head in range(6):
        expected = weights[:, head] * value[:, head // 2].norm(dim=-1)[:, None]
        torch.testing.assert_close(found[:, head], expected)


def test_a_long_value_behind_a_small_weight_is_told_from_a_short_one_behind_a_large() -> None:
    query, key, value = torch.randn(3, 2, 3, 5, 4).unbind()
    value[:, :, 0] *= 1e-6
    with capture() as seen:
        nn.functional.scaled_dot_product_attention(query, 100 * key, value)
    weights, norms = seen[0].weights, value_norms(seen[0])
    assert float(weights[..., 0].max()) > 0.99
    assert float(norms[..., 0].max()) < 1e-4 < float(norms[..., 1].max())


def test_a_projection_of_another_size_is_refused() -> None:
    record, _ = a_record()
    with pytest.raises(InputError, match=r"heads · value_dim = 14\), .* got \(14, 13\)"):
        value_norms(record, torch.zeros(14, 13))
