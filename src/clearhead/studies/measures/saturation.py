"""How far a softmax is saturated, what is left of its gradient, and training without 1/√d_k."""

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead import attention
from clearhead.data import ImageDataset, normalize
from clearhead.errors import DivergenceError
from clearhead.insight.measures import entropy
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from clearhead.studies import Curves, Points, Summary, Trial, Values
from clearhead.studies.measures import classifiers
from clearhead.studies.measures.classifiers import accuracy_on_unseen, inputs_of, recorded
from clearhead.studies.measures.scores import HEAD_DIMS, SCALES, classifier_with_scale, config_with
from clearhead.training import Callback, TrainConfig, TrainingState, fit, initial_model

KEYS = 16  # as many as the digit classifier has
NORMS = {"jacobian": "the softmax's Jacobian", "query_gradient": "∂weights/∂query"}
RATES = {"low": 0.3, "usual": 1.0, "high": 10.0}
"""Times the usual ones"""
USUAL = {"adamw": (3e-3, 1e-2), "muon": (1e-2, 3e-2)}
"""Learning rate, and that of matrices"""
PROBED = (5, 10, 20, 50, 100, 150, 200)
"""Steps after which gradients and entropies are measured, on `PROBE_DIGITS` training digits"""
PROBE_DIGITS = 100
LOST_BELOW = 30.0
"""Accuracy (per cent, three times chance) below which a training run counts as lost"""


def saturation_of_random_scores(trial: Trial) -> Values:
    """Scale → measure → one number for each d_k; in theory scores are normal, of variance d_k.

    Settings: `rows` of scores of as many `keys`, and `head_dims`.
    """
    settings, generator = trial.settings, torch.Generator().manual_seed(trial.seed)
    rows, keys = settings["rows"], settings["keys"]
    measured: dict[str, dict[str, list[float]]] = {}

    def add(name: str, measures: dict[str, float]) -> None:
        for measure, number in measures.items():
            measured.setdefault(name, {}).setdefault(measure, []).append(number)

    for head_dim in settings["head_dims"]:
        query = torch.randn(rows, 1, head_dim, generator=generator, dtype=torch.float64)
        key = torch.randn(rows, keys, head_dim, generator=generator, dtype=torch.float64)
        scores = attention.scores(query, key)[:, 0]
        normal = torch.randn(rows, keys, generator=generator, dtype=torch.float64)
        for scale, exponent in SCALES.items():
            factor = float(head_dim) ** exponent
            add(scale, softmax_measures(attention.scaled(scores, factor), key, factor))
        add("theory unscaled", softmax_measures(attention.scaled(normal, head_dim**0.5)))
    return {"head_dims": list(settings["head_dims"]), "measured": measured}


def saturation_in_model(trial: Trial) -> Values:
    """The largest weight of a row, mean over all layers, heads and queries."""
    model = classifier_with_scale(trial)
    records = recorded(model, inputs_of(trial, model)).records
    rows = torch.stack([x.masked.double() for x in records])
    return {"largest": softmax_measures(rows.flatten(0, -2))["largest"]}


def log2_norm(scale: str, measure: str) -> Callable[[Values], float]:
    """log₂ of a mean norm of random scores at the largest d_k."""
    return lambda values: math.log2(values["measured"][scale][measure][-1])


def curves_of(measure: str) -> Callable[[Values], dict[str, list[float]]]:
    """A measure of random scores for each d_k, with every scale.

    Of unscaled scores also the median of norms, and the value in theory, where there are any.
    """

    def curves(values: Values) -> dict[str, list[float]]:
        measured = values["measured"]
        sources = {scale: (scale, measure) for scale in SCALES} | {
            "unscaled, median row": ("unscaled", f"{measure}_median"),
            "unscaled, theory": ("theory unscaled", measure),
        }
        return {x: measured[y][name] for x, (y, name) in sources.items() if name in measured[y]}

    return curves


def softmax_measures(
    scores: Float[Tensor, "rows keys"],
    key: Float[Tensor, "rows keys head_dim"] | None = None,
    scale: float = 1.0,
) -> dict[str, float]:
    """Entropy, largest weight and gradient norms of the rows' softmax.

    `relative_entropy` is over that of uniform weights; `largest` the largest weight; `jacobian`
    see `jacobian_norm`; `query_gradient`, with keys only, see `query_gradient_norm`. All are means
    over the rows; norms also have their median, as `jacobian_median`.
    """
    weights = attention.weights(scores)
    norms = {"jacobian": jacobian_norm(weights)}
    if key is not None:
        norms["query_gradient"] = query_gradient_norm(weights, key, scale)
    result = {
        "relative_entropy": float(entropy(weights).mean()) / math.log(weights.shape[-1]),
        "largest": float(weights.amax(dim=-1).mean()),
    }
    for name, rows in norms.items():
        result |= {name: float(rows.mean()), f"{name}_median": float(rows.median())}
    return result


def jacobian_norm(weights: Float[Tensor, "*batch keys"]) -> Float[Tensor, "*batch"]:
    """‖diag(w) - w wᵀ‖ (Frobenius): the derivative of the softmax by its scores.

    Its square is Σw² - 2 Σw³ + (Σw²)².
    """
    squares = (weights**2).sum(dim=-1)
    cubes = (weights**3).sum(dim=-1)
    return (squares - 2 * cubes + squares**2).clamp_min(0.0).sqrt()


def query_gradient_norm(
    weights: Float[Tensor, "rows keys"], key: Float[Tensor, "rows keys head_dim"], scale: float
) -> Float[Tensor, " rows"]:
    """‖scale · (diag(w) - w wᵀ) K‖: the derivative of a row of weights by its query."""
    centred = key - (weights[:, None] @ key)
    norms: Tensor = torch.linalg.vector_norm(weights[..., None] * centred, dim=(1, 2))
    return scale * norms


def train_with_scale(trial: Trial) -> Values:
    """Train with the factor ("sqrt") or without ("none", "matched"); the condition names which.

    For `first` ("small" or "unit") and "matched" see `initial_weights`. A loss of NaN counts as
    accuracy 0.
    """
    settings, optimizer = trial.settings, trial.settings["optimizer"]
    rate, matrix_rate = (RATES[settings["rate"]] * x for x in USUAL[optimizer])
    config: TrainConfig = classifiers.training_config(
        config_with(settings["head_dim"], "sqrt" if trial.condition == "sqrt" else "none"),
        (rate, matrix_rate),
        epochs=settings["epochs"],
        batch_size=50,
        optimizer=optimizer,
        seed=trial.seed,
    )
    digits = classifiers.training_digits(settings["digits"], trial.seed)
    unit, matched = settings["first"] == "unit", trial.condition == "matched"
    initial = initial_weights(config, unit=unit, matched=matched)
    probes, accuracy, diverged_after = Probes(digits), 0.0, -1
    try:
        model = fit(config, digits, model=initial, callback=probes).result
        accuracy = accuracy_on_unseen(model, trial)["accuracy"]
    except DivergenceError:
        diverged_after = probes.steps
    return {
        "accuracy": accuracy,
        "lost": 100.0 * (accuracy < LOST_BELOW),
        "not_a_number_after": diverged_after,
        "probes": probes.values,
    }


def initial_weights(config: TrainConfig, *, unit: bool, matched: bool) -> VisionTransformer:
    """Initial weights of a training run, with other ones for queries and keys.

    With `unit`, queries and keys have variance 1: tokens have it after a LayerNorm, so weights of
    variance 1/width do it. With `matched`, W_Q and W_K are multiplied by d_k^(-1/4), and so scores
    by 1/√d_k.
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
        self.digits, self.steps = digits, 0
        self.values: list[Values] = []

    def on_step(self, state: TrainingState[Any], loss: float) -> None:
        """Measure, if it is time."""
        self.steps = state.step
        if state.step in PROBED:
            model, digits = cast("VisionTransformer", state.model), self.digits
            images = normalize(digits.images[:PROBE_DIGITS], model.config)
            found = gradients_and_entropies(model, images, digits.labels[:PROBE_DIGITS])
            self.values.append({"step": state.step, **found})


def gradients_and_entropies(
    model: VisionTransformer,
    images: Float[Tensor, "batch channels height width"],
    labels: Int[Tensor, " batch"],
) -> Values:
    """Norm of the loss's gradient for W_Q by layer; mean entropy (nats) by layer and head.

    The gradients of the model itself are left as they are.
    """
    weights = [cast("Any", block).attn.qkv.weight for block in model.blocks]
    with capture(gradients=False) as recording:
        loss = F.cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(loss, weights)
    return {
        "query_gradient": [float(x[: model.config.embed_dim].norm()) for x in gradients],
        "entropy": [entropy(x.weights).mean(dim=(0, 2)).tolist() for x in recording.records],
    }


def over_steps(measure: str) -> Callable[[Values], list[float]]:
    """A probed measure of the first layer after each of the steps `PROBED`, mean over heads.

    `IndexError`, so no such measure, if the training was shorter or diverged.
    """

    def values_of(values: Values) -> list[float]:
        rows = [values["probes"][place][measure][0] for place in range(len(PROBED))]
        return torch.tensor(rows).reshape(len(rows), -1).mean(dim=1).tolist()

    return values_of


PANELS: tuple[Curves | Points, ...] = (
    *(
        Curves(
            curves_of(measure),
            f"{name}, mean over rows",
            "d_k",
            group="measure",
            x="head_dims",
            xscale="log2",
            yscale="log",
        )
        for measure, name in (("largest", "largest weight"), *NORMS.items())
    ),
    Points(
        "largest",
        "largest weight of trained classifiers",
        "d_k",
        x="head_dim",
        group="scale",
        conditions=("trained",),
        xscale="log2",
        lines={1 / KEYS: "uniform weights"},
    ),
)
SUMMARIES = (
    Summary(
        f"Norms at d_k {HEAD_DIMS[-1]}, with 1/√d_k and unscaled: the Jacobian (mean, median row), "
        "∂weights/∂query (mean, median row)",
        [
            ("measured", scale, name, -1)
            for scale in ("1/√d_k", "unscaled")
            for norm in NORMS
            for name in (norm, f"{norm}_median")
        ],
    ),
    Summary("Trained classifiers: mean largest weight", "largest", by="scale"),
)


def training_panels(rates: Values, deciding: Mapping[str, Values]) -> tuple[Curves | Points, ...]:
    """Accuracy by rate, of trials with the settings `rates`; probes over steps, with `deciding`."""
    probed = {"query_gradient": "norm of W_Q's gradient", "entropy": "entropy (nats)"}
    return (
        Points("accuracy", "accuracy on unseen digits (%)", "rate", x="rate", settings=rates),
        *(
            Curves(
                over_steps(measure),
                f"{ylabel}, first layer",
                "steps",
                x=PROBED,
                settings=settings,
                xscale="log",
                yscale="log" if measure == "query_gradient" else "linear",
                title=name,
            )
            for measure, ylabel in probed.items()
            for name, settings in deciding.items()
        ),
    )


def training_summaries(rates: Values, deciding: Mapping[str, Values]) -> tuple[Summary, ...]:
    """Accuracies with the settings `deciding`, and lost trainings with `rates`."""
    return (
        *(Summary(f"Accuracy (%), {x}", "accuracy", settings=deciding[x]) for x in deciding),
        Summary(
            "Lost trainings at ten times the usual rate, variance 1",
            lambda values: values["lost"] > 0,
            settings=rates | {"rate": "high"},
        ),
        Summary("Trainings with a loss of NaN", lambda values: values["not_a_number_after"] >= 0),
    )
