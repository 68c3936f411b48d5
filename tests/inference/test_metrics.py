import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clearhead.errors import InputError
from clearhead.inference.metrics import (
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    wilson_interval,
)

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2])
PREDICTIONS = torch.tensor([0, 0, 1, 1, 2, 2, 2])
NAMES = ("ant", "bee", "cow", "dog", "emu")
NONE = torch.empty(0, dtype=torch.int64)


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    classes = draw(st.integers(2, 7))
    count = draw(st.integers(1, 31))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    sharpness = draw(st.sampled_from([0.1, 1.0, 5.0]))
    logits = torch.randn(count, classes, generator=generator, dtype=torch.float64) * sharpness
    return logits.softmax(dim=1), torch.randint(0, classes, (count,), generator=generator)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (score interval)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_wilson_interval_equals_published_values(
    correct: int, total: int, low: float, high: float
) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)


@given(total=st.integers(1, 10_007), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_the_wilson_bounds_are_where_the_score_test_just_rejects(
    total: int, share: float, confidence: float
) -> None:
    correct = round(share * total)
    low, high = wilson_interval(correct, total, confidence)
    assert 0 <= low < high <= 1
    assert low <= correct / total + 1e-12
    assert high >= correct / total - 1e-12
    for bound in (low, high):
        if 1e-9 < bound < 1 - 1e-9:
            z = (correct / total - bound) / math.sqrt(bound * (1 - bound) / total)
            tail = math.erfc(abs(z) / math.sqrt(2))
            assert tail == pytest.approx(1 - confidence, rel=1e-4)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_an_interval_of_impossible_counts_is_refused(correct: int, total: int) -> None:
    with pytest.raises(InputError, match="0 ≤ correct ≤ total"):
        wilson_interval(correct, total)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan, 95.0])
def test_an_impossible_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(InputError, match="confidence must be between 0 and 1"):
        wilson_interval(3, 5, confidence)


def test_the_confusion_matrix_has_true_classes_as_rows() -> None:
    expected = [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert confusion_matrix(LABELS, PREDICTIONS, 4).tolist() == expected


@given(predictions())
def test_the_confusion_matrix_equals_counting_one_by_one(pair: tuple[Tensor, Tensor]) -> None:
    probabilities, labels = pair
    predictions, classes = probabilities.argmax(dim=1), probabilities.shape[1]
    expected = np.zeros((classes, classes), dtype=int)
    for label, prediction in zip(labels.tolist(), predictions.tolist(), strict=True):
        expected[label, prediction] += 1
    assert confusion_matrix(labels, predictions, classes).tolist() == expected.tolist()


@pytest.mark.parametrize("bad", [torch.tensor([0, -1]), torch.tensor([3, 0])])
def test_classes_outside_the_matrix_are_refused(bad: Tensor) -> None:
    good = torch.tensor([0, 1])
    with pytest.raises(InputError, match=r"labels must be from 0 to 2"):
        confusion_matrix(bad, good, 3)
    with pytest.raises(InputError, match=r"predictions must be from 0 to 2"):
        confusion_matrix(good, bad, 3)


def test_class_scores_equal_hand_computed_values() -> None:
    scores = class_scores(confusion_matrix(LABELS, PREDICTIONS, 5), NAMES)
    assert [s.name for s in scores] == list(NAMES)
    assert [(s.count, s.predicted, s.correct) for s in scores[:3]] == [
        (3, 2, 2),
        (2, 2, 1),
        (2, 3, 2),
    ]
    assert [s.recall for s in scores[:3]] == [2 / 3, 1 / 2, 1.0]
    assert [s.precision for s in scores[:3]] == [1.0, 1 / 2, 2 / 3]
    assert [s.f1 for s in scores[:3]] == pytest.approx([4 / 5, 1 / 2, 4 / 5])
    assert scores[0].recall_interval == wilson_interval(2, 3)
    assert scores[0].precision_interval == wilson_interval(2, 2)


def test_a_class_without_images_and_predictions_has_no_scores_and_no_nan() -> None:
    dog = class_scores(confusion_matrix(LABELS, PREDICTIONS, 5), NAMES)[3]
    assert (dog.count, dog.predicted, dog.correct) == (0, 0, 0)
    scores = (dog.recall, dog.recall_interval, dog.precision, dog.precision_interval, dog.f1)
    assert scores == (None,) * 5


def test_class_scores_need_one_name_per_class() -> None:
    with pytest.raises(InputError, match=r"5 class names need a square .*got \(4, 4\)"):
        class_scores(confusion_matrix(LABELS, PREDICTIONS, 4), NAMES)


def test_calibration_equals_hand_computed_values() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.35, 0.65]]).double()
    labels = torch.tensor([0, 1, 1, 1])
    # bins of 1/5: (0.8, 1] holds 0.9, 0.9, one right; (0.6, 0.8] holds 0.7, 0.65, both right
    table = reliability(probabilities, labels, bins=5)
    assert [row.count for row in table] == [0, 0, 0, 2, 2]
    assert [row.accuracy for row in table] == [None, None, None, 1.0, 0.5]
    assert [row.confidence for row in table[3:]] == pytest.approx([0.675, 0.9])
    assert [row.low for row in table] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert [row.high for row in table] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    ece = expected_calibration_error(probabilities, labels, bins=5)
    assert ece == pytest.approx(0.5 * 0.325 + 0.5 * 0.4)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    probabilities = torch.tensor([[0.5, 0.5], [1.0, 0.0]]).double()
    assert [row.count for row in reliability(probabilities, torch.tensor([0, 0]), bins=2)] == [1, 1]


@given(predictions(), st.integers(1, 17))
def test_calibration_error_equals_the_definition_written_out(
    pair: tuple[Tensor, Tensor], bins: int
) -> None:
    probabilities, labels = (tensor.numpy() for tensor in pair)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    error = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(*pair, bins=bins) == pytest.approx(error, abs=1e-12)
    assert sum(row.count for row in reliability(*pair, bins=bins)) == len(labels)


def test_confident_correct_predictions_are_perfectly_calibrated() -> None:
    assert expected_calibration_error(torch.eye(7), torch.arange(7)) == 0
    assert expected_calibration_error(torch.eye(7), torch.arange(7).roll(1)) == 1


@given(predictions())
def test_negative_log_likelihood_equals_torchs(pair: tuple[Tensor, Tensor]) -> None:
    probabilities, labels = pair
    expected = torch.nn.functional.nll_loss(probabilities.log(), labels).item()
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(expected, rel=1e-12)


def test_a_probability_of_zero_leaves_the_likelihood_finite() -> None:
    nll = negative_log_likelihood(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    assert nll == pytest.approx(708.396 / 2, abs=1e-3)


def test_the_temperature_of_scaled_logits_is_found_and_no_other_is_better() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(3_000, 7, generator=generator, dtype=torch.float64) * 2
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    overconfident = (logits * 3).softmax(dim=1)
    temperature = fit_temperature(overconfident, labels)
    assert temperature == pytest.approx(3, rel=0.05)
    losses = [
        torch.nn.functional.cross_entropy(logits * 3 / (temperature * factor), labels)
        for factor in (0.99, 1, 1.01)
    ]
    assert min(losses) == losses[1]


def test_empty_labels_are_refused() -> None:
    empty = torch.empty(0, 3)
    with pytest.raises(InputError, match="no labels"):
        confusion_matrix(NONE, NONE, 3)
    with pytest.raises(InputError, match="no labels"):
        expected_calibration_error(empty, NONE)
    with pytest.raises(InputError, match="no labels"):
        negative_log_likelihood(empty, NONE)


def test_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"same length, got \(7,\) and \(6,\)"):
        confusion_matrix(LABELS, PREDICTIONS[:6], 4)
    with pytest.raises(InputError, match=r"got \(5, 5\) and \(7,\)"):
        reliability(torch.eye(5), LABELS)


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"labels must be from 0 to 2, got 0 to 3"):
        negative_log_likelihood(torch.eye(3), torch.tensor([0, 1, 3]))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.5, 3.0])
def test_values_outside_0_to_1_are_refused(wrong: float) -> None:
    probabilities = torch.eye(3)
    probabilities[1, 1] = wrong
    for measure in (expected_calibration_error, negative_log_likelihood, fit_temperature):
        with pytest.raises(InputError, match="probabilities must be between 0 and 1"):
            measure(probabilities, torch.arange(3))


def test_a_number_of_bins_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="bins must be at least 1, got 0"):
        reliability(torch.eye(3), torch.arange(3), bins=0)
