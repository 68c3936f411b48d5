"""C3: without scaling, training is unstable or less effective.

Vaswani et al. (2017, section 3.2.1) suspect that unscaled products of large d_k push the softmax
"into regions where it has extremely small gradients", having found additive attention ahead of
unscaled products for larger d_k (Britz et al. 2017, arXiv 1703.03906). The argument supposes
queries and keys of variance 1. A Vision Transformer's first weights are far smaller (deviation
0.02), so its first scores are near 0 with or without the factor; and an optimiser that normalises
its steps, as AdamW and Muon do, is little troubled by small gradients. So both first weights are
tried: those of the ViT ("small") and those of the argument ("unit"). At very large scale the
trouble is real and comes from scores that grow (Dehghani et al. 2023, "Scaling Vision
Transformers to 22 Billion Parameters", arXiv 2302.05442, whose loss diverges despite the factor).

The width is 64, so that d_k = 64/heads. "High" rates are ten times the usual ones. A training
counts as lost if its loss is no longer a number or it reads fewer than 30 % of unseen digits. In
a first run of three seeds the line was 50 % and stability was decided under AdamW, where so short
a training at the ten-fold rate stayed below it with the factor and without, which can decide
nothing; Muon's stays above 30 % with the factor (46 % on training digits put aside).

Cost, one thread of a shared EPYC (Zen 4): a training of 200 steps of 50 takes 4 s (AdamW) or 5.5
s (Muon); quick about 90 s, full about 12 minutes.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional as F

from clearhead.capture.session import capture
from clearhead.data.images import ImageDataset
from clearhead.data.pixels import normalize
from clearhead.errors import DivergenceError
from clearhead.insight.colours import KEY, MUTED, QUERY
from clearhead.insight.drawing import new_figure
from clearhead.insight.measures import entropy
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.contenders import reading
from clearhead.studies.digits import training_digits
from clearhead.studies.first_weights import unit_queries_and_keys
from clearhead.studies.fit import fit
from clearhead.studies.paired_points import draw_differences
from clearhead.studies.selection import outcomes_of, values_of
from clearhead.studies.study import Budget, Comparison, Outcome, Study, Trial, Values
from clearhead.training.config import TrainConfig
from clearhead.training.state import TrainingState

WIDTH = 64
HEAD_DIMS = (8, 16, 32, 64)
SMALL, LARGE = 16, 64  # the digit reader's d_k, and the largest that a width of 64 allows
SCALES = ("sqrt", "none")
COLOURS = {"sqrt": QUERY, "none": KEY}
KEYS = 16
RATES = {"usual": 1.0, "high": 10.0}
# Learning rate, and Muon's for matrices.
USUAL = {"adamw": (3e-3, 1e-2), "muon": (1e-2, 3e-2)}
BATCH_SIZE = 50

PROBES = (5, 10, 20, 50, 100, 150, 200)  # steps after which gradients and entropy are measured
PROBE_DIGITS = 100
LOST_BELOW = 30.0  # per cent of unseen digits: three times what guessing reads

MARGIN = 1.0  # percentage points
LOST_MARGIN = 10.0  # percentage points of all trainings: one in ten

# The conditions that decide: d_k, optimiser, rate, first weights.
DECIDING = {
    "large": (LARGE, "muon", "usual", "small"),
    "unit": (LARGE, "muon", "usual", "unit"),
    "reader": (SMALL, "muon", "usual", "small"),
    "stability": (LARGE, "muon", "high", "unit"),
}
Condition = tuple[int, str, str, str]


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """The conditions that decide with all seeds; the whole grid of unit ones with two."""
    short = {"digits": 1_000, "unseen": 2_000, "epochs": 10}
    conditions: list[tuple[Condition, range]] = [(one, seeds) for one in DECIDING.values()]
    if budget == "full":
        conditions += [
            ((head_dim, optimizer, rate, "unit"), seeds[:2])
            for head_dim in HEAD_DIMS
            for optimizer, rate in (
                ("adamw", "usual"),
                ("adamw", "high"),
                ("muon", "usual"),
                ("muon", "high"),
            )
            if (head_dim, optimizer, rate, "unit") not in DECIDING.values()
        ]
    return tuple(
        Trial(study=STUDY.name, arm=scale, seed=seed, settings=_told(condition) | short)
        for condition, its_seeds in conditions
        for seed in its_seeds
        for scale in SCALES
    )


def _told(condition: Condition) -> dict[str, Any]:
    names = ("head_dim", "optimizer", "rate", "first")
    return dict(zip(names, condition, strict=True))


def run(trial: Trial) -> Values:
    """Train with or without the factor, and watch gradients and entropy on the way."""
    settings = trial.settings
    dataset = training_digits(settings["digits"], trial.seed)
    probe = _Probe(dataset)
    first: Callable[[TrainConfig], AbstractContextManager[TrainConfig]] = (
        unit_queries_and_keys if settings["first"] == "unit" else nullcontext
    )
    lost_at = -1
    accuracy = 0.0
    with first(_config(trial)) as config:
        try:
            model = fit(config, dataset, watch=probe)
            read = reading(model, unseen=settings["unseen"], seed=trial.seed)
            accuracy = read["accuracy"]
        except DivergenceError:
            lost_at = probe.steps
    return {
        "accuracy": accuracy,
        "lost": 100.0 * (accuracy < LOST_BELOW),
        "not_a_number_after": lost_at,
        "probes": probe.seen,
    }


def _config(trial: Trial) -> TrainConfig:
    settings = trial.settings
    factor = RATES[settings["rate"]]
    learning_rate, matrix_learning_rate = USUAL[settings["optimizer"]]
    return TrainConfig(
        model=ViTConfig(
            depth=2,
            embed_dim=WIDTH,
            num_heads=WIDTH // settings["head_dim"],
            attention_scale=trial.arm,
        ),
        epochs=settings["epochs"],
        batch_size=BATCH_SIZE,
        optimizer=settings["optimizer"],
        learning_rate=learning_rate * factor,
        matrix_learning_rate=matrix_learning_rate * factor,
        label_smoothing=0.0,
        seed=trial.seed,
    )


class _Probe:
    """Measures gradients and entropies on the same training digits, at chosen steps."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.digits = dataset
        self.steps = 0
        self.seen: list[Values] = []

    def __call__(self, state: TrainingState) -> None:
        self.steps = state.step
        if state.step in PROBES:
            measured = probed(cast("VisionTransformer", state.model), self.digits)
            self.seen.append({"step": state.step, **measured})


def probed(model: VisionTransformer, dataset: ImageDataset) -> Values:
    """Norm of the loss's gradient for W_Q and W_K by layer, entropy by layer and head in nats.

    The model is left as it was found.
    """
    images = normalize(dataset.images[:PROBE_DIGITS], model.config)
    weights = [cast("Any", block).attn.qkv.weight for block in model.blocks]
    with capture(gradients=False) as seen:
        loss = F.cross_entropy(model(images), dataset.labels[:PROBE_DIGITS])
    gradients = torch.autograd.grad(loss, weights)
    width = model.config.embed_dim
    return {
        "query_gradient": [float(x[:width].norm()) for x in gradients],
        "key_gradient": [float(x[width : 2 * width].norm()) for x in gradients],
        "entropy": [entropy(record.weights).mean(dim=(0, 2)).tolist() for record in seen.records],
    }


def evidence(outcomes: Sequence[Outcome]) -> tuple[Comparison, ...]:
    """With the factor more digits are read, and fewer trainings are lost."""
    return (
        _accuracy(outcomes, "large", f"d_k {LARGE}, the ViT's small first weights"),
        _accuracy(outcomes, "unit", f"d_k {LARGE}, queries and keys of variance 1"),
        _accuracy(outcomes, "reader", f"d_k {SMALL}, as in the digit reader"),
        Comparison(
            name=f"lost without scaling, against with it: d_k {LARGE}, variance 1, ten-fold rate",
            unit="percentage points of trainings",
            first=values_of(outcomes, "none", "lost", **_told(DECIDING["stability"])),
            second=values_of(outcomes, "sqrt", "lost", **_told(DECIDING["stability"])),
            margin=LOST_MARGIN,
        ),
    )


def _accuracy(outcomes: Sequence[Outcome], condition: str, words: str) -> Comparison:
    told = _told(DECIDING[condition])
    return Comparison(
        name=f"scaled, against unscaled: {words}",
        unit="percentage points",
        first=values_of(outcomes, "sqrt", "accuracy", **told),
        second=values_of(outcomes, "none", "accuracy", **told),
        margin=MARGIN,
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Accuracies, lost trainings, first gradients."""
    large, unit, reader = (
        [_mean(values_of(outcomes, scale, "accuracy", **_told(DECIDING[name]))) for scale in SCALES]
        for name in ("large", "unit", "reader")
    )
    lost = {
        scale: values_of(outcomes, scale, "lost", **_told(DECIDING["stability"]))
        for scale in SCALES
    }
    counts = {scale: round(sum(x) / 100) for scale, x in lost.items()}
    gradients = [_early_gradient(outcomes, scale, "unit") for scale in SCALES]
    return (
        f"With d_k {LARGE} and a ViT's small first weights, readers with the factor read "
        f"{large[0]:.1f} % of unseen digits and without it {large[1]:.1f} %; with queries and keys "
        f"of variance 1 it was {unit[0]:.1f} and {unit[1]:.1f} %; with the digit reader's d_k of "
        f"{SMALL}, {reader[0]:.1f} and {reader[1]:.1f} %.",
        f"At ten times the usual rate (d_k {LARGE}, variance 1, Muon) {counts['sqrt']} of "
        f"{len(lost['sqrt'])} trainings were lost with the factor and {counts['none']} of "
        f"{len(lost['none'])} without it; so few trainings can neither show nor exclude one in ten "
        "more.",
        f"After {PROBES[0]} steps from variance 1 the gradient of W_Q (d_k {LARGE}, mean over "
        f"layers) had a norm of {gradients[0]:.2g} with the factor and {gradients[1]:.2g} without; "
        "in Muon and AdamW the length of a step does not follow that of its gradient.",
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Accuracy by d_k; the differences that decide; gradients and entropy over time."""
    drawing = new_figure(13, 8)
    axes = drawing.subplots(2, 2)
    _draw_by_head_dim(axes[0][0], outcomes)
    draw_differences(axes[0][1], evidence(outcomes)[:3], "percentage points of digits")
    _draw_gradients(axes[1][0], outcomes)
    _draw_entropies(axes[1][1], outcomes)
    drawing.suptitle("Training with 1/√d_k (blue) and without (orange)")
    return drawing


def _draw_by_head_dim(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    markers = {
        ("adamw", "usual"): "o",
        ("adamw", "high"): "^",
        ("muon", "usual"): "s",
        ("muon", "high"): "v",
    }
    for (optimizer, rate), marker in markers.items():
        for scale, shift in (("sqrt", 0.97), ("none", 1.03)):
            found = [
                outcome
                for outcome in outcomes
                if outcome.trial.arm == scale
                and outcome.trial.settings["first"] == "unit"
                and outcome.trial.settings["optimizer"] == optimizer
                and outcome.trial.settings["rate"] == rate
            ]
            axes.plot(
                [outcome.trial.settings["head_dim"] * shift for outcome in found],
                [outcome.values["accuracy"] for outcome in found],
                marker,
                color=COLOURS[scale],
                markersize=5,
                alpha=0.6,
                label=f"{optimizer}, {rate} rate" if scale == "sqrt" else None,
            )
    axes.set_xscale("log", base=2)
    axes.set_xticks(HEAD_DIMS, [str(head_dim) for head_dim in HEAD_DIMS])
    axes.set_xlabel("d_k (queries and keys of variance 1 at first)")
    axes.set_ylabel("unseen digits read rightly (%)")
    axes.legend(fontsize=7)


def _draw_gradients(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    for condition, words in (("unit", "variance 1"), ("large", "small first weights")):
        for measure, matrix in (("query_gradient", "W_Q"), ("key_gradient", "W_K")):
            line = {"unit": {"W_Q": "-", "W_K": "--"}, "large": {"W_Q": "-.", "W_K": ":"}}
            for scale, colour in COLOURS.items():
                steps, norms = _over_time(outcomes, scale, condition, _first_layer(measure))
                label = f"{matrix}, {words}" if scale == "sqrt" else None
                axes.plot(steps, norms, line[condition][matrix], color=colour, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("steps")
    axes.set_ylabel(f"norm of the gradient, first layer, d_k {LARGE}")
    axes.legend(fontsize=7)


def _draw_entropies(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    for condition, line, words in (
        ("unit", "-", f"d_k {LARGE}, variance 1"),
        ("large", "-.", f"d_k {LARGE}, small first weights"),
        ("reader", ":", f"d_k {SMALL}, small first weights, each head"),
    ):
        for scale, colour in COLOURS.items():
            steps, nats = _over_time(outcomes, scale, condition, lambda x: x["entropy"][0])
            lines = axes.plot(steps, nats, line, color=colour, linewidth=1.2)
            if scale == "sqrt":
                lines[0].set_label(words)
    axes.axhline(math.log(KEYS), color=MUTED, linewidth=0.8)
    axes.set_xlabel("steps (the upper line: even weights)")
    axes.set_ylabel("entropy of a query's weights, first layer (nats)")
    axes.legend(fontsize=7)


def _first_layer(measure: str) -> Callable[[Values], list[float]]:
    return lambda probe: list(probe[measure][:1])


def _over_time(
    outcomes: Sequence[Outcome],
    scale: str,
    condition: str,
    measured: Callable[[Values], list[float]],
) -> tuple[list[int], list[list[float]]]:
    """The steps at which a condition was probed, and the means over seeds then."""
    found: dict[int, list[list[float]]] = {}
    for outcome in outcomes_of(outcomes, scale, **_told(DECIDING[condition])):
        for probe in outcome.values["probes"]:
            found.setdefault(probe["step"], []).append(measured(probe))
    means = [[_mean(x) for x in zip(*rows, strict=True)] for rows in found.values()]
    return list(found), means


def _early_gradient(outcomes: Sequence[Outcome], scale: str, condition: str) -> float:
    found = outcomes_of(outcomes, scale, **_told(DECIDING[condition]))
    return _mean(
        [
            _mean(x["query_gradient"])
            for y in found
            for x in y.values["probes"]
            if x["step"] == PROBES[0]
        ]
    )


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


STUDY = Study(
    name="scaling-in-training",
    claim="C3",
    statement="Without scaling, training is unstable or less effective.",
    hypothesis=(
        f"Readers trained without 1/√d_k read at least {MARGIN} point fewer unseen digits, with "
        f"d_k {LARGE} (small first weights, and queries and keys of variance 1) and with d_k "
        f"{SMALL}; at ten times the usual rate, at least one training in ten more is lost."
    ),
    conditions=(
        f"ViTs of two layers and width {WIDTH}, d_k {HEAD_DIMS}, AdamW and Muon, usual and "
        "ten-fold rates (the same with and without the factor), warm-up and clipped gradients, "
        "small and unit first weights; 1,000 digits of MNIST, 200 steps of 50."
    ),
    measure=(
        "Accuracy on 2,000 test digits drawn with the seed, in per cent; lost trainings (fewer "
        f"than {LOST_BELOW:g} % read, or no number) in per cent; norms of gradients of W_Q "
        "and W_K, and entropy by head, over time."
    ),
    seeds={"quick": 2, "full": 12},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=(
        "Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, section 3.2.1",
        "Britz et al. 2017, Massive Exploration of Neural Machine Translation Architectures, "
        "arXiv 1703.03906",
        "Dehghani et al. 2023, Scaling Vision Transformers to 22 Billion Parameters, "
        "arXiv 2302.05442",
    ),
)
