import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from clearhead.studies.measures.saturation import (
    jacobian_norm,
    query_gradient_norm,
    saturation_of_random_scores,
)
from tests.studies.random_models import trial


@given(st.integers(0, 2**32), st.integers(2, 9), st.floats(0.1, 8))
@settings(deadline=None, max_examples=25)
def test_the_jacobian_is_that_of_autograd(seed: int, keys: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(keys, generator=generator, dtype=torch.float64) * size
    jacobian = torch.autograd.functional.jacobian(lambda x: torch.softmax(x, dim=0), scores)
    found = jacobian_norm(torch.softmax(scores, dim=0))
    assert float(found) == pytest.approx(float(jacobian.norm()), abs=1e-7)


def test_the_gradient_for_the_query_is_that_of_autograd() -> None:
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(5, generator=generator, dtype=torch.float64)
    key = torch.randn(7, 5, generator=generator, dtype=torch.float64)

    def weights(x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(key @ x * 0.3, dim=0)

    jacobian = torch.autograd.functional.jacobian(weights, query)
    found = query_gradient_norm(weights(query)[None], key[None], 0.3)
    assert float(found) == pytest.approx(float(jacobian.norm()))


def zero_gap_density(keys: int) -> float:
    """The density at 0 of the gap between the two largest of `keys` standard normal numbers.

    n (n - 1) ∫ φ(x)² Φ(x)ⁿ⁻² dx. For scores of a large standard deviation σ, the mean norm of the
    Jacobian is this over σ: two keys share the weight, the norm is 2 p (1 - p), and the integral of
    that over the gap is 1. The random energy model (Derrida 1981) is the same.
    """
    integral, _ = quad(lambda x: norm.pdf(x) ** 2 * norm.cdf(x) ** (keys - 2), -10, 10)
    return float(keys * (keys - 1) * integral)


def test_the_density_of_a_zero_gap_is_that_of_random_numbers() -> None:
    assert zero_gap_density(2) == pytest.approx(1 / math.sqrt(math.pi))
    x = torch.randn(200_000, 16, generator=torch.Generator().manual_seed(4)).topk(2).values
    near = ((x[:, 0] - x[:, 1]) < 0.05).double().mean() / 0.05
    assert zero_gap_density(16) == pytest.approx(float(near), rel=0.08)


def test_random_scores_agree_with_theory_where_d_k_is_large() -> None:
    settings: Any = {"rows": 2_000, "keys": 16, "head_dims": (256,)}
    measured = saturation_of_random_scores(trial(seed=5, **settings))["measured"]
    for measure in ("relative_entropy", "largest", "jacobian"):
        theory = measured["theory unscaled"][measure]
        assert measured["unscaled"][measure] == pytest.approx(theory, abs=0.02)
    expected = zero_gap_density(16) / math.sqrt(256)
    assert measured["unscaled"]["jacobian"] == pytest.approx([expected], rel=0.1)
