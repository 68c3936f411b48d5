"""Each stage against numbers computed by hand, and all of them against torch."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from clearhead.attention import (
    attention_stages,
    causal_mask,
    context,
    masked,
    scaled,
    scores,
    weights,
)
from clearhead.attention.stages import default_scale
from tests.recording.reference import triple

LN2, LN3, LN4, LN5 = (math.log(number) for number in (2, 3, 4, 5))

# Two queries, three keys, d_k = 4, d_v = 2. Each query is along one axis, so that the
# scaled scores are logarithms of small numbers and the weights are eighths.
QUERY = torch.tensor([[2, 0, 0, 0], [0, 2, 0, 0]], dtype=torch.float64)
KEY = torch.tensor([[LN2, 0, 7, 1], [0, LN3, 5, 2], [LN5, LN4, 3, 3]], dtype=torch.float64)
VALUE = torch.tensor([[8, 0], [0, 8], [16, -8]], dtype=torch.float64)
SCORES = torch.tensor([[2 * LN2, 0, 2 * LN5], [0, 2 * LN3, 2 * LN4]], dtype=torch.float64)
SCALED = torch.tensor([[LN2, 0, LN5], [0, LN3, LN4]], dtype=torch.float64)
WEIGHTS = torch.tensor([[2 / 8, 1 / 8, 5 / 8], [1 / 8, 3 / 8, 4 / 8]], dtype=torch.float64)
CONTEXT = torch.tensor([[12, -4], [9, -1]], dtype=torch.float64)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-14)


def test_all_stages_of_an_example_computed_by_hand() -> None:
    found = attention_stages(QUERY, KEY, VALUE)
    assert found._fields == ("scores", "scaled", "masked", "weights", "context")
    for one, other in zip(found, (SCORES, SCALED, SCALED, WEIGHTS, CONTEXT), strict=True):
        close(one, other)


def test_each_stage_alone_on_the_same_example() -> None:
    close(scores(QUERY, KEY), SCORES)
    close(scaled(SCORES, 0.5), SCALED)
    close(weights(SCALED), WEIGHTS)
    close(context(WEIGHTS, VALUE), CONTEXT)
    assert default_scale(4) == 0.5


def test_the_example_with_its_last_key_masked() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    found = attention_stages(QUERY, KEY, VALUE, mask)
    assert found.masked.isneginf().equal(~mask)
    close(found.scaled, SCALED)
    close(found.weights, torch.tensor([[2 / 3, 1 / 3, 0], [0, 0, 0]], dtype=torch.float64))
    close(found.context, torch.tensor([[16 / 3, 8 / 3], [0, 0]], dtype=torch.float64))


def test_the_example_without_scaling_squares_the_odds() -> None:
    found = attention_stages(QUERY, KEY, VALUE, scale=1.0)
    expected = torch.tensor([[4, 1, 25], [1, 9, 16]], dtype=torch.float64)
    close(found.weights, expected / expected.sum(1, keepdim=True))


def test_a_float_mask_is_added_after_scaling() -> None:
    mask = torch.tensor([[0, LN2, 0], [LN3, 0, -math.inf]], dtype=torch.float64)
    close(masked(SCALED, mask), SCALED + mask)
    found = attention_stages(QUERY, KEY, VALUE, mask)
    close(found.scaled, SCALED)
    close(
        found.weights,
        torch.tensor([[2 / 9, 2 / 9, 5 / 9], [3 / 6, 3 / 6, 0]], dtype=torch.float64),
    )


def test_the_first_causal_query_attends_to_the_first_key_alone() -> None:
    found = attention_stages(QUERY, KEY, VALUE, is_causal=True)
    close(found.weights, torch.tensor([[1, 0, 0], [1 / 4, 3 / 4, 0]], dtype=torch.float64))
    close(found.context, torch.tensor([[8, 0], [2, 6]], dtype=torch.float64))


def test_weights_of_a_row_without_keys_are_zero_with_zero_gradients() -> None:
    rows = torch.tensor([[-math.inf, -math.inf], [0.0, LN3]], dtype=torch.float64)
    rows.requires_grad_()
    found = weights(rows)
    close(found.detach(), torch.tensor([[0, 0], [1 / 4, 3 / 4]], dtype=torch.float64))
    found[:, 0].sum().backward()
    assert rows.grad is not None
    close(rows.grad, torch.tensor([[0, 0], [3 / 16, -3 / 16]], dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    query, key, value = triple(dtype=dtype)
    found, whole = (
        attention_stages(query, key, value),
        attention_stages(query.float(), key.float(), value.float()),
    )
    for one, other in zip(found, whole, strict=True):
        assert one.dtype == torch.float32
        assert one.equal(other)


def test_dropout_changes_the_context_but_not_the_weights_returned() -> None:
    query, key, value = triple()
    plain = attention_stages(query, key, value)
    torch.manual_seed(0)
    dropped = attention_stages(query, key, value, dropout_p=0.5)
    assert dropped.weights.equal(plain.weights)
    assert not dropped.context.isclose(plain.context).any()


@pytest.mark.parametrize("kind", ["none", "causal", "bool", "float", "gqa"])
def test_first_and_second_derivatives_are_those_of_the_formula(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    heads = 1 if kind == "gqa" else 2
    shapes = ((2, 3, 2), (heads, 5, 2), (heads, 5, 3))
    inputs = tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    )
    mask = torch.rand(2, 3, 5, generator=generator) > 0.4
    mask[1, 2] = False
    added = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    added[0], added[2, 3] = -math.inf, -math.inf
    options: dict[str, dict[str, Any]] = {
        "none": {},
        "causal": {"is_causal": True},
        "bool": {"attn_mask": mask},
        "float": {"attn_mask": added},
        "gqa": {"enable_gqa": True},
    }

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attention_stages(query, key, value, **options[kind]).context

    assert torch.autograd.gradcheck(attend, inputs)
    assert torch.autograd.gradgradcheck(attend, inputs)


@pytest.mark.parametrize("head_dim", [2, 17, 257])
def test_scores_of_unit_variance_inputs_have_variance_d_k_and_scaled_ones_near_1(
    head_dim: int,
) -> None:
    generator = torch.Generator().manual_seed(head_dim)
    query, key = torch.randn(
        2, 100_003 // head_dim, 5, head_dim, generator=generator, dtype=torch.float64
    )
    found = attention_stages(query, key, key)
    assert found.scores.var().item() / head_dim == pytest.approx(1, abs=0.05)
    assert found.scaled.var().item() == pytest.approx(1, abs=0.05)
    assert found.scores.mean().abs() < 0.1 * math.sqrt(head_dim)


LEADING = st.lists(st.sampled_from([1, 2, 3]), max_size=3).map(tuple)
SIZES = st.integers(1, 7)
DTYPES = st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16])
KINDS = st.sampled_from(["none", "bool", "float", "causal"])


@settings(max_examples=40, deadline=None)
@given(LEADING, SIZES, SIZES, SIZES, SIZES, DTYPES, KINDS, st.floats(0, 100), st.integers(0, 999))
def test_rows_are_distributions_and_the_context_is_torchs(
    leading: tuple[int, ...],
    queries: int,
    keys: int,
    head_dim: int,
    value_dim: int,
    dtype: torch.dtype,
    kind: str,
    size: float,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    query = (randn(*leading, queries, head_dim) * size).to(dtype)
    key, value = randn(*leading, keys, head_dim).to(dtype), randn(*leading, keys, value_dim)
    options: dict[str, Any] = {"is_causal": kind == "causal"}
    allowed = causal_mask(queries, keys) if kind == "causal" else torch.ones(queries, keys) > 0
    if kind == "bool":
        options["attn_mask"] = allowed = randn(*leading, queries, keys) > 0
    if kind == "float":
        options["attn_mask"] = randn(*leading, queries, keys).to(dtype)
    found = attention_stages(query, key, value.to(dtype), **options)

    assert (found.weights >= 0).all()
    some = allowed.any(dim=-1).expand(found.weights.shape[:-1])
    torch.testing.assert_close(found.weights.sum(-1), some.to(found.weights), atol=1e-5, rtol=0)
    assert not found.weights[~allowed.expand_as(found.weights)].any()
    assert found.masked.isneginf().equal(~allowed.expand_as(found.weights))
    query, key, value = (x.to(dtype).double() for x in (query, key, value))
    if kind == "float":
        options["attn_mask"] = options["attn_mask"].double()
    expected = F.scaled_dot_product_attention(query, key, value, **options)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(found.context.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("is_causal", [False, True])
def test_all_stages_use_the_function_weights(
    is_causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearhead.attention.stages.weights", torch.zeros_like)
    ones = torch.ones(2, 4, 5)
    stages = attention_stages(ones, ones, ones, is_causal=is_causal)
    assert not stages.weights.any()
    assert not stages.context.any()
    assert repr(stages).startswith("AttentionStages(scores=(2, 4, 4), ")
