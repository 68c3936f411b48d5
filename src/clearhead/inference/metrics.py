"""Measures of a classifier: functions of labels and predicted probabilities.

Sums are in float64 for any input type. An undefined measure, such as the recall of a class
without images, is None, never NaN.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead.errors import InputError

MAX_TEMPERATURE = 20.0


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Measures of one class, with 95 % Wilson intervals.

    Attributes:
        name: Name of the class.
        count: Images of this class.
        predicted: Images predicted to be of this class.
        correct: Images of this class that were predicted to be.
        recall: `correct / count`.
        recall_interval: Its interval.
        precision: `correct / predicted`.
        precision_interval: Its interval.
        f1: Harmonic mean of recall and precision, `2 · correct / (count + predicted)`.
    """

    name: str
    count: int
    predicted: int
    correct: int
    recall: float | None
    recall_interval: tuple[float, float] | None
    precision: float | None
    precision_interval: tuple[float, float] | None
    f1: float | None


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Mean confidence and accuracy of the predictions with a confidence in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    Unlike p ± z·√(p(1 − p)/n), it holds its confidence near 0 and 1.

    Args:
        correct: Successes.
        total: Trials, at least 1.
        confidence: Probability that the interval covers the true proportion.

    Returns:
        Lower and upper bound.

    Raises:
        InputError: Impossible counts or confidence.
    """
    if not 0 <= correct <= total or total < 1:
        raise InputError(
            f"an interval needs 0 ≤ correct ≤ total and total ≥ 1, got {correct} of {total}"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1, got {confidence}")
    from scipy.stats import binomtest  # takes long, and no prediction needs it

    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def confusion_matrix(
    labels: Int[Tensor, " n"], predictions: Int[Tensor, " n"], num_classes: int
) -> Int[Tensor, "classes classes"]:
    """Numbers of images: true class (row) by predicted class (column).

    Args:
        labels: True classes.
        predictions: Predicted classes.
        num_classes: Number of rows and columns.

    Returns:
        Counts of shape (classes, classes), which sum to n.

    Raises:
        InputError: The lengths differ, or a class is not in 0 … `num_classes` - 1.
    """
    if labels.dim() != 1 or labels.shape != predictions.shape:
        raise InputError(
            "labels and predictions must be vectors of the same length, got "
            f"{tuple(labels.shape)} and {tuple(predictions.shape)}"
        )
    for name, classes in (("labels", labels), ("predictions", predictions)):
        _check_classes(name, classes, num_classes)
    cells = labels.long() * num_classes + predictions.long()
    return torch.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(
    confusion: Int[Tensor, "classes classes"], class_names: tuple[str, ...]
) -> tuple[ClassScores, ...]:
    """Recall, precision and F1 of each class.

    Args:
        confusion: From `confusion_matrix`.
        class_names: In the order of its rows.

    Returns:
        One for each class; an undefined score, such as the recall without images, is None.

    Raises:
        InputError: The matrix has another size.
    """
    if confusion.shape != (len(class_names), len(class_names)):
        raise InputError(
            f"{len(class_names)} class names need a square confusion matrix of that size, "
            f"got {tuple(confusion.shape)}"
        )
    scores = []
    for index, name in enumerate(class_names):
        count, predicted = int(confusion[index].sum()), int(confusion[:, index].sum())
        correct = int(confusion[index, index])
        scores.append(
            ClassScores(
                name=name,
                count=count,
                predicted=predicted,
                correct=correct,
                recall=correct / count if count else None,
                recall_interval=wilson_interval(correct, count) if count else None,
                precision=correct / predicted if predicted else None,
                precision_interval=wilson_interval(correct, predicted) if predicted else None,
                f1=2 * correct / (count + predicted) if count + predicted else None,
            )
        )
    return tuple(scores)


def reliability(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """Confidence (the largest probability) and accuracy in `bins` of equal width.

    Args:
        probabilities: Of the classes.
        labels: True classes.
        bins: Number of bins.

    Returns:
        `bins` bins from 0 to 1, in ascending order; in an empty one, confidence and accuracy are
        None.

    Raises:
        InputError: Not one row per label, a label without a column, a probability outside of 0 to
            1, or no bin.
    """
    _check_probabilities(probabilities, labels)
    if bins < 1:
        raise InputError(f"bins must be at least 1, got {bins}")
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    confidences, predictions = probabilities.double().cpu().max(dim=1)
    correct = (predictions == labels.cpu()).double()
    indices = torch.bucketize(confidences, edges[1:-1])
    counts, confidence_sums, correct_sums = (
        torch.bincount(indices, weights, minlength=bins).tolist()
        for weights in (None, confidences, correct)
    )
    return tuple(
        ReliabilityBin(
            low=edges[index].item(),
            high=edges[index + 1].item(),
            count=count,
            confidence=confidence_sums[index] / count if count else None,
            accuracy=correct_sums[index] / count if count else None,
        )
        for index, count in enumerate(counts)
    )


def expected_calibration_error(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy: Σ (count / n) · |accuracy − confidence|.

    (Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, equation 3.)

    Args:
        probabilities: Of the classes.
        labels: True classes.
        bins: Number of bins of equal width.

    Returns:
        From 0 to 1.

    Raises:
        InputError: As in `reliability`.
    """
    return sum(
        row.count / len(labels) * abs(row.accuracy - row.confidence)
        for row in reliability(probabilities, labels, bins)
        if row.accuracy is not None and row.confidence is not None
    )


def negative_log_likelihood(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]
) -> float:
    """Mean of −ln(probability of the true class), in nats.

    A probability below float64's smallest normal number counts as that number (708 nats), which
    keeps the mean finite.

    Args:
        probabilities: Of the classes.
        labels: True classes.

    Returns:
        The mean, at least 0.

    Raises:
        InputError: Not one row per label, a label without a column, or a probability outside of 0
            to 1.
    """
    _check_probabilities(probabilities, labels)
    of_label = probabilities.double().gather(1, labels.long()[:, None])
    return -of_label.clamp_min(torch.finfo(torch.float64).tiny).log().mean().item()


def soften(
    probabilities: Float[Tensor, "n classes"], temperature: float
) -> Float[Tensor, "n classes"]:
    """The probabilities softmax(logits / T) from softmax(logits).

    Args:
        probabilities: Of the classes.
        temperature: T; above 1, they become less confident.

    Returns:
        Rows that sum to 1, in float64.
    """
    powers = probabilities.double() ** (1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True)


def fit_temperature(probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    """The temperature T with the least negative log likelihood of softmax(ln(probabilities) / T).

    (Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599.) The logits of
    softmax are ln(probabilities) up to a constant, so that T is the temperature of the logits too.

    Args:
        probabilities: Of the classes.
        labels: True classes.

    Returns:
        A number between 0.05 and 20; below 1, the probabilities become more confident.

    Raises:
        InputError: As in `negative_log_likelihood`.
    """
    from scipy.optimize import minimize_scalar

    _check_probabilities(probabilities, labels)
    logits = probabilities.double().clamp_min(torch.finfo(torch.float64).tiny).log()

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        return negative_log_likelihood(scaled.softmax(dim=1), labels)

    limit = math.log(MAX_TEMPERATURE)
    return math.exp(minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x)


def _check_classes(name: str, classes: Tensor, num_classes: int) -> None:
    if not len(classes):
        raise InputError("nothing to measure: there are no labels")
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= num_classes:
        raise InputError(f"{name} must be from 0 to {num_classes - 1}, got {low} to {high}")


def _check_probabilities(probabilities: Tensor, labels: Tensor) -> None:
    if probabilities.dim() != 2 or labels.dim() != 1 or len(probabilities) != len(labels):
        raise InputError(
            "probabilities must be (n, classes) and labels (n), got "
            f"{tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    _check_classes("labels", labels, probabilities.shape[1])
    if not ((probabilities >= 0) & (probabilities <= 1 + 1e-6)).all():
        raise InputError("probabilities must be between 0 and 1, and some are not (or are NaN)")
