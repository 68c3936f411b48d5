"""Statistics against simulated data, scipy and plain loops."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats

from clearhead.studies.stats import (
    above_p,
    equivalence_p,
    hedges_g,
    holm,
    paired_interval,
    share_interval,
    sign_flip_p,
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


def test_the_interval_covers_skewed_differences_better_than_student_t() -> None:
    rows = DRAWS["skewed"](np.random.default_rng(5), (SETS, 12))
    t = stats.ttest_1samp(rows, 0.0, axis=-1).confidence_interval(0.95)
    student_coverage = float(np.mean(np.logical_and(t.low <= 0, t.high >= 0)))
    assert coverage_of_zero(rows) > student_coverage + 0.02


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


def test_the_interval_is_equivariant_to_shift_and_scale() -> None:
    differences = np.random.default_rng(6).normal(size=9)
    low, high = paired_interval(differences)
    np.testing.assert_allclose(
        paired_interval(5 + 3 * differences), (5 + 3 * low, 5 + 3 * high), rtol=1e-9
    )
    np.testing.assert_allclose(paired_interval(-differences)[0], -high, rtol=0.05)


@pytest.mark.parametrize("pairs", [2, 3, 6, 30])
def test_equal_differences_have_an_interval_of_width_0(pairs: int) -> None:
    assert paired_interval(np.full(pairs, 0.1)) == pytest.approx((0.1, 0.1), abs=1e-15)
    assert [float(end) for end in paired_interval(np.zeros(pairs))] == [0.0, 0.0]


def test_the_interval_of_one_pair_is_infinite() -> None:
    assert [float(end) for end in paired_interval([3.0])] == [-np.inf, np.inf]


@pytest.mark.parametrize("pairs", [6, 12, 20])
@pytest.mark.parametrize("shape", ["normal", "rounded"])
def test_false_positives_are_as_rare_as_alpha(shape: str, pairs: int) -> None:
    rows = DRAWS[shape](np.random.default_rng(pairs), (SETS, pairs))
    false_positives = float((sign_flip_p(rows, flips=999) <= 0.05).mean())
    attainable = np.floor(0.05 * 2 ** (pairs - 1)) / 2 ** (pairs - 1)
    assert attainable - 0.03 <= false_positives <= 0.05 + 0.015


@pytest.mark.parametrize("pairs", [1, 5, 9, 14])
def test_the_exact_test_agrees_with_a_plain_loop_and_scipy(pairs: int) -> None:
    differences = np.random.default_rng(pairs).normal(0.4, size=pairs)
    if pairs < 14:
        sums = [abs(np.dot(signs, differences)) for signs in product([-1, 1], repeat=pairs)]
        hits = sum(x >= abs(differences.sum()) - 1e-9 for x in sums)
        assert sign_flip_p(differences) == hits / 2**pairs
    if pairs > 1:
        expected = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=2**pairs
        )
        assert sign_flip_p(differences) == pytest.approx(expected.pvalue)


def test_above_fourteen_pairs_random_flips_approximate_the_exact_p() -> None:
    differences = np.random.default_rng(8).normal(0.45, size=16)
    sums = np.zeros(1)
    for x in differences:
        sums = np.concatenate([sums + x, sums - x])
    exact = (np.abs(sums) >= abs(differences.sum()) - 1e-9).mean()
    assert sign_flip_p(differences) == pytest.approx(exact, rel=0.1)
    assert sign_flip_p(np.full(40, 2.0)) == pytest.approx(1 / 100_000)


def test_ties_and_zeros_are_no_evidence() -> None:
    assert sign_flip_p([0.0] * 8) == 1.0
    assert sign_flip_p([0.1, -0.1] * 4) == 1.0
    assert sign_flip_p([0.3] * 6) == 2 / 2**6
    assert above_p([0.3] * 6, 0.0) == 1 / 2**6
    assert above_p([-0.3] * 6, 0.0) == 1.0


@pytest.mark.parametrize("true", [-1.0, 1.0])
def test_equivalence_is_rarely_found_where_the_difference_equals_the_margin(
    true: float,
) -> None:
    rows = np.random.default_rng(9).normal(true, 0.7, size=(SETS, 12))
    assert 0.03 <= (equivalence_p(rows, 1.0) <= 0.05).mean() <= 0.065
    assert (equivalence_p(rows - true, 1.0) <= 0.05).mean() > 0.9


def test_equivalence_has_the_larger_p_of_two_sides() -> None:
    differences = np.random.default_rng(1).normal(0.2, size=10)
    expected = max(above_p(differences, -0.5), above_p(-differences, -0.5))
    assert equivalence_p(differences, 0.5) == expected
    assert above_p(differences, -0.5) < above_p(-differences, -0.5)


def test_holm_agrees_with_examples() -> None:
    given = [0.01, 0.04, 0.03, 0.005]
    np.testing.assert_allclose(holm(given), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.4, 0.9]), [0.8, 0.9])
    np.testing.assert_allclose(holm([0.6, 0.6, 0.6]), [1.0] * 3)


def test_holm_keeps_the_family_wise_error_rate_below_alpha() -> None:
    generator = np.random.default_rng(11)
    families = sign_flip_p(generator.normal(size=(SETS, 20, 10)))
    assert np.mean(families.min(axis=-1) <= 0.05) > 0.5
    wrong = np.mean(holm(families).min(axis=-1) <= 0.05)
    assert wrong == pytest.approx(20 * 2 / 2**10, abs=0.014)


def test_holm_keeps_the_error_rate_beside_true_differences() -> None:
    generator = np.random.default_rng(12)
    rows = generator.normal(size=(SETS // 2, 12, 10))
    rows[:, :6] += 3.0
    adjusted = holm(sign_flip_p(rows))
    assert (adjusted[:, :6] <= 0.05).mean() > 0.9
    assert (adjusted[:, 6:].min(axis=-1) <= 0.05).mean() <= 0.06


def test_the_effect_size_of_few_pairs_is_hardly_biased() -> None:
    rows = np.random.default_rng(13).normal(0.8, 1.0, size=(6_000, 6))
    sizes = [hedges_g(row) for row in rows]
    assert np.mean([size for size in sizes if size is not None]) == pytest.approx(0.8, abs=0.03)
    assert hedges_g([1.0, 1.0, 1.0]) is None
    assert hedges_g([1.0, 2.0]) is None


def test_the_same_numbers_give_the_same_results() -> None:
    rows = np.random.default_rng(14).normal(size=(3, 20))
    assert np.array_equal(paired_interval(rows), paired_interval(rows))
    for row, low, high in zip(rows, *paired_interval(rows), strict=True):
        assert paired_interval(row) == pytest.approx((low, high), rel=1e-9)
    assert np.array_equal(sign_flip_p(rows), [sign_flip_p(row) for row in rows])


@pytest.mark.parametrize(("count", "total"), [(0, 12), (1, 12), (12, 12), (3, 152)])
def test_the_interval_of_a_share_is_the_exact_one(count: int, total: int) -> None:
    exact = stats.binomtest(count, total).proportion_ci(0.95, method="exact")
    assert share_interval(count, total) == pytest.approx((exact.low, exact.high))
