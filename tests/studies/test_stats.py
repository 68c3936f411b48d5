"""Statistics against simulated data, scipy and plain loops."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from clearhead.studies.stats import (
    above_p,
    hedges_g,
    holm,
    inside_p,
    outside_p,
    paired_interval,
    smallest_effect,
)

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

DRAWS: dict[str, Draw] = {
    "normal": lambda generator, size: generator.normal(size=size),
    "skewed": lambda generator, size: generator.exponential(size=size) - 1,
    "rounded": lambda generator, size: np.round(2 * generator.normal(size=size)),
}
SETS = 2_000


def coverage_of_zero(rows: np.ndarray) -> float:
    low, high = paired_interval(rows, resamples=999)
    return float(np.mean(np.logical_and(low <= 0, high >= 0)))


@pytest.mark.parametrize("pairs", [3, 6, 12, 30])
@pytest.mark.parametrize("shape", DRAWS)
def test_intervals_cover_the_mean_in_about_95_percent_of_samples(shape: str, pairs: int) -> None:
    rows = DRAWS[shape](np.random.default_rng(pairs), (SETS, pairs))
    min_coverage = 0.86 if (shape, pairs) == ("skewed", 3) else 0.92
    assert min_coverage <= coverage_of_zero(rows) <= 0.985


def test_the_interval_is_never_shorter_than_student_t() -> None:
    rows = np.random.default_rng(2).exponential(size=(300, 7))
    t = stats.ttest_1samp(rows, 0.0, axis=-1).confidence_interval(0.95)
    low, high = paired_interval(rows)
    assert (low <= t.low + 1e-12).all()
    assert (high >= t.high - 1e-12).all()


def test_the_bootstrap_agrees_with_a_plain_loop() -> None:
    differences = np.random.default_rng(3).lognormal(size=11)
    mean, error = differences.mean(), differences.std(ddof=1) / np.sqrt(11)
    generator = np.random.default_rng(4)
    ratios = []
    for _ in range(8_000):
        again = generator.choice(differences, 11)
        ratios.append((again.mean() - mean) / (again.std(ddof=1) / np.sqrt(11)))
    bound = stats.t.ppf(0.975, 10)
    low = mean - error * max(np.quantile(ratios, 0.975), bound)
    high = mean - error * min(np.quantile(ratios, 0.025), -bound)
    np.testing.assert_allclose(paired_interval(differences), (low, high), rtol=0.04)


@pytest.mark.parametrize("pairs", [2, 3, 6, 30])
def test_equal_differences_have_an_interval_of_width_0(pairs: int) -> None:
    assert paired_interval(np.full(pairs, 0.1)) == pytest.approx((0.1, 0.1), abs=1e-15)
    assert [float(end) for end in paired_interval(np.zeros(pairs))] == [0.0, 0.0]


def test_the_interval_of_one_pair_is_infinite() -> None:
    assert [float(end) for end in paired_interval([3.0])] == [-np.inf, np.inf]


def test_a_bound_outside_the_interval_has_a_p_below_0_025() -> None:
    rows = np.random.default_rng(4).exponential(size=(40, 9))
    low, high = paired_interval(rows)
    slack = 0.02 * (high - low)
    assert (above_p(rows, low - slack) < 0.025).all()
    assert (above_p(rows, low + slack) > 0.025).all()
    assert (above_p(-rows, -high - slack) < 0.025).all()
    assert (above_p(-rows, -high + slack) > 0.025).all()


def test_p_is_never_below_student_t() -> None:
    rows = np.random.default_rng(2).normal(0.4, size=(300, 7))
    student = stats.ttest_1samp(rows, 0.1, axis=-1, alternative="greater").pvalue
    assert (above_p(rows, 0.1) >= student - 1e-12).all()
    np.testing.assert_allclose(
        above_p(rows[:, :4], 0.1),
        stats.ttest_1samp(rows[:, :4], 0.1, axis=-1, alternative="greater").pvalue,
    )


def test_ties_are_not_evidence_and_equal_differences_are_exact() -> None:
    assert above_p([0.0] * 8, 0.0) == 1.0
    assert above_p([0.3] * 6, 0.3) == 1.0
    assert above_p([0.3] * 6, 0.2) == 0.0
    assert above_p([0.1, -0.1] * 4, 0.0) >= 0.5
    assert above_p([5.0], 0.0) == 1.0


@pytest.mark.parametrize("pairs", [5, 6, 9, 12])
def test_ties_give_the_same_interval_where_their_mean_has_rounding_errors(pairs: int) -> None:
    differences = np.eye(pairs)[0]
    expected = np.array(paired_interval(differences))
    np.testing.assert_allclose(paired_interval(0.1 * differences), 0.1 * expected)


def test_p_inside_is_the_larger_and_outside_twice_the_smaller_of_two_sides() -> None:
    rows = np.random.default_rng(1).normal(0.2, size=10)
    sides = above_p(rows, -0.5), above_p(-rows, -0.5)
    assert inside_p(rows, -0.5, 0.5) == max(sides)
    outside = above_p(-rows, 0.5), above_p(rows, 0.5)
    assert outside_p(rows, -0.5, 0.5) == min(1.0, 2 * min(outside))
    assert outside_p(rows, 0.5, np.inf) == above_p(-rows, -0.5)
    assert outside_p(rows, -np.inf, np.inf) == 1.0
    assert inside_p(rows, -np.inf, np.inf) == 0.0


def test_the_smallest_effect_is_found_with_the_power_that_was_asked_for() -> None:
    distance = smallest_effect(12, 0.025)
    rows = np.random.default_rng(7).normal(3 + distance, 1.0, size=(4_000, 12))
    p = stats.ttest_1samp(rows, 3.0, axis=-1, alternative="greater").pvalue
    assert np.mean(p < 0.025) == pytest.approx(0.8, abs=0.02)
    assert smallest_effect(12, 0.005) > distance > smallest_effect(30, 0.025)
    assert smallest_effect(1, 0.025) == np.inf


def test_holm_agrees_with_examples() -> None:
    given = [0.01, 0.04, 0.03, 0.005]
    np.testing.assert_allclose(holm(given), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.4, 0.9]), [0.8, 0.9])
    np.testing.assert_allclose(holm([0.6, 0.6, 0.6]), [1.0] * 3)


def test_the_effect_size_of_few_pairs_is_hardly_biased() -> None:
    rows = np.random.default_rng(13).normal(0.8, 1.0, size=(6_000, 6))
    sizes = [hedges_g(row) for row in rows]
    assert np.mean([size for size in sizes if size is not None]) == pytest.approx(0.8, abs=0.03)
    exact = math.gamma(2) / (math.sqrt(2) * math.gamma(1.5))  # Hedges' factor for five pairs
    assert hedges_g([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(exact * 3 / 2.5**0.5, rel=5e-3)
    assert hedges_g([1.0, 1.0, 1.0]) is None
    assert hedges_g([1.0, 2.0]) is None


def test_the_same_numbers_give_the_same_results() -> None:
    rows = np.random.default_rng(14).normal(size=(3, 20))
    assert np.array_equal(paired_interval(rows), paired_interval(rows))
    for row, low, high in zip(rows, *paired_interval(rows), strict=True):
        assert paired_interval(row) == pytest.approx((low, high), rel=1e-9)
    np.testing.assert_allclose(above_p(rows, 0.1), [above_p(row, 0.1) for row in rows])
