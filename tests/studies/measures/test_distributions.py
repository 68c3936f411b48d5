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


@pytest.mark.parametrize("largest", [0, 1])
def test_the_largest_error_of_a_sum_is_that_of_each_type(
    monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    levels = dict(zip(TYPES.values(), (3.0, 1.0, 4.0, 2.0), strict=True))
    drawn: list[torch.dtype] = []

    def errors(dtype: torch.dtype, *_: Any) -> dict[str, float]:
        drawn.append(dtype)
        error = levels[dtype] + 0.5 * (drawn.count(dtype) == 1 + largest)
        return {"sum_error": error, "rows": 1.0}

    monkeypatch.setattr(distributions, "errors_of_drawn_rows", errors)
    found = errors_of_random_rows(trial(draws=2))
    assert found["sum_error_by_type"] == {
        name: levels[dtype] + 0.5 for name, dtype in TYPES.items()
    }
    assert found["sum_error"] == 4.5
    assert found["rows"] == len(drawn)


def measured(monkeypatch: pytest.MonkeyPatch, *uniform: int) -> Values:
    """Of a model of two layers, in some of which attention is uniform."""
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(embed_dim=16, num_heads=2, depth=2)).eval()
    for place, layer in enumerate(x for x in model.modules() if isinstance(x, MultiHeadAttention)):
        torch.nn.init.normal_(layer.qkv.weight, std=1.0)
        torch.nn.init.normal_(layer.proj.weight, std=1.0)
        if place in uniform:  # no queries and keys
            torch.nn.init.zeros_(layer.qkv.weight[:32])
    torch.nn.init.normal_(model.head.weight, std=1.0)
    monkeypatch.setattr(distributions, "classifier_of", lambda *_: model)
    monkeypatch.setattr(distributions, "inputs_of", lambda *_: torch.randn(20, 1, 28, 28))
    return distributions.errors_and_moves_in_model(trial())


def test_permuted_weights_change_probabilities_and_unchanged_ones_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = measured(monkeypatch)
    assert found["moved_none"] < 1e-6
    assert min(found["moved"], found["moved_all"]) > 0.01
    assert found["sum_error"] <= ROUNDING
    assert found["rows"] == 20 * 2 * 2 * 16  # images, layers, heads, queries


@pytest.mark.parametrize(
    ("uniform", "changing"),
    [((0, 1), set()), ((0,), {"moved", "moved_all"}), ((1,), {"moved_all"})],
)
def test_permuted_weights_are_those_of_the_last_layer_or_of_all(
    monkeypatch: pytest.MonkeyPatch, uniform: tuple[int, ...], changing: set[str]
) -> None:
    found = measured(monkeypatch, *uniform)
    moved = {name: found[name] for name in ("moved", "moved_all", "moved_none")}
    assert {name for name, change in moved.items() if change > 1e-3} == changing
    assert {name for name, change in moved.items() if change < 1e-6} == moved.keys() - changing


def test_a_move_is_the_mean_total_variation_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.25, 0.25]])
    after = torch.tensor([[0.0, 1.0, 0.0], [0.25, 0.5, 0.25]])
    monkeypatch.setattr(distributions, "probabilities", lambda *_, **__: after)
    change = distributions.permute_weights(0)
    found = distributions.moved(torch.nn.Identity(), torch.zeros(2), before, change, None)
    assert found == pytest.approx((1.0 + 0.25) / 2)
