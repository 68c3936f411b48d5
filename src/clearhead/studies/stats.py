"""Intervals, p values and power for paired differences; every function takes a batch of rows.

Interval and p value belong together: a bound lies outside the 95 % interval where the p of its
one-sided test is below 0.025. Random draws use a fixed seed, so that the same numbers give the same
result everywhere.
"""

from functools import cache

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit
from scipy.stats import nct

Array = np.ndarray

RESAMPLES = 9_999
MIN_PAIRS_FOR_BOOTSTRAP = 5
"""Below, there are too few different resamples: 10 of three pairs, 35 of four"""

ROUNDING = 1e-12


def paired_interval(
    differences: ArrayLike, *, resamples: int = RESAMPLES
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """A 95 % interval for the mean difference: on each side the wider of bootstrap-t and Student's.

    Bootstrap-t (Efron & Tibshirani 1993, ch. 12): t* = (m* − m) / se* over resamples, and the
    interval m − se · t*(1−α/2) … m − se · t*(α/2). It follows skewed differences, where Student's
    is too short on one side; with few pairs or tied ones it can be too short itself. Below five
    pairs it is Student's alone. Equal pairs give no width, fewer than two pairs −∞ … ∞.
    """
    differences = np.asarray(differences, dtype=np.float64)
    pairs = differences.shape[-1]
    if pairs < 2:
        nothing = np.full(differences.shape[:-1], np.inf)
        return -nothing, nothing
    mean, error = _mean_and_error(differences)
    tail = (1 - 0.95) / 2
    high = np.full(mean.shape, stdtrit(pairs - 1, 1 - tail))
    low = -high
    if pairs >= MIN_PAIRS_FOR_BOOTSTRAP:
        ratios = np.sort(_studentised(differences, resamples), axis=-1)
        low = np.fmin(low, _quantile(ratios, tail, np.floor))
        high = np.fmax(high, _quantile(ratios, 1 - tail, np.ceil))
    return mean - error * high, mean - error * low


def above_p(
    differences: ArrayLike, threshold: ArrayLike, *, resamples: int = RESAMPLES
) -> Float[Array, "*batch"]:
    """The p of the one-sided test that the mean lies above `threshold`.

    The larger of Student's and the bootstrap-t's share of t* ≥ t, (1 + hits) / (1 + resamples)
    (Davison & Hinkley 1997, section 4.4), so that it belongs to `paired_interval`. A threshold of
    −∞ gives 0, one of ∞ or fewer than two pairs 1.
    """
    differences = np.asarray(differences, dtype=np.float64)
    pairs = differences.shape[-1]
    if pairs < 2:
        return np.ones(differences.shape[:-1])
    mean, error = _mean_and_error(differences)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.asarray((mean - threshold) / error)
    t = np.where(np.isnan(t), -np.inf, t)  # no spread, and the mean at the threshold
    p: Array = stdtr(pairs - 1, -t)
    if pairs >= MIN_PAIRS_FOR_BOOTSTRAP:
        ratios = _studentised(differences, resamples)
        hits = (ratios >= t[..., None]).sum(axis=-1)
        share = (1 + hits) / (1 + np.isfinite(ratios).sum(axis=-1))
        p = np.where(np.isfinite(t), np.maximum(p, share), p)
    return p


def inside_p(
    differences: ArrayLike, low: ArrayLike, high: ArrayLike, *, resamples: int = RESAMPLES
) -> Float[Array, "*batch"]:
    """The p of the test that the mean lies in `low` … `high`: the larger of two one-sided ones.

    With low = −high these are the two one-sided tests of equivalence (Schuirmann 1987).
    """
    differences, low, high = (np.asarray(x, dtype=np.float64) for x in (differences, low, high))
    above = above_p(differences, low, resamples=resamples)
    below = above_p(-differences, -high, resamples=resamples)
    larger: Array = np.maximum(above, below)
    return larger


def outside_p(
    differences: ArrayLike, low: ArrayLike, high: ArrayLike, *, resamples: int = RESAMPLES
) -> Float[Array, "*batch"]:
    """The p of the test that the mean lies below `low` or above `high`.

    With two finite ends twice the smaller p of the one-sided tests, as it may be either.
    """
    differences, low, high = (np.asarray(x, dtype=np.float64) for x in (differences, low, high))
    below = above_p(-differences, -low, resamples=resamples)
    above = above_p(differences, high, resamples=resamples)
    sides = np.isfinite(low).astype(int) + np.isfinite(high)
    smaller: Array = np.minimum(1.0, sides * np.minimum(below, above))
    return np.where(sides == 0, 1.0, smaller)


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


def smallest_effect(pairs: int, level: float, *, power: float = 0.8) -> float:
    """How far a mean must lie from a margin for a one-sided t test to find it with this power.

    In standard deviations of the differences; from Student's non-central t.
    """
    if pairs < 2:
        return float("inf")
    bound = stdtrit(pairs - 1, 1 - level)

    def lacking(distance: float) -> float:
        return power - float(nct.sf(bound, pairs - 1, distance * np.sqrt(pairs)))

    return float(brentq(lacking, 0.0, 10 * bound / np.sqrt(pairs) + 1))


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


def _mean_and_error(
    differences: Float[Array, "*batch pairs"],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    error = differences.std(axis=-1, ddof=1) / np.sqrt(differences.shape[-1])
    return differences.mean(axis=-1), np.where(np.ptp(differences, axis=-1) == 0, 0.0, error)


@cache
def _resample_counts(pairs: int, resamples: int) -> Float[Array, "pairs resamples"]:
    """The share of each pair in each resample."""
    generator = np.random.default_rng(0)
    return generator.multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples).T / pairs


def _studentised(
    differences: Float[Array, "*batch pairs"], resamples: int
) -> Float[Array, "*batch resamples"]:
    """(m* − m) / se* of every resample, NaN for those that do not vary.

    Every row uses the same resamples, as counts of how often each pair was drawn: two products of
    matrices give all means and variances.
    """
    pairs = differences.shape[-1]
    counts = _resample_counts(pairs, resamples)
    centred = differences - differences.mean(axis=-1, keepdims=True)
    means = centred @ counts
    variances = (centred**2 @ counts - means**2) * pairs / (pairs - 1)
    least = ROUNDING * centred.var(axis=-1, ddof=1, keepdims=True)
    variances = np.where(variances > least, variances, np.nan)
    ratios: Array = means / np.sqrt(variances / pairs)
    return ratios


def _quantile(
    ascending: Float[Array, "*batch resamples"], share: float, outward: np.ufunc
) -> Float[Array, "*batch"]:
    """The value at `share` of those that are numbers, rounded outward; NaN if none is."""
    numbers = np.isfinite(ascending).sum(axis=-1, keepdims=True)
    place = outward(share * (numbers - 1)).astype(int).clip(0)
    return np.take_along_axis(ascending, place, axis=-1)[..., 0]
