"""How certain a prediction is: a number in [0, 1] that the thresholds of a model apply to."""

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from clearhead.inference.metrics import soften

Features = Float[Tensor, "n features"]


def certainty_of(
    probabilities: Float[Tensor, "n classes"],
    images: UInt8[Tensor, "n channels height width"],
    temperature: float,
    weights: tuple[float, ...] = (),
) -> Float[Tensor, " n"]:
    """The certainty of predictions, in float64.

    Args:
        probabilities: Of the classes.
        images: The model inputs, from 0 to 255.
        temperature: Divides the logits for the softened probability of the label.
        weights: Of a logistic regression on `certainty_features`, the intercept first. Without any,
            the certainty is the softened probability.

    Returns:
        From 0 to 1, one for each image; with weights, at most the probability of the label.
    """
    if not weights:
        return soften(probabilities, temperature).amax(dim=1)
    intercept, *others = torch.tensor(weights, dtype=torch.float64)
    features = certainty_features(probabilities, images, temperature)
    log_odds: Tensor = intercept + features @ torch.stack(others)
    return log_odds.sigmoid().minimum(probabilities.double().amax(dim=1))


def certainty_features(
    probabilities: Float[Tensor, "n classes"],
    images: UInt8[Tensor, "n channels height width"],
    temperature: float,
) -> Features:
    """Ten numbers in which digits differ from other images.

    The logarithm of the label's softened probability; the standard deviation of the logits; and the
    number of strokes across columns and across rows, its mean over 28 and its maximum, each with
    its square. The number of strokes across a line is half of the total variation of its ink.

    Args:
        probabilities: Of the classes.
        images: The model inputs, from 0 to 255.
        temperature: Divides the logits for the softened probability.

    Returns:
        A row for each image, in float64.
    """
    logarithms = probabilities.double().clamp_min(torch.finfo(torch.float64).tiny).log()
    certainty = soften(probabilities, temperature).amax(dim=1).log()
    spread = logarithms.std(dim=1, correction=0)
    ink = F.pad(images[:, 0].float(), (1, 1, 1, 1)) / 255
    strokes = [
        ink.diff(dim=across).abs().sum(dim=across)[:, 1:-1].double() / 2 for across in (1, 2)
    ]
    counts = torch.stack([x for each in strokes for x in (each.mean(dim=1), each.amax(dim=1))], 1)
    return torch.cat([certainty[:, None], spread[:, None], counts, counts**2], dim=1)


def fit_certainty(features: Features, is_right: Float[Tensor, " n"]) -> tuple[float, ...]:
    """The weights for `certainty_of`, by logistic regression with a weak L2 penalty.

    Args:
        features: Of digits, and of images without a digit.
        is_right: 1 for each digit that is predicted right, else 0.

    Returns:
        The intercept, then a weight for each feature.
    """
    from scipy.optimize import minimize  # takes long, and no prediction needs it

    mean, deviation = features.mean(dim=0), features.std(dim=0).clamp_min(1e-9)
    inputs = F.pad((features - mean) / deviation, (1, 0), value=1.0)

    def loss(values: ndarray) -> tuple[float, ndarray]:
        weights = torch.from_numpy(values)
        penalised = F.pad(weights[1:], (1, 0))
        logits = inputs @ weights
        error = F.binary_cross_entropy_with_logits(logits, is_right, reduction="sum")
        gradient = inputs.T @ (logits.sigmoid() - is_right) + penalised
        return float(error + penalised @ penalised / 2), gradient.numpy()

    start = torch.zeros(inputs.shape[1], dtype=torch.float64).numpy()
    intercept, *slopes = torch.from_numpy(minimize(loss, start, jac=True, method="BFGS").x)
    scaled = torch.stack(slopes) / deviation
    return (float(intercept - scaled @ mean), *scaled.tolist())
