from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from clearhead.attention import MultiHeadAttention
from clearhead.data import ImageDataset
from clearhead.studies.measures.changes import (
    ONE_SHUFFLE,
    RATES,
    accuracies_with_positions,
    derangement,
    errors_of_random_layers,
    permutation_error,
    shuffle_patches,
)
from clearhead.studies.table import Values
from tests.studies.random_models import trial

ROUNDING = 1e-12


def test_attention_permutes_with_its_tokens_unless_positions_are_added() -> None:
    errors = errors_of_random_layers(trial(layers=5))
    assert errors["error"] <= ROUNDING
    assert errors["error_with_positions"] > 0.01


def test_a_causal_layer_does_not_permute() -> None:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = MultiHeadAttention(6, 2).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.layer(x, is_causal=True)
            return output

    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert permutation_error(Causal(), x, order) > 1e-3
    assert permutation_error(Causal().layer, x, order) <= ROUNDING


@pytest.mark.parametrize("tokens", [2, 3, 7])
def test_in_a_derangement_no_token_keeps_its_position(tokens: int) -> None:
    for seed in range(5):
        order = derangement(tokens, torch.Generator().manual_seed(seed))
        assert sorted(order.tolist()) == list(range(tokens))
        assert not (order == torch.arange(tokens)).any()


def test_patches_are_shuffled_whole(mnist_test: ImageDataset) -> None:
    images = torch.arange(2 * 1 * 4 * 6, dtype=torch.uint8).reshape(2, 1, 4, 6)
    digits = replace(mnist_test, images=images, labels=mnist_test.labels[:2])
    order = torch.tensor([[3, 1, 2, 0, 5, 4], [0, 1, 2, 3, 4, 5]])
    moved = shuffle_patches(digits, order, patch=(2, 2)).images
    assert torch.equal(moved[1], images[1])
    assert torch.equal(moved[0, :, 0:2, 0:2], images[0, :, 2:4, 0:2])  # patch 0 is now patch 3
    assert torch.equal(moved[0, :, 2:4, 2:4], images[0, :, 2:4, 4:6])  # patch 4 is now patch 5
    assert torch.equal(moved[0, :, 0:2, 2:4], images[0, :, 0:2, 2:4])
    same = shuffle_patches(digits, order[0], patch=(2, 2)).images
    assert torch.equal(same[0], moved[0])
    assert not torch.equal(same[1], images[1])


@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_a_classifier_without_positions_predicts_shuffled_digits_alike() -> None:
    found = accuracies("none")
    assert found["accuracy"] == found["shuffled"]


@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_rate_and_a_fixed_shuffle_change_the_training() -> None:
    learned = accuracies("learned")
    assert learned != accuracies("learned", rate="low rate")
    assert learned != accuracies(ONE_SHUFFLE)


def accuracies(condition: str, *, rate: str = next(iter(RATES))) -> Values:
    settings: Any = {"digits": 60, "epochs": 2, "unseen": 200, "rate": rate}
    return accuracies_with_positions(trial(condition, **settings))
