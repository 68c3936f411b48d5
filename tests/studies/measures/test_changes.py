from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clearhead.attention import AttentionStages, MultiHeadAttention, attention_stages
from clearhead.data import ImageDataset
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures import changes, classifiers
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


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_in_random_tensors_each_replacement_changes_its_own_row_or_column_only(seed: int) -> None:
    found = changes.changes_in_random_tensors(trial(seed=seed, draws=2))
    assert found["values"] == 0
    assert max(found["other_rows"], found["other_columns"]) <= ROUNDING
    assert min(found["own_row"], found["own_column"]) >= 1e-9


@pytest.mark.parametrize(
    ("fault", "measure"),
    [
        ("values in the weights", "values"),
        ("a key for each query", "other_columns"),
        ("one row for all", "other_rows"),
    ],
)
def test_planted_faults_are_measured(
    monkeypatch: pytest.MonkeyPatch, fault: str, measure: str
) -> None:
    def faulty(query: Any, key: Any, value: Any) -> AttentionStages:
        if fault == "values in the weights":
            query = query + 1e-9 * value.mean()
        if fault == "a key for each query":
            key = key + 1e-6 * key.mean(dim=0)
        if fault == "one row for all":
            query = query.mean(dim=0).expand(query.shape)
        return attention_stages(query, key, value)

    monkeypatch.setattr(changes, "attention_stages", faulty)

    assert changes.changes_in_random_tensors(trial(seed=1, draws=5))[measure] > ROUNDING


def model(depth: int) -> VisionTransformer:
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(embed_dim=16, num_heads=2, depth=depth)).eval()
    for layer in model.modules():
        if isinstance(layer, MultiHeadAttention):
            torch.nn.init.normal_(layer.qkv.weight, std=0.5)
            torch.nn.init.normal_(layer.proj.weight, std=0.5)
    return model.double()


def test_in_a_model_values_change_the_layers_above_only() -> None:
    found = changes.changes_in_model(model(3), torch.randn(6, 1, 28, 28).double(), seed=1)
    assert found["values"] == 0
    assert max(found["other_rows"], found["other_columns"]) <= ROUNDING
    assert min(found["own_row"], found["own_column"]) > 1e-4
    assert len(found["weights_above"]) == 2
    assert min(found["weights_above"]) > 0.01
    assert [len(heads) for heads in found["rows_apart"]] == [2, 2, 2]


def test_a_layer_that_uses_its_values_as_keys_is_measured() -> None:
    faulty = model(2)
    first = next(x for x in faulty.modules() if isinstance(x, MultiHeadAttention))
    plain = first.forward

    def swap(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        query, key, value = output.chunk(3, dim=-1)
        return torch.cat([query, value, key], dim=-1)

    def swapped(*args: Any, **kwargs: Any) -> Any:
        handle = first.qkv.register_forward_hook(swap)  # after the hook that replaces values
        try:
            return plain(*args, **kwargs)
        finally:
            handle.remove()

    first.forward = swapped  # type: ignore[method-assign]
    found = changes.changes_in_model(faulty, torch.randn(2, 1, 28, 28).double(), seed=1)
    assert found["values"] > 1e-3


def test_the_distance_between_rows_is_their_total_variation() -> None:
    same = torch.full((1, 1, 3, 4), 0.25)
    nothing_shared = torch.eye(3)[None, None]
    half = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])[None, None]
    assert changes.rows_apart(same).item() == 0
    assert changes.rows_apart(nothing_shared).item() == pytest.approx(1)
    assert changes.rows_apart(half).item() == pytest.approx((0.5 + 0 + 0.5) / 3)


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


@pytest.mark.parametrize("condition", ["none", ONE_SHUFFLE])
@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_one_shuffle_is_that_of_all_digits_of_training_and_test(
    condition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[torch.Tensor] = []
    used: list[str] = []

    def shuffled(digits: ImageDataset, order: torch.Tensor) -> ImageDataset:
        orders.append(order)
        return replace(digits, name="shuffled")

    def use(_: Any, digits: ImageDataset, **__: Any) -> float:
        used.append(digits.name)
        return 0.5

    monkeypatch.setattr(changes, "shuffle_patches", shuffled)
    monkeypatch.setattr(changes, "accuracy_on", use)
    monkeypatch.setattr(classifiers, "train_small_classifier", use)
    accuracies(condition)

    *fixed, each = orders
    assert sorted(map(tuple, each.sort(dim=1).values.tolist())) == [tuple(range(16))] * 200
    assert len(each.unique(dim=0)) == 200
    if condition == ONE_SHUFFLE:
        assert used == ["shuffled"] * 3
        assert torch.equal(*fixed)
        assert sorted(fixed[0].tolist()) == list(range(16)) != fixed[0].tolist()
    else:
        assert used == ["mnist", "mnist", "shuffled"]


def accuracies(condition: str, *, rate: str = next(iter(RATES))) -> Values:
    settings: Any = {"digits": 60, "epochs": 2, "unseen": 200, "rate": rate}
    return accuracies_with_positions(trial(condition, **settings))


def test_the_least_change_of_what_must_change_and_the_largest_of_all_else() -> None:
    draws = [dict.fromkeys(changes.CHANGES, value) for value in (0.2, 0.7, 0.5)]
    found = changes._extremes(draws)
    assert {name for name, value in found.items() if value == 0.2} == {"own_row", "own_column"}
    assert set(found.values()) == {0.2, 0.7}


def stages(weights: list[list[float]], scores: list[list[float]] | None = None) -> Any:
    """Of one image; the numbers of the second head are twice those of the first."""
    heads = [torch.tensor(x, dtype=torch.float64) for x in (weights, scores or weights)]
    weights_of, scores_of = (torch.stack([x, 2 * x])[None] for x in heads)
    return SimpleNamespace(weights=weights_of, scores=scores_of)


def test_changes_are_those_of_their_own_rows_and_columns_and_of_others() -> None:
    found = changes._changes(
        stages([[0.0] * 3] * 3),
        stages([[0.0, 0.0, 0.1], [0.0, -0.2, 0.0], [0.0] * 3]),
        stages([[0.0, 0.01, 0.0], [0.3, -0.4, 0.2], [0.02, 0.0, 0.0]]),
        stages([[0.0] * 3] * 3, [[0.03, 0.0, 0.5], [0.0, -0.04, -0.6], [0.0, 0.0, 0.7]]),
        row=1,
        column=2,
    )
    largest = {"values": 0.4, "other_rows": 0.04, "other_columns": 0.08}
    assert found == pytest.approx(largest | {"own_row": 0.4, "own_column": 0.7})


def test_weights_above_are_compared_in_the_layers_above_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Records(list[Any]):
        @property
        def records(self) -> list[Any]:
            return list(self)

    moved = (0.1, 0.2, 0.4)  # of the weight of each layer
    before = Records(stages([[1.0, 0.0]] * 16) for _ in moved)
    after = Records(stages([[1.0 - x, x]] * 16) for x in moved)  # by 1.5 x, mean of two heads
    calls = iter([before, *(after, before, before) * 3])
    monkeypatch.setattr(changes, "recorded", lambda *_: next(calls))
    monkeypatch.setattr(changes, "_changes", lambda *_: dict.fromkeys(changes.CHANGES, 0.0))
    found = changes.changes_in_model(model(3), torch.zeros(1, 1, 28, 28), seed=1)
    assert found["weights_above"] == pytest.approx([1.5 * 0.3, 1.5 * 0.4])
