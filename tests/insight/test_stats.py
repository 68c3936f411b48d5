"""Paired intervals, compared with a published example and their definition."""

import math

import pytest
import torch
from scipy import stats
from scipy.optimize import minimize_scalar

from clearhead.errors import ConfigError, InputError
from clearhead.insight.stats import mean_interval, paired_proportion_interval

COUNTS = [(1, 7, 21), (12, 3, 200), (0, 5, 53), (9, 0, 31), (40, 41, 97), (2, 2, 5)]


def test_the_interval_is_that_of_a_published_table() -> None:
    # Fagerland, Lydersen and Laake 2013, BMC Med. Res. Methodol. 13:91, on Bentur et al. 2009
    low, high = paired_proportion_interval(1, 7, 21)
    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


@pytest.mark.parametrize(("lost", "gained", "total"), COUNTS)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_at_each_bound_the_score_test_just_rejects(
    lost: int, gained: int, total: int, confidence: float
) -> None:
    z = stats.norm.ppf((1 + confidence) / 2)
    low, high = paired_proportion_interval(lost, gained, total, confidence)
    for bound in (low, high):
        share = most_likely_share_of_gains(bound, lost, gained, total)
        variance = total * (2 * share + bound * (1 - bound))
        assert abs(lost - gained - total * bound) / math.sqrt(variance) == pytest.approx(z, 1e-4)
    mirrored = paired_proportion_interval(gained, lost, total, confidence)
    assert mirrored == pytest.approx((-high, -low))
    assert low < (lost - gained) / total < high


def most_likely_share_of_gains(difference: float, lost: int, gained: int, total: int) -> float:
    def badness(share: float) -> float:
        cells = (share + difference, share, 1 - 2 * share - difference)
        counts = (lost, gained, total - lost - gained)
        return -sum(n * math.log(max(p, 1e-300)) for n, p in zip(counts, cells, strict=True))

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    return float(minimize_scalar(badness, bounds=bounds, options={"xatol": 1e-12}).x)


@pytest.mark.parametrize("total", [1, 7, 10_000])
def test_without_any_change_the_interval_still_has_a_width(total: int) -> None:
    z2 = stats.norm.ppf(0.975) ** 2
    expected = z2 / (total + z2)
    assert paired_proportion_interval(0, 0, total) == pytest.approx((-expected, expected))
    low, high = paired_proportion_interval(total, 0, total)
    assert low == pytest.approx((total - z2) / (total + z2))
    assert high == 1.0


def test_the_interval_of_a_mean_is_students() -> None:
    differences = torch.tensor([0.1, -0.3, 0.25, 0.0, 0.7], dtype=torch.float64)
    theirs = stats.ttest_1samp(differences.numpy(), 0).confidence_interval(0.9)
    assert mean_interval(differences, 0.9) == pytest.approx((theirs.low, theirs.high))
    assert mean_interval(torch.tensor([0.25])) is None
    assert mean_interval(torch.zeros(7)) == (0.0, 0.0)


def test_impossible_counts_confidences_and_shapes_are_refused() -> None:
    for counts in ((-1, 0, 3), (2, 2, 3), (0, 0, 0)):
        with pytest.raises(InputError, match="lost and"):
            paired_proportion_interval(*counts)
    for confidence in (0.0, 1.0, 95.0):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            paired_proportion_interval(1, 1, 3, confidence)
        with pytest.raises(ConfigError, match="between 0 and 1"):
            mean_interval(torch.zeros(3), confidence)
    with pytest.raises(InputError, match="list of numbers"):
        mean_interval(torch.zeros(0))
