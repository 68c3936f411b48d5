import numpy as np
import pytest
import torch
from torch import Tensor

from clearhead.errors import InputError
from clearhead.insight.maps.weights import (
    query_map,
    query_maps,
    records_of,
    weight_matrices,
    weight_matrix,
    weights_of,
)
from clearhead.insight.tokens import Grid, Words
from clearhead.recording import AttentionRecord, Recording, capture

from ..plain_forward import oblong_images, oblong_model

GRID = Grid(5, 3, 1, ("class token",))


def seen_in_model() -> Recording:
    with torch.no_grad(), capture() as seen:
        oblong_model("class")(oblong_images(7))
    return seen


def numpy_weights(record: AttentionRecord) -> np.ndarray:
    query, key = record.query.numpy(), record.key.numpy()
    result = np.empty((7, 2, 16, 16))
    for image in range(7):
        for head in range(2):
            scores = query[image, head] @ key[image, head].T / np.sqrt(7)
            exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
            result[image, head] = exponents / exponents.sum(axis=1, keepdims=True)
    return result


def test_a_map_holds_the_weights_of_its_query_where_the_patches_lie() -> None:
    record = seen_in_model()[1]
    expected = numpy_weights(record)
    found = query_map(record, GRID.token(4, 2), GRID)
    assert (found.layer, found.query) == ("blocks.1.attn", "patch at row 4, column 2")
    assert found.patches.shape == (7, 2, 5, 3)
    for row in range(5):
        for column in range(3):
            np.testing.assert_allclose(
                found.patches[:, :, row, column], expected[:, :, 11, 1 + 3 * row + column]
            )
    np.testing.assert_allclose(found.prefix[..., 0], expected[:, :, 11, 0])
    assert found.even_share == 1 / 16


def test_patches_and_prefix_sum_to_one() -> None:
    for found in query_maps(seen_in_model(), 0, GRID):
        total = found.patches.sum(dim=(-2, -1)) + found.prefix.sum(dim=-1)
        torch.testing.assert_close(total, torch.ones(7, 2, dtype=torch.float64))
        assert found.query == "class token"


def test_heads_stay_apart_unless_their_mean_is_asked_for() -> None:
    record = seen_in_model()[0]
    apart, mean = query_map(record, 3, GRID), query_map(record, 3, GRID, mean_heads=True)
    assert mean.patches.shape == (7, 5, 3)
    torch.testing.assert_close(mean.patches, (apart.patches[:, 0] + apart.patches[:, 1]) / 2)
    torch.testing.assert_close(mean.prefix, (apart.prefix[:, 0] + apart.prefix[:, 1]) / 2)


def test_images_and_heads_can_be_chosen() -> None:
    record = seen_in_model()[2]
    whole = query_map(record, -1, GRID)
    part = query_map(record, -1, GRID, images=[2, 5], heads=1)
    assert part.patches.shape == (2, 1, 5, 3)
    torch.testing.assert_close(part.patches, whole.patches[[2, 5]][:, [1]])
    assert part.query == "patch at row 5, column 3"
    assert part.place == 15


def test_plain_weights_do_as_well_as_a_record() -> None:
    record = seen_in_model()[2]
    from_record = query_map(record, 4, GRID, images=slice(1, 4), heads=[1])
    from_tensor = query_map(record.weights, 4, GRID, images=slice(1, 4), heads=[1])
    torch.testing.assert_close(from_tensor.patches, from_record.patches)
    assert torch.equal(weights_of(record.weights, images=3), record.weights[[3]])


def test_whole_matrices_have_the_names_of_their_tokens() -> None:
    seen = seen_in_model()
    matrices = weight_matrices(seen, GRID, heads=0)
    assert [matrix.layer for matrix in matrices] == list(seen.names)
    for matrix, record in zip(matrices, seen.records, strict=True):
        assert matrix.queries == matrix.keys == GRID.names()
        np.testing.assert_allclose(matrix.weights[:, 0], numpy_weights(record)[:, 0])


def test_the_mean_of_a_matrix_over_heads_is_asked_for() -> None:
    record = seen_in_model()[0]
    found = weight_matrix(record, GRID, mean_heads=True).weights
    np.testing.assert_allclose(found, numpy_weights(record).mean(axis=1))


def test_queries_can_be_other_tokens_than_keys() -> None:
    weights = torch.rand(7, 2, 3, 15).softmax(dim=-1)
    words, patches = Words(("a", "red", "ball")), Grid(5, 3)
    assert query_map(weights, 1, patches, queries=words).query == "red"
    assert query_map(weights, 1, patches).patches.shape == (7, 2, 5, 3)
    matrix = weight_matrix(weights, patches, words)
    assert (len(matrix.queries), len(matrix.keys)) == (3, 15)


def test_a_grid_that_does_not_fit_is_refused_with_the_name_of_the_layer() -> None:
    record = seen_in_model()[1]
    with pytest.raises(InputError, match=r"blocks.1.attn: expected 5 × 3 = 15 tokens, got 16"):
        query_map(record, 0, Grid(5, 3))
    with pytest.raises(InputError, match=r"blocks.1.attn, keys: expected 2 words"):
        weight_matrix(record, Words(("a", "b")))


@pytest.mark.parametrize("query", [16, -17])
def test_a_query_that_is_not_there_is_refused(query: int) -> None:
    with pytest.raises(InputError, match="has 16 queries"):
        query_map(seen_in_model()[0], query, GRID)


@pytest.mark.parametrize("layers", [[], (), {}])
def test_no_layers_are_refused(layers: list[Tensor]) -> None:
    with pytest.raises(InputError, match="no layers"):
        records_of(layers)


@pytest.mark.unchecked
def test_one_layer_is_not_taken_for_a_sequence_of_images() -> None:
    with pytest.raises(InputError, match="put it in a list"):
        records_of(torch.rand(2, 3, 5, 5))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"weights must be"):
        weights_of(torch.rand(5, 5))
