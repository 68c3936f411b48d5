"""Calibration of a trained model: its probabilities, and which predictions are confident."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.data import ImageDataset
from clearhead.data.drawn import drawn_digits
from clearhead.data.outliers import non_digits
from clearhead.inference import (
    certainty_features,
    certainty_of,
    evaluate,
    fit_certainty,
    fit_temperature,
    predict_probabilities,
    uses_digit_preprocessing,
)
from clearhead.models.pretrained import ImageModel

NOT_CONFIDENT = (0.01, 0.0025)
"""Shares of held-out images below `doubtful_below` and `rejected_below`"""
# A model accepted 4.4 % of generated non-digits at this temperature, 7.5 % at 1 (LOG.md).
THRESHOLD_TEMPERATURE = 8.0
CALIBRATION_SEED = 1_000_003  # of generated images; no training uses it


def calibrate(model: ImageModel, held_out: ImageDataset) -> dict[str, Any]:
    """Fit temperature and thresholds of a model to held-out images.

    The logits are divided by the temperature that fits best (Guo et al. 2017, "On Calibration of
    Modern Neural Networks", arXiv 1706.04599), in the head's weights; labels do not change. Then
    the thresholds are set so that of these images 1 % are not confident, and 0.25 % rejected. They
    apply to a certainty that is based on the probabilities at a high temperature, where outliers
    stand out more (Liang et al. 2018, "Enhancing the Reliability of Out-of-distribution Image
    Detection in Neural Networks", arXiv 1706.02690); for digits also on the spread of the logits
    and on the numbers of strokes.

    Args:
        model: The model, in evaluation mode; the weight and the bias of its head are changed, and
            the thresholds in its configuration.
        held_out: Images that it was not trained on.

    Returns:
        For `metrics.json`: temperature, thresholds, and what `evaluate` measures on these images.
    """
    probabilities = predict_probabilities(model, held_out.images)
    temperature = fit_temperature(probabilities, held_out.labels)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.div_(temperature)
    thresholds = fit_thresholds(model, held_out)
    model.config = replace(model.config, **thresholds)
    calibrated = evaluate(model, held_out)
    measures = {name: getattr(calibrated, name) for name in ("total", "accuracy", "nll", "ece")}
    return {"held_out": {"temperature": temperature, **thresholds, **measures}}


def fit_thresholds(model: ImageModel, held_out: ImageDataset) -> dict[str, Any]:
    """Fit the settings that decide which predictions are confident, doubtful or rejected.

    Args:
        model: The model, in evaluation mode.
        held_out: Images that it was not trained on.

    Returns:
        Settings of `ImageModelConfig`: both thresholds and their temperature. For a model of MNIST
        also `certainty_weights`, those of a logistic regression that separates held-out and drawn
        digits that are predicted correctly from wrong ones and generated images without a digit.
    """

    def features(images: UInt8[Tensor, "n 1 28 28"]) -> Float[Tensor, "n features"]:
        rows = predict_probabilities(model, images)
        return certainty_features(rows, images, THRESHOLD_TEMPERATURE)

    probabilities = predict_probabilities(model, held_out.images)
    weights: tuple[float, ...] = ()
    if uses_digit_preprocessing(model.config):
        drawn = drawn_digits(len(held_out) * 3 // 10, CALIBRATION_SEED)
        others = non_digits(len(held_out), held_out, CALIBRATION_SEED)
        drawn_right = predict_probabilities(model, drawn.images).argmax(dim=1) == drawn.labels
        right = probabilities.argmax(dim=1) == held_out.labels
        weights = fit_certainty(
            torch.cat([features(images) for images in (held_out.images, drawn.images, others)]),
            torch.cat([right, drawn_right, torch.zeros(len(others))]).double(),
        )
    certainty = certainty_of(probabilities, held_out.images, THRESHOLD_TEMPERATURE, weights)
    shares = torch.tensor(NOT_CONFIDENT, dtype=certainty.dtype)
    doubtful, rejected = certainty.quantile(shares, interpolation="lower").tolist()
    return {
        "doubtful_below": doubtful,
        "rejected_below": rejected,
        "threshold_temperature": THRESHOLD_TEMPERATURE,
        "certainty_weights": weights,
    }
