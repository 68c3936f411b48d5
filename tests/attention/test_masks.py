import pytest
import torch

from clearhead.attention import band_mask, causal_mask, padding_mask
from clearhead.errors import InputError

T, F = True, False


def test_a_causal_query_attends_to_itself_and_earlier_keys() -> None:
    assert causal_mask(3, 3).tolist() == [[T, F, F], [T, T, F], [T, T, T]]


def test_the_causal_triangle_is_aligned_to_the_top_left() -> None:
    assert causal_mask(2, 5).tolist() == [[T, F, F, F, F], [T, T, F, F, F]]
    assert causal_mask(5, 2).tolist() == [[T, F], [T, T], [T, T], [T, T], [T, T]]
    assert causal_mask(0, 3).shape == (0, 3)


def test_padding_masks_the_keys_after_each_length() -> None:
    mask = padding_mask(torch.tensor([2, 0, 3]), 3)
    assert mask.shape == (3, 1, 1, 3)
    assert mask[:, 0, 0].tolist() == [[T, T, F], [F, F, F], [T, T, T]]
    assert padding_mask(torch.zeros(0, dtype=torch.int64), 7).shape == (0, 1, 1, 7)


@pytest.mark.parametrize("lengths", [[2, 4], [-1, 2]])
def test_lengths_beyond_the_keys_are_an_error(lengths: list[int]) -> None:
    with pytest.raises(InputError, match=r"^lengths must lie in 0 … 3, got \[.+\]$"):
        padding_mask(torch.tensor(lengths), 3)


def test_a_band_extends_by_its_width_to_both_sides() -> None:
    assert band_mask(3, 5, 1).tolist() == [[T, T, F, F, F], [T, T, T, F, F], [F, T, T, T, F]]
    assert band_mask(5, 5, 0).equal(torch.eye(5, dtype=torch.bool))
    assert band_mask(2, 3, 7).all()
    with pytest.raises(InputError, match=r"^width must be 0 or more, got -1$"):
        band_mask(2, 3, -1)


def test_masks_are_boolean() -> None:
    for mask in (causal_mask(2, 3), band_mask(2, 3, 1), padding_mask(torch.tensor([1]), 3)):
        assert mask.dtype == torch.bool
