"""The learning rate rises in a line and falls along a cosine."""

import math
from itertools import pairwise

import pytest

from clearhead.training.schedule import warmup_cosine


def test_the_rate_rises_to_one_and_falls_to_almost_nothing() -> None:
    factors = [warmup_cosine(step, 200, 0.1) for step in range(200)]
    assert factors[0] == pytest.approx(1 / 21)
    assert factors[20] == 1.0
    assert factors[110] == pytest.approx(0.5)
    assert factors.index(max(factors)) == 20
    assert all(a < b for a, b in pairwise(factors[:21]))
    assert all(a > b for a, b in pairwise(factors[20:]))
    assert 0 < factors[-1] < 1e-3


def test_without_warm_up_it_starts_at_one() -> None:
    assert warmup_cosine(0, 7, 0.0) == 1.0
    assert warmup_cosine(6, 7, 0.0) == pytest.approx(0.5 * (1 + math.cos(math.pi * 6 / 7)))


def test_a_single_step_has_a_rate() -> None:
    assert warmup_cosine(0, 1, 0.1) > 0
