"""Short trainings with and without the factor 1/√d_k, probed for gradients and entropies."""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.data import ImageDataset, normalize
from clearhead.errors import DivergenceError
from clearhead.insight.measures import entropy
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from clearhead.studies._panels import Curves
from clearhead.studies.measures.classifiers import (
    accuracy_on_unseen,
    fit_classifier,
    training_digits,
)
from clearhead.studies.measures.scores import WIDTH
from clearhead.studies.table import Trial, Values
from clearhead.training import Callback, TrainConfig, TrainingState, initial_model

RATES = {"low": 0.3, "usual": 1.0, "high": 10.0}
"""Times the usual ones"""
USUAL = {"adamw": (3e-3, 1e-2), "muon": (1e-2, 3e-2)}
"""Learning rate, and that of matrices"""
BATCH_SIZE = 50
PROBED = (5, 10, 20, 50, 100, 150, 200)
"""Steps after which gradients and entropies are measured, on `PROBE_DIGITS` training digits"""
PROBE_DIGITS = 100
PROBED_MEASURES = {"query_gradient": "norm of W_Q's gradient", "entropy": "entropy (nats)"}
LOST_BELOW = 30.0
"""Accuracy (per cent, three times chance) below which a training counts as lost"""


def train_with_scale(trial: Trial) -> Values:
    """Train with the factor ("sqrt") or without ("none", "matched"); the condition names which.

    "matched" has no factor, but initial weights of W_Q and W_K that are smaller by d_k^(-1/4), so
    that the first scores are those of "sqrt".

    Settings: `head_dim`, `optimizer`, `rate` (see `RATES`), `first` (initial weights: "small" or
    "unit"), `digits`, `epochs` and `unseen`. A loss of NaN counts as accuracy 0.
    """
    settings, factor = trial.settings, RATES[trial.settings["rate"]]
    learning_rate, matrix_learning_rate = USUAL[settings["optimizer"]]
    config = TrainConfig(
        model=ViTConfig(
            depth=2,
            embed_dim=WIDTH,
            num_heads=WIDTH // settings["head_dim"],
            attention_scale="sqrt" if trial.condition == "sqrt" else "none",
        ),
        epochs=settings["epochs"],
        batch_size=BATCH_SIZE,
        optimizer=settings["optimizer"],
        learning_rate=learning_rate * factor,
        matrix_learning_rate=matrix_learning_rate * factor,
        label_smoothing=0.0,
        seed=trial.seed,
    )
    digits = training_digits(settings["digits"], trial.seed)
    initial = initial_weights(
        config, unit=settings["first"] == "unit", matched=trial.condition == "matched"
    )
    probes, accuracy, diverged_after = Probes(digits), 0.0, -1
    try:
        model = fit_classifier(config, digits, model=initial, callback=probes)
        measured = accuracy_on_unseen(model, unseen=settings["unseen"], seed=trial.seed)
        accuracy = measured["accuracy"]
    except DivergenceError:
        diverged_after = probes.steps
    return {
        "accuracy": accuracy,
        "lost": 100.0 * (accuracy < LOST_BELOW),
        "not_a_number_after": diverged_after,
        "probes": probes.values,
    }


def initial_weights(config: TrainConfig, *, unit: bool, matched: bool) -> VisionTransformer:
    """Initial weights of a training, with other ones for queries and keys.

    With `unit`, queries and keys have variance 1, as the argument for the factor supposes (Vaswani
    et al. 2017, section 3.2.1): tokens have variance 1 after a LayerNorm, so weights of variance
    1/width do it; a ViT's usual ones, of standard deviation 0.02, give far smaller ones. With
    `matched`, W_Q and W_K are multiplied by d_k^(-1/4), and scores by 1/√d_k.
    """
    model: VisionTransformer = initial_model(config)
    generator = torch.Generator().manual_seed(config.seed)
    width = model.config.embed_dim
    with torch.no_grad():
        for block in model.blocks:
            weight: nn.Parameter = cast("Any", block).attn.qkv.weight
            if unit:
                drawn = torch.randn(2 * width, width, generator=generator) / math.sqrt(width)
                weight[: 2 * width] = drawn
            if matched:
                weight[: 2 * width] *= (width // model.config.num_heads) ** -0.25
    return model


class Probes(Callback):
    """`gradients_and_entropies` on the same training digits, after the steps `PROBED`."""

    def __init__(self, digits: ImageDataset) -> None:
        self.digits = digits
        self.steps = 0
        self.values: list[Values] = []

    def on_step(self, state: TrainingState[Any], loss: float) -> None:
        """Measure, if it is time."""
        self.steps = state.step
        if state.step in PROBED:
            model = cast("VisionTransformer", state.model)
            images = normalize(self.digits.images[:PROBE_DIGITS], model.config)
            measured = gradients_and_entropies(model, images, self.digits.labels[:PROBE_DIGITS])
            self.values.append({"step": state.step, **measured})


def gradients_and_entropies(
    model: VisionTransformer,
    images: Float[Tensor, "batch channels height width"],
    labels: Int[Tensor, " batch"],
) -> Values:
    """Norm of the loss's gradient for W_Q and W_K by layer; mean entropy (nats) by layer and head.

    The gradients of the model itself are left as they are.
    """
    weights = [cast("Any", block).attn.qkv.weight for block in model.blocks]
    with capture(gradients=False) as recording:
        loss = F.cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(loss, weights)
    width = model.config.embed_dim
    rows = [entropy(record.weights) for record in recording.records]
    return {
        "query_gradient": [float(x[:width].norm()) for x in gradients],
        "key_gradient": [float(x[width : 2 * width].norm()) for x in gradients],
        "entropy": [x.mean(dim=(0, 2)).tolist() for x in rows],
    }


def over_steps(measure: str, layer: int = 0) -> Callable[[Values], list[float]]:
    """A probed measure of a layer after each of the steps `PROBED`, mean over heads.

    `IndexError`, so no such measure, if the training was shorter or diverged.
    """

    def values_of(values: Values) -> list[float]:
        rows = [values["probes"][place][measure][layer] for place in range(len(PROBED))]
        return torch.tensor(rows).reshape(len(rows), -1).mean(dim=1).tolist()

    return values_of


def probe_curves(measure: str, ylabel: str, title: str, settings: Values) -> Curves:
    """A probed measure of the first layer over the steps."""
    return Curves(
        measure=over_steps(measure),
        settings=settings,
        x=PROBED,
        xscale="log",
        yscale="log" if "gradient" in measure else "linear",
        xlabel="steps",
        ylabel=f"{ylabel}, first layer",
        title=title,
    )
