"""Statistics of paired differences: intervals, permutation tests, effect sizes, Holm adjustment.

All functions take numbers along the last axis and work on any batch of such rows at once. Random
draws have a fixed seed: the same numbers give the same result everywhere.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import stdtrit
from scipy.stats import binomtest

Array = np.ndarray

RESAMPLES = 9_999
MAX_PAIRS_ENUMERATED = 14
"""Up to 2¹⁴ sign patterns are all tried; above, `RANDOM_FLIPS` of them are drawn"""
RANDOM_FLIPS = 99_999
MIN_PAIRS_FOR_BOOTSTRAP = 5
"""Below, there are too few different resamples: 10 of three pairs, 35 of four"""

SUMS_AT_ONCE = 2**21
DRAWN_AT_ONCE = 4_096  # not for memory's sake: it decides which flips are drawn
ROUNDING = 1e-12


def paired_interval(
    differences: ArrayLike, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """An interval for the mean difference: the wider of bootstrap-t and Student's t on each side.

    Bootstrap-t (Efron & Tibshirani 1993, ch. 12): t* = (m* − m) / se* over resamples, and the
    interval m − se · t*(1−α/2) … m − se · t*(α/2). It follows skewed differences, where Student's
    is too short on one side; with few pairs or tied ones it can be too short itself, therefore
    never shorter than Student's. Below five pairs it is Student's alone. Pairs that all differ by
    the same give an interval of no width; fewer than two pairs give −∞ … ∞.
    """
    differences = np.asarray(differences, dtype=np.float64)
    pairs = differences.shape[-1]
    if pairs < 2:
        nothing = np.full(differences.shape[:-1], np.inf)
        return -nothing, nothing
    mean = differences.mean(axis=-1)
    error = differences.std(axis=-1, ddof=1) / np.sqrt(pairs)
    error = np.where(np.ptp(differences, axis=-1) == 0, 0.0, error)
    tail = (1 - confidence) / 2
    high = np.full(mean.shape, stdtrit(pairs - 1, 1 - tail))
    low = -high
    if pairs >= MIN_PAIRS_FOR_BOOTSTRAP:
        ratios = _studentised(differences, resamples, seed)
        low = np.fmin(low, _quantile(ratios, tail, np.floor))
        high = np.fmax(high, _quantile(ratios, 1 - tail, np.ceil))
    return mean - error * high, mean - error * low


def sign_flip_p(
    differences: ArrayLike, *, flips: int = RANDOM_FLIPS, seed: int = 0
) -> Float[Array, "*batch"]:
    """The p of the two-sided sign-flip test that the differences are symmetric about 0.

    Fisher 1935; under the hypothesis every difference could as well have had the other sign. The
    statistic is the mean; Student's t would give the same p, because flips leave the sum of squares
    as it is. Exact up to 14 pairs; above, p = (1 + hits) / (1 + flips) (Phipson & Smyth 2010).
    `scipy.stats.permutation_test` takes one row at a time and draws other flips than those of the
    published results.
    """
    differences = np.asarray(differences, dtype=np.float64)
    return _flipped(differences, flips, seed, two_sided=True)


def above_p(
    differences: ArrayLike, threshold: float, *, flips: int = RANDOM_FLIPS, seed: int = 0
) -> Float[Array, "*batch"]:
    """The p of the one-sided sign-flip test: small if the differences lie above `threshold`."""
    shifted = np.asarray(differences, dtype=np.float64) - threshold
    return _flipped(shifted, flips, seed, two_sided=False)


def equivalence_p(
    differences: ArrayLike, margin: float, *, flips: int = RANDOM_FLIPS, seed: int = 0
) -> Float[Array, "*batch"]:
    """The p of two one-sided tests: small if the mean difference lies within ± `margin`.

    The larger of the p against −margin from above and against margin from below (Schuirmann 1987).
    """
    differences = np.asarray(differences, dtype=np.float64)
    above = above_p(differences, -margin, flips=flips, seed=seed)
    below = above_p(-differences, -margin, flips=flips, seed=seed)
    larger: Array = np.maximum(above, below)
    return larger


def holm(p_values: ArrayLike) -> Float[Array, "*batch tests"]:
    """The p values adjusted for their number, which controls the family-wise error rate.

    Holm 1979: sorted upwards, the k-th of m (from 0) times m − k, never below the one before.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    tests = p_values.shape[-1]
    order = np.argsort(p_values, axis=-1, kind="stable")
    factors = np.arange(tests, 0, -1)
    stepped = np.minimum(np.take_along_axis(p_values, order, axis=-1) * factors, 1.0)
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(stepped, axis=-1), axis=-1)
    return adjusted


def hedges_g(differences: ArrayLike) -> float | None:
    """The mean difference in standard deviations of the differences, for few pairs.

    Cohen's d_z with Hedges' factor 1 − 3 / (4 (n − 1) − 1) (Hedges 1981), which takes away most of
    its bias with few pairs. None where they do not vary, or are fewer than three.
    """
    differences = np.asarray(differences, dtype=np.float64)
    pairs = len(differences)
    if pairs < 3 or np.ptp(differences) == 0:
        return None
    factor = 1 - 3 / (4 * (pairs - 1) - 1)
    return float(factor * differences.mean() / differences.std(ddof=1))


def share_interval(count: int, total: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval (Clopper & Pearson 1934) for a proportion, from `count` of `total`.

    For 0 of 12 it reaches to 0.26: an event that did not occur in few trials need not be rare.
    """
    interval = binomtest(count, total).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def _studentised(
    differences: Float[Array, "*batch pairs"], resamples: int, seed: int
) -> Float[Array, "*batch resamples"]:
    """(m* − m) / se* of every resample, ascending; at the end NaN for those that do not vary.

    Every row uses the same resamples, as counts of how often each pair was drawn: two products of
    matrices give all means and variances.
    """
    pairs = differences.shape[-1]
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples).T / pairs
    centred = differences - differences.mean(axis=-1, keepdims=True)
    means = centred @ counts
    variances = (centred**2 @ counts - means**2) * pairs / (pairs - 1)
    least = ROUNDING * centred.var(axis=-1, ddof=1, keepdims=True)
    variances = np.where(variances > least, variances, np.nan)
    return np.sort(means / np.sqrt(variances / pairs), axis=-1)


def _quantile(
    ascending: Float[Array, "*batch resamples"], share: float, outward: np.ufunc
) -> Float[Array, "*batch"]:
    """The value at `share` of those that are numbers, rounded outward; NaN if none is."""
    numbers = np.isfinite(ascending).sum(axis=-1, keepdims=True)
    place = outward(share * (numbers - 1)).astype(int).clip(0)
    return np.take_along_axis(ascending, place, axis=-1)[..., 0]


def _flipped(
    differences: Float[Array, "*batch pairs"], flips: int, seed: int, *, two_sided: bool
) -> Float[Array, "*batch"]:
    pairs = differences.shape[-1]
    slack = ROUNDING * np.abs(differences).sum(axis=-1, keepdims=True)
    seen = differences.sum(axis=-1, keepdims=True)
    seen = np.abs(seen) if two_sided else seen
    exact = pairs <= MAX_PAIRS_ENUMERATED
    total = 2**pairs if exact else flips
    generator = np.random.default_rng(seed)
    hits = np.zeros(differences.shape[:-1])
    block = max(1, SUMS_AT_ONCE // max(1, hits.size)) if exact else DRAWN_AT_ONCE
    for start in range(0, total, block):
        size = min(block, total - start)
        signs = _all_signs(start, size, pairs) if exact else _drawn_signs(generator, size, pairs)
        sums = differences @ signs.T
        sums = np.abs(sums) if two_sided else sums
        hits += (sums >= seen - slack).sum(axis=-1)
    return hits / total if exact else (1 + hits) / (1 + total)


def _all_signs(start: int, size: int, pairs: int) -> Float[Array, "size pairs"]:
    """Sign patterns number `start` and on: the bits of the number, as −1 and 1."""
    bits = np.arange(start, start + size)[:, None] >> np.arange(pairs) & 1
    return 1.0 - 2.0 * bits


def _drawn_signs(
    generator: np.random.Generator, size: int, pairs: int
) -> Float[Array, "size pairs"]:
    return 1.0 - 2.0 * generator.integers(0, 2, size=(size, pairs))
