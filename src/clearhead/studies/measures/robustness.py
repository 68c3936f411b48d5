"""Accuracy on corrupted digits, and how attention changes with the corruption."""

import math
import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from clearhead.data import CORRUPTIONS, corrupt, normalize
from clearhead.insight import Foreground, Grid
from clearhead.insight.forward import probabilities
from clearhead.insight.measures import entropy
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from clearhead.studies.measures.classifiers import unseen_digits
from clearhead.studies.table import Values
from clearhead.training.batches import generator_for

BLANK = "noise on blank patches"
ALL_CORRUPTIONS = (*CORRUPTIONS, BLANK)
GRID = Grid(4, 4)  # that of the ViT, for all models

Weights = Float[Tensor, "images heads queries keys"]


class _Result(NamedTuple):
    accuracy: float
    weights: list[Weights]


def robustness(model: ImageModel, unseen: int, seed: int) -> Values:
    """Accuracy (per cent) on clean digits and under each corruption.

    For models with attention also `drift`, the divergence of each layer's weights from those on
    clean digits, and `on_blank`, the share of attention on blank patches with and without noise.
    """
    digits = unseen_digits(unseen, seed)
    clean = _evaluated(model, digits.images, digits.labels)
    accuracy, drift, on_blank = {}, {}, {}
    for name in ALL_CORRUPTIONS:
        change = noisy_blanks if name == BLANK else corrupt
        images = change(digits.images, name, generator_for("corruption", name, seed))
        corrupted = _evaluated(model, images, digits.labels)
        accuracy[name] = corrupted.accuracy
        if clean.weights:
            pairs = zip(clean.weights, corrupted.weights, strict=True)
            drift[name] = [divergence(one, other) for one, other in pairs]
        if clean.weights and name == BLANK:
            blank = Foreground.of(digits.images, GRID).background
            on_blank = {"clean": _share(clean, blank), "noisy": _share(corrupted, blank)}
    return {"clean": clean.accuracy, "accuracy": accuracy, "drift": drift, "on_blank": on_blank}


def noisy_blanks(
    images: UInt8[Tensor, "images 1 28 28"], name: str, generator: torch.Generator
) -> UInt8[Tensor, "images 1 28 28"]:
    """Impulse noise on the patches without ink alone."""
    blank = Foreground.of(images, GRID).background.view(-1, 1, GRID.rows, GRID.columns)
    height, width = images.shape[2] // GRID.rows, images.shape[3] // GRID.columns
    noisy = blank.repeat_interleave(height, dim=2).repeat_interleave(width, dim=3)
    return torch.where(noisy, corrupt(images, "impulse noise", generator), images)


def divergence(one: Weights, other: Weights) -> float:
    """Mean Jensen-Shannon divergence of weights, from 0 to 1 bit."""
    nats = entropy((one + other) / 2) - (entropy(one) + entropy(other)) / 2
    return float(nats.clamp_min(0.0).double().mean()) / math.log(2)


def accuracies(values: Values) -> list[float]:
    """On clean digits, and under each corruption."""
    return [values["clean"], *(values["accuracy"][name] for name in ALL_CORRUPTIONS)]


def loss_under(*corruptions: str) -> Callable[[Values], float]:
    """Accuracy on clean digits minus mean accuracy under some corruptions."""

    def loss(values: Values) -> float:
        corrupted = [float(values["accuracy"][name]) for name in corruptions]
        return float(values["clean"]) - sum(corrupted) / len(corrupted)

    return loss


def mean_drift(values: Values) -> list[float]:
    """For each corruption, the mean over layers."""
    return [statistics.fmean(values["drift"][name]) for name in ALL_CORRUPTIONS]


def _evaluated(model: ImageModel, images: Tensor, labels: Int[Tensor, " images"]) -> _Result:
    pixels = normalize(images, model.config)
    predicted = probabilities(model, pixels).argmax(dim=1)
    weights: list[Tensor] = []
    if isinstance(model, VisionTransformer):
        with torch.no_grad(), capture() as recording:
            model(pixels)
        weights = [record.weights for record in recording.records]
    return _Result(100 * float((predicted == labels).double().mean()), weights)


def _share(result: _Result, blank: Bool[Tensor, "images patches"]) -> float:
    shares = [(x.mean(dim=(1, 2)) * blank).sum(dim=1).double().mean() for x in result.weights]
    return float(torch.stack(shares).mean())
