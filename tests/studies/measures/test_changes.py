from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearhead.attention import AttentionStages, MultiHeadAttention, attention_stages
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures import changes
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
