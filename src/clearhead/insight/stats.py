"""Confidence intervals for differences that are measured twice on the same images."""

from math import sqrt

from jaxtyping import Float
from scipy import stats
from scipy.optimize import brentq
from torch import Tensor

from clearhead.errors import ConfigError, InputError

# A bound lies at least z² / (n + z²) from the observed difference, which is more than this for any
# n below 3 · 10⁹.
MIN_DISTANCE = 1e-9


def paired_proportion_interval(
    lost: int, gained: int, total: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The score interval for the difference of two paired proportions, (lost - gained) / total.

    It holds every difference Δ that the score test does not reject,

        |lost - gained - total·Δ| <= z·√(total·(2q + Δ(1 - Δ))),

    where q is the maximum-likelihood share of gains if the true difference were Δ (Tango 1998,
    "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17:891-908). Only images whose prediction changed
    between right and wrong count, so it is far narrower than one from two separate accuracies.
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
        """Square of the left side, less that of the right."""
        linear = (2 * total - lost + gained) * difference - lost - gained
        constant = -gained * difference * (1 - difference)
        root = sqrt(max(linear * linear - 8 * total * constant, 0.0))
        q = (root - linear) / (4 * total)
        variance = max(2 * q + difference * (1 - difference), 0.0)
        return total * (observed - difference) ** 2 - z * z * variance

    low, high = observed - MIN_DISTANCE, observed + MIN_DISTANCE
    return (
        -1.0 if low <= -1 else float(brentq(excess, -1.0, low)),
        1.0 if high >= 1 else float(brentq(excess, high, 1.0)),
    )


def mean_interval(
    differences: Float[Tensor, " n"], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Student's t interval of a mean: mean ± t·s/√n. None for a single number.

    For numbers whose mean is close to normal, such as hundreds between -1 and 1.
    """
    _check_confidence(confidence)
    if differences.dim() != 1 or not len(differences):
        raise InputError(f"expected a list of numbers, got shape {tuple(differences.shape)}")
    if len(differences) == 1:
        return None
    numbers = differences.double()
    mean, error = float(numbers.mean()), float(numbers.std()) / sqrt(len(numbers))
    reach = float(stats.t.ppf((1 + confidence) / 2, len(numbers) - 1)) * error
    return mean - reach, mean + reach


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be between 0 and 1, got {confidence}")
