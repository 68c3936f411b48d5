from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearhead import attention
from clearhead.attention import MultiHeadAttention
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures import distributions
from clearhead.studies.measures.distributions import (
    MASKS,
    TYPES,
    errors_of_drawn_rows,
    errors_of_random_rows,
    outside_or_forbidden,
    row_errors,
    sum_error,
)
from clearhead.studies.table import Values
from tests.studies.random_models import trial

ROUNDING = 1.0


@given(
    st.integers(0, 2**32),
    st.sampled_from(list(TYPES.values())),
    st.sampled_from(MASKS),
    st.floats(0, 1e6),
)
@settings(deadline=None, max_examples=60)
def test_rows_are_distributions_for_every_type_mask_and_size(
    seed: int, dtype: torch.dtype, mask: str, deviation: float
) -> None:
    if dtype == torch.float16:
        deviation = min(deviation, 1e3)
    generator = torch.Generator().manual_seed(seed)
    errors = errors_of_drawn_rows(dtype, deviation, mask, generator)
    assert errors["sum_error"] <= ROUNDING
    assert (errors["outside"], errors["forbidden"], errors["not_numbers"]) == (0, 0, 0)
    if mask in ("none", "causal"):
        assert errors["rows"] == 2 * 3 * distributions.QUERIES  # each query has a key


def test_rows_that_are_not_distributions_have_errors() -> None:
    weights = torch.tensor([[0.5, 0.5, 0.0], [1.5, -0.5, 0.0], [0.0, 0.0, 0.0]])
    allowed = torch.tensor([[True, True, True], [True, True, True], [False, False, False]])
    good = row_errors(weights[[0, 2]], allowed[[0, 2]])
    assert (good["sum_error"], good["outside"], good["rows"]) == (0, 0, 1)
    assert row_errors(weights[:2])["outside"] == pytest.approx(0.5, abs=1e-5)
    assert row_errors(weights)["sum_error"] > 1e5
    leak = row_errors(torch.tensor([[0.75, 0.25]]), torch.tensor([[True, False]]))
    assert leak["forbidden"] == 0.25
    assert row_errors(torch.tensor([[torch.nan, 0.5]]))["not_numbers"] == 1


@pytest.mark.parametrize("fault", ["sigmoid", "leak", "nan"])
def test_planted_faults_are_measured(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    correct = attention.attention_stages

    def faulty(*arguments: Any) -> attention.AttentionStages:
        stages = correct(*arguments)
        weights = {
            "sigmoid": torch.sigmoid(stages.masked),
            "leak": torch.softmax(stages.masked.clamp_min(-9.0), dim=-1),
            "nan": torch.softmax(stages.masked, dim=-1),  # of a row without any key
        }[fault]
        return stages._replace(weights=weights)

    monkeypatch.setattr(attention, "attention_stages", faulty)
    errors = errors_of_random_rows(trial(draws=1))
    assert not (sum_error(errors) <= ROUNDING and outside_or_forbidden(errors) == 0)


def measured(monkeypatch: pytest.MonkeyPatch, *, uniform: bool) -> Values:
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(embed_dim=16, num_heads=2, depth=2)).eval()
    for layer in model.modules():
        if isinstance(layer, MultiHeadAttention):
            torch.nn.init.normal_(layer.qkv.weight, std=1.0)
            torch.nn.init.normal_(layer.proj.weight, std=1.0)
            if uniform:  # no queries and keys
                torch.nn.init.zeros_(layer.qkv.weight[:32])
    torch.nn.init.normal_(model.head.weight, std=1.0)
    monkeypatch.setattr(distributions, "classifier_of", lambda *_: model)
    monkeypatch.setattr(distributions, "inputs_of", lambda *_: torch.randn(20, 1, 28, 28))
    return distributions.errors_and_moves_in_model(trial())


def test_permuted_weights_change_probabilities_and_unchanged_ones_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = measured(monkeypatch, uniform=False)
    assert found["moved_none"] < 1e-6
    assert min(found["moved"], found["moved_all"]) > 0.01
    assert found["sum_error"] <= ROUNDING
    assert found["rows"] == 20 * 2 * 2 * 16  # images, layers, heads, queries


def test_permuted_uniform_weights_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, uniform=True)
    assert max(found["moved"], found["moved_all"]) < 1e-6
