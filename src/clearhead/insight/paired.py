"""Intervals for a difference measured twice on the same images."""

from math import sqrt

from jaxtyping import Float
from scipy import stats
from scipy.optimize import brentq
from torch import Tensor

from clearhead.errors import ConfigError, InputError

# How far from the observed difference a bound is sought at the least: the nearest that a bound
# comes is z² / (n + z²), more than this for any n below 3 · 10⁹.
NUDGE = 1e-9


def paired_proportion_interval(
    lost: int, gained: int, total: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The score interval for the difference of two paired proportions, (lost - gained) / total.

    It holds every difference Δ that the score test does not reject,

        |lost - gained - total·Δ| <= z·√(total·(2q + Δ(1 - Δ))),

    q being the most likely share of gains if the true difference were Δ (Tango 1998, "Equivalence
    test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17:891-908). Only images whose answer changed between right and wrong
    count for the difference, so it is far narrower than one from two separate accuracies; and it
    keeps a width where no answer changed, or all did.
    """
    _check_confidence(confidence)
    if lost < 0 or gained < 0 or total < 1 or lost + gained > total:
        raise InputError(
            f"a paired interval needs lost + gained <= total and total >= 1, got {lost} lost and "
            f"{gained} gained of {total}"
        )
    z = float(stats.norm.ppf((1 + confidence) / 2))
    observed = (lost - gained) / total

    def excess(difference: float) -> float:
        variance = _variance(difference, lost, gained, total)
        return total * (observed - difference) ** 2 - z * z * variance

    low = -1.0 if observed - NUDGE <= -1 else brentq(excess, -1.0, observed - NUDGE)
    high = 1.0 if observed + NUDGE >= 1 else brentq(excess, observed + NUDGE, 1.0)
    return float(low), float(high)


def mean_interval(
    differences: Float[Tensor, " n"], confidence: float = 0.95
) -> tuple[float, float] | None:
    """The interval of a mean by Student's t (1908): mean ± t·s/√n. None for one number.

    Differences lie between -1 and 1 here, so that with hundreds of images their mean is close to
    normal, however lopsided they are.
    """
    _check_confidence(confidence)
    if differences.dim() != 1 or not len(differences):
        raise InputError(f"an interval needs a list of numbers, got {tuple(differences.shape)}")
    if len(differences) == 1:
        return None
    numbers = differences.double()
    error = float(numbers.std()) / sqrt(len(numbers))
    reach = float(stats.t.ppf((1 + confidence) / 2, len(numbers) - 1)) * error
    return float(numbers.mean()) - reach, float(numbers.mean()) + reach


def _variance(difference: float, lost: int, gained: int, total: int) -> float:
    """2q + Δ(1 - Δ), with q at its most likely under Δ (Tango 1998, section 3)."""
    linear = (2 * total - lost + gained) * difference - lost - gained
    constant = -gained * difference * (1 - difference)
    root = sqrt(max(linear * linear - 8 * total * constant, 0.0))
    share = (root - linear) / (4 * total)
    return max(2 * share + difference * (1 - difference), 0.0)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie between 0 and 1, got {confidence}")
