"""Measures of a classifier's answers: small pure functions of labels and probabilities.

Sums run in float64, whatever came in. Where a measure has no value (the recall of a class
without images) it is None, never NaN.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.stats import binomtest
from torch import Tensor

from clearhead.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """One class: `count` images bear it, `predicted` images got it, `correct` of them rightly."""

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
    """The answers whose confidence lies in (low, high]: how sure they were, how often right."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def accuracy(labels: Int[Tensor, " n"], predictions: Int[Tensor, " n"]) -> float:
    """The fraction of predictions that are right."""
    _check_pairs(labels, predictions)
    return int((labels == predictions).sum()) / len(labels)


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    Between these two bounds lies, at the given confidence, the accuracy on endlessly many images
    like these. Unlike p ± z·√(p(1 − p)/n) it holds near 0 and 1, where good classifiers are.
    """
    if not 0 <= correct <= total or total < 1:
        raise InputError(
            f"an interval needs 0 ≤ correct ≤ total and total ≥ 1, got {correct} of {total}"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence}")
    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def confusion_matrix(
    labels: Int[Tensor, " n"], predictions: Int[Tensor, " n"], num_classes: int
) -> Int[Tensor, "classes classes"]:
    """How many images of each class (row) got each answer (column)."""
    _check_pairs(labels, predictions)
    for name, classes in (("labels", labels), ("predictions", predictions)):
        _check_range(name, classes, num_classes)
    cells = labels.long() * num_classes + predictions.long()
    return torch.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(
    confusion: Int[Tensor, "classes classes"], class_names: tuple[str, ...]
) -> tuple[ClassScores, ...]:
    """Recall, precision and F1 of each class, with 95 % intervals.

    recall = correct / count, precision = correct / predicted, and F1, their harmonic mean,
    is 2 · correct / (count + predicted).
    """
    if confusion.shape != (len(class_names), len(class_names)):
        raise InputError(
            f"{len(class_names)} class names need a square confusion matrix of that size, "
            f"got {tuple(confusion.shape)}"
        )
    counts, predicted, correct = confusion.sum(1), confusion.sum(0), confusion.diagonal()
    columns = zip(class_names, counts.tolist(), predicted.tolist(), correct.tolist(), strict=True)
    return tuple(_scores_of_class(*column) for column in columns)


def reliability(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """The answers sorted by confidence, the highest probability, into `bins` of equal width."""
    _check_probabilities(probabilities, labels)
    if bins < 1:
        raise InputError(f"bins must be at least 1, got {bins}")
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    confidences, predictions = probabilities.double().cpu().max(dim=1)
    right = (predictions == labels.cpu()).double()
    places = torch.bucketize(confidences, edges[1:-1])
    counts = torch.bincount(places, minlength=bins).tolist()
    sure = torch.bincount(places, confidences, minlength=bins).tolist()
    hits = torch.bincount(places, right, minlength=bins).tolist()
    return tuple(
        ReliabilityBin(
            low=edges[place].item(),
            high=edges[place + 1].item(),
            count=count,
            confidence=sure[place] / count if count else None,
            accuracy=hits[place] / count if count else None,
        )
        for place, count in enumerate(counts)
    )


def expected_calibration_error(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy: Σ (count / n) · |accuracy − confidence|.

    (Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, equation 3.)
    """
    return calibration_error_of(reliability(probabilities, labels, bins))


def calibration_error_of(table: tuple[ReliabilityBin, ...]) -> float:
    """The expected calibration error of a reliability table."""
    total = sum(row.count for row in table)
    if not total:
        raise InputError("a calibration error needs at least one answer, the table has none")
    return sum(
        row.count / total * abs(row.accuracy - row.confidence)
        for row in table
        if row.accuracy is not None and row.confidence is not None
    )


def negative_log_likelihood(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]
) -> float:
    """Mean of −ln(probability of the true class), in nats.

    A probability below float64's smallest normal number counts as that number (708 nats), so
    that one hopeless answer leaves the mean finite.
    """
    _check_probabilities(probabilities, labels)
    of_label = probabilities.double().gather(1, labels.long()[:, None])
    return -of_label.clamp_min(torch.finfo(torch.float64).tiny).log().mean().item()


def _scores_of_class(name: str, count: int, predicted: int, correct: int) -> ClassScores:
    either = count + predicted
    return ClassScores(
        name=name,
        count=count,
        predicted=predicted,
        correct=correct,
        recall=correct / count if count else None,
        recall_interval=wilson_interval(correct, count) if count else None,
        precision=correct / predicted if predicted else None,
        precision_interval=wilson_interval(correct, predicted) if predicted else None,
        f1=2 * correct / either if either else None,
    )


def _check_pairs(labels: Tensor, predictions: Tensor) -> None:
    if labels.dim() != 1 or labels.shape != predictions.shape:
        raise InputError(
            "labels and predictions must be two lists of one length, got "
            f"{tuple(labels.shape)} and {tuple(predictions.shape)}"
        )
    if not len(labels):
        raise InputError("nothing to measure: there are no labels")


def _check_range(name: str, classes: Tensor, num_classes: int) -> None:
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= num_classes:
        raise InputError(f"{name} must lie in 0 … {num_classes - 1}, got {low} … {high}")


def _check_probabilities(probabilities: Tensor, labels: Tensor) -> None:
    if probabilities.dim() != 2 or labels.dim() != 1 or len(probabilities) != len(labels):
        raise InputError(
            "probabilities must be (n, classes) and labels (n), got "
            f"{tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    if not len(labels):
        raise InputError("nothing to measure: there are no labels")
    _check_range("labels", labels, probabilities.shape[1])
    if not ((probabilities >= 0) & (probabilities <= 1 + 1e-6)).all():
        raise InputError("probabilities must lie between 0 and 1, and some do not (or are NaN)")
