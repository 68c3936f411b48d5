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
    weight_matrix,
    weights_of,
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


def test_a_map_holds_the_weights_of_its_query_arranged_as_the_patches(
    recording: Recording,
) -> None:
    expected = numpy_weights(recording[1])
    result = query_map(recording[1], GRID.token(4, 2), GRID)
    assert (result.layer, result.query) == ("blocks.1.attn", "patch at row 4, column 2")
    assert result.patches.shape == (5, 2, 5, 3)
    np.testing.assert_allclose(result.patches.flatten(2), expected[:, :, 11, 1:])
    np.testing.assert_allclose(result.prefix[..., 0], expected[:, :, 11, 0])
    assert result.even_share == 1 / 16
    assert repr(result) == "QueryMap(blocks.1.attn, patch at row 4, column 2, 5 × 2 × 5 × 3)"


def test_heads_stay_apart_unless_their_mean_is_asked_for(recording: Recording) -> None:
    apart = query_map(recording[0], 3, GRID)
    mean = query_map(recording[0], 3, GRID, mean_heads=True)
    assert mean.patches.shape == (5, 5, 3)
    torch.testing.assert_close(mean.patches, (apart.patches[:, 0] + apart.patches[:, 1]) / 2)
    torch.testing.assert_close(mean.prefix, (apart.prefix[:, 0] + apart.prefix[:, 1]) / 2)
    matrix = weight_matrix(recording[0], GRID, mean_heads=True).weights
    np.testing.assert_allclose(matrix, numpy_weights(recording[0]).mean(axis=1))


def test_images_and_heads_can_be_chosen_from_a_record_or_weights(recording: Recording) -> None:
    record = recording[2]
    whole = query_map(record, -1, GRID)
    part = query_map(record, -1, GRID, images=[2, 4], heads=1)
    assert (part.query, part.index) == ("patch at row 5, column 3", 15)
    torch.testing.assert_close(part.patches, whole.patches[[2, 4]][:, [1]])
    from_weights = query_map(record.weights, -1, GRID, images=[2, 4], heads=1)
    torch.testing.assert_close(from_weights.patches, part.patches)
    assert torch.equal(weights_of(record.weights, images=3), record.weights[[3]])


def test_matrices_have_the_names_of_their_tokens(recording: Recording) -> None:
    for record in recording.records:
        matrix = weight_matrix(record, GRID, heads=0)
        assert matrix.layer == record.name
        assert matrix.queries == matrix.keys == GRID.names()
        np.testing.assert_allclose(matrix.weights[:, 0], numpy_weights(record)[:, 0])


def test_queries_can_be_other_tokens_than_keys() -> None:
    weights = torch.rand(7, 2, 3, 15).softmax(dim=-1)
    words, patches = Words(("a", "red", "ball")), Grid(5, 3)
    assert query_map(weights, 1, patches, queries=words).query == "red"
    assert query_map(weights, 1, patches).patches.shape == (7, 2, 5, 3)
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
        with pytest.raises(InputError, match="has 16 query tokens"):
            query_map(record, query, GRID)
    for image, head in ((5, 0), (0, 2), (-1, 0)):
        with pytest.raises(InputError, match="has 5 images and 2 heads"):
            head_stages(record, 14, image=image, head=head)
    with pytest.raises(InputError, match="at least one layer"):
        records_of([])
    with pytest.raises(InputError, match="put it in a list"):
        records_of(torch.rand(2, 3, 5, 5))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"weights must be"):
        weights_of(torch.rand(5, 5))
