import numpy as np
import pytest
import torch
from torch import nn

from clearhead.errors import InputError
from clearhead.insight.tokens import Grid, Words
from clearhead.insight.weights import (
    head_stages,
    query_map,
    records_of,
    value_norms,
    weight_matrix,
)
from clearhead.recording import AttentionRecord, Recording, capture

from .reference import oblong_images, oblong_model

GRID = Grid(5, 3, 1, ("class token",))


@pytest.fixture(scope="module")
def recording() -> Recording:
    with torch.no_grad(), capture() as recording:
        oblong_model("class")(oblong_images(5))
    return recording


def numpy_weights(record: AttentionRecord) -> np.ndarray:
    query, key = record.query.numpy(), record.key.numpy()
    result = np.empty((5, 2, 16, 16))
    for image in range(5):
        for head in range(2):
            scores = query[image, head] @ key[image, head].T / np.sqrt(7)
            exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
            result[image, head] = exponents / exponents.sum(axis=1, keepdims=True)
    return result


@pytest.mark.parametrize("from_tensor", [False, True])
def test_a_map_holds_the_weights_of_its_query_arranged_as_the_patches(
    recording: Recording, from_tensor: bool
) -> None:
    record = recording[1]
    expected = numpy_weights(record)[3, :, 11]
    attention = record.weights if from_tensor else record
    result = query_map(attention, GRID.token(4, 2), GRID, image=3)
    assert result.layer == ("weights" if from_tensor else "blocks.1.attn")
    assert (result.query, result.index) == ("patch 11 (row 4, column 2)", 11)
    assert "2 heads" in repr(result)
    assert result.patches.shape == (2, 5, 3)
    np.testing.assert_allclose(result.patches.flatten(1), expected[:, 1:])
    np.testing.assert_allclose(result.prefix[:, 0], expected[:, 0])
    mean = query_map(attention, 11 - 16, GRID, image=3, mean_heads=True)
    assert mean.index == 11
    np.testing.assert_allclose(mean.patches[0].flatten(), expected[:, 1:].mean(axis=0))
    np.testing.assert_allclose(mean.prefix[0], expected[:, :1].mean(axis=0))


def test_matrices_have_the_names_of_their_tokens(recording: Recording) -> None:
    for record in recording.records:
        matrix = weight_matrix(record, GRID, image=4)
        assert matrix.layer == record.name
        assert matrix.queries == matrix.keys == GRID.names()
        assert "(2, 16, 16)" in repr(matrix)
        expected = numpy_weights(record)[4]
        np.testing.assert_allclose(matrix.weights, expected)
        mean = weight_matrix(record, GRID, image=4, mean_heads=True).weights
        np.testing.assert_allclose(mean[0], expected.mean(axis=0))


def test_queries_can_be_other_tokens_than_keys() -> None:
    weights = torch.rand(7, 2, 3, 15).softmax(dim=-1)
    words, patches = Words(("a", "red", "ball")), Grid(5, 3)
    assert query_map(weights, 1, patches, queries=words).query == "red"
    assert query_map(weights, 1, patches).patches.shape == (2, 5, 3)
    matrix = weight_matrix(weights, patches, words)
    assert (len(matrix.queries), len(matrix.keys)) == (3, 15)


def test_the_stages_of_one_head_follow_from_each_other(recording: Recording) -> None:
    stages = head_stages(recording[1], 14, image=2, head=1)
    query, key, value = (x.numpy() for x in (stages.query, stages.key, stages.value))
    np.testing.assert_array_equal(query, recording[1].query[2, 1])
    assert stages.scale == pytest.approx(7**-0.5)
    np.testing.assert_allclose(stages.scores, query @ key.T)
    np.testing.assert_allclose(stages.scaled, query @ key.T / np.sqrt(7))
    exponents = np.exp(stages.scaled.numpy())
    weights = exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(stages.weights, weights)
    np.testing.assert_allclose(stages.context, weights @ value)
    torch.testing.assert_close(stages.all_weights[1], stages.weights)
    torch.testing.assert_close(stages.all_contexts, recording[1].output[2])
    assert (stages.layer, stages.head, stages.embed_dim) == ("blocks.1.attn", 1, 14)
    assert "head 1" in repr(stages)


def test_the_stages_of_a_causal_layer_with_grouped_queries_keep_its_mask() -> None:
    query, key, value = torch.randn(2, 6, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    with capture() as recording:
        nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        )
    stages = head_stages(recording[0], 24, head=5)
    torch.testing.assert_close(stages.scores, query[0, 5] @ key[0, 2].T)
    assert torch.equal(stages.masked.isinf(), torch.ones(5, 5).triu(1).bool())
    torch.testing.assert_close(stages.context, stages.weights @ value[0, 2])


def test_the_stages_have_the_scale_of_their_head() -> None:
    query, key, value = torch.randn(3, 2, 5, 7, 4).unbind()
    scales = torch.rand(5, 1, 1)  # one for each head, as in Swin v2
    with capture() as recording:
        torch.softmax(query @ key.mT * scales, dim=-1) @ value
    stages = head_stages(recording[0], 20, head=3)
    assert stages.scale == pytest.approx(float(scales[3]))
    torch.testing.assert_close(stages.scaled, stages.scores * stages.scale)


def test_norms_are_those_of_what_is_added_to_the_residual_stream(recording: Recording) -> None:
    record, projection = recording[1], oblong_model("class").get_submodule("blocks.1.attn.proj")
    assert isinstance(projection, nn.Linear)
    result, without = value_norms(record, projection), value_norms(record, None)
    weight = projection.weight.detach().numpy()
    for head in range(2):
        value, shares = record.value[:, head].numpy(), record.weights[:, head].numpy()[..., None]
        projected = value @ weight[:, 7 * head : 7 * head + 7].T
        for found, vectors in ((result, projected), (without, value)):
            expected = np.linalg.norm(shares * vectors[:, None], axis=-1)
            np.testing.assert_allclose(found[:, head], expected)
    assert torch.equal(result, value_norms(record, projection.weight))
    with pytest.raises(InputError, match=r"heads · value_dim = 14\), .* got \(14, 13\)"):
        value_norms(record, torch.zeros(14, 13))


def test_norms_are_those_of_mixed_weights_and_of_shared_values() -> None:
    query, key, value = torch.randn(3, 2, 3, 5, 4).unbind()
    mixing = torch.randn(3, 3)  # some weights become negative
    with capture() as recording:
        mixed = torch.einsum("gh,bhqk->bgqk", mixing, torch.softmax(query @ key.mT, dim=-1))
        mixed @ value
    expected = mixed.abs() * value.norm(dim=-1)[..., None, :]
    torch.testing.assert_close(value_norms(recording[0], None), expected)
    with capture() as recording:
        nn.functional.scaled_dot_product_attention(
            query.repeat(1, 2, 1, 1), key, value, enable_gqa=True
        )
    shared = value.repeat_interleave(2, dim=1).norm(dim=-1)[..., None, :]
    torch.testing.assert_close(value_norms(recording[0], None), recording[0].weights * shared)


@pytest.mark.unchecked
def test_tokens_queries_images_heads_and_layers_that_do_not_exist_are_refused(
    recording: Recording,
) -> None:
    record = recording[1]
    with pytest.raises(InputError, match=r"blocks.1.attn: expected 5 × 3 = 15 tokens, got 16"):
        query_map(record, 0, Grid(5, 3))
    with pytest.raises(InputError, match=r"blocks.1.attn, keys: expected 2 words"):
        weight_matrix(record, Words(("a", "b")))
    for query in (16, -17):
        with pytest.raises(InputError, match="has 16 queries"):
            query_map(record, query, GRID)
    with pytest.raises(InputError, match="has 5 images, numbered 0 … 4; got 5"):
        head_stages(record, 14, image=5)
    with pytest.raises(InputError, match="has 2 heads, numbered 0 … 1; got -3"):
        head_stages(record, 14, head=-3)
    with pytest.raises(InputError, match="at least one layer"):
        records_of([])
    with pytest.raises(InputError, match="put it in a list"):
        records_of(torch.rand(2, 3, 5, 5))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"weights: expected \(batch, heads, queries, …\)"):
        weight_matrix(torch.rand(2, 5, 5), Words(tuple("abcde")))
