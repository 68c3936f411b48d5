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

The width is 64, so that d_k = 64/heads. Rates are the usual ones times 0.1, 0.3, 1 or 10. No rate
that serves one arm need serve the other; so each arm is also taken at the rate that is best for it,
by the highest mean over the seeds. Choosing the best of four by the very digits that are reported
flatters both arms, and alike. (In a pilot with seeds 0 and 1 both read most at 0.3 times the usual
rate, less at 0.1 and 1, and less again at 3, which is therefore left out.)

The claim says "unstable or less effective". Only the second half is judged: with a dozen trainings
an arm, two in three or more would have to be lost to be told from none, and none lost does not say
that none would be. Stability is described: counts with their exact intervals at the ten-fold rate
(where a training is lost if it reads fewer than 30 % of unseen digits, which is low accuracy and no
more), and how many of all trainings ended in a loss that is no number. In a first run of three
seeds the line was 50 % and the optimiser AdamW, where so short a training at the ten-fold rate
stayed below it with the factor and without; Muon's stays above 30 % with the factor (46 % on
training digits put aside).

Cost, one thread of a shared EPYC (Zen 4): a training of 200 steps of 50 takes 4 s (AdamW) or 5.5
s (Muon); quick about 130 s, full about 15 minutes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional as F

from clearhead.data import ImageDataset, normalize
from clearhead.errors import DivergenceError
from clearhead.insight.measures import entropy
from clearhead.insight.plots import KEY, MUTED, QUERY, new_figure
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from clearhead.studies._fit import fit
from clearhead.studies._unconverted import (
    Comparison,
    Study,
    draw_differences,
    outcomes_of,
    values_of,
)
from clearhead.studies.measures.classifiers import accuracy_on_unseen, training_digits
from clearhead.studies.measures.scores import unit_queries_and_keys
from clearhead.studies.stats import share_interval
from clearhead.studies.table import Budget, Outcome, Trial, Values
from clearhead.training import TrainingState
from clearhead.training.config import TrainConfig

WIDTH = 64
HEAD_DIMS = (8, 16, 32, 64)
SMALL, LARGE = 16, 64  # the digit reader's d_k, and the largest that a width of 64 allows
SCALES = ("sqrt", "none")
COLOURS = {"sqrt": QUERY, "none": KEY}
KEYS = 16
RATES = {"lowest": 0.1, "low": 0.3, "usual": 1.0, "high": 10.0}  # times the usual
# Learning rate, and Muon's for matrices.
USUAL = {"adamw": (3e-3, 1e-2), "muon": (1e-2, 3e-2)}
BATCH_SIZE = 50

STEPS = 200
PROBES = (5, 10, 20, 50, 100, 150, 200)  # steps after which gradients and entropy are measured
PROBE_DIGITS = 100
LOST_BELOW = 30.0  # per cent of unseen digits: three times what guessing reads

MARGIN = 1.0  # percentage points

# The conditions that decide: d_k, optimiser, rate, first weights.
DECIDING = {
    "large": (LARGE, "muon", "usual", "small"),
    "unit": (LARGE, "muon", "usual", "unit"),
    "reader": (SMALL, "muon", "usual", "small"),
    **{rate: (LARGE, "muon", rate, "unit") for rate in ("lowest", "low", "high")},
}
RATES_OF = {"lowest": "lowest", "low": "low", "usual": "unit", "high": "high"}  # conditions
Condition = tuple[int, str, str, str]


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """The conditions that decide with all seeds; the grid of unit ones, for a look, with one."""
    short = {"digits": 1_000, "unseen": 2_000, "epochs": 10}
    conditions: list[tuple[Condition, range]] = [(one, seeds) for one in DECIDING.values()]
    if budget == "full":
        conditions += [
            ((head_dim, optimizer, rate, "unit"), seeds[:1])
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
        Trial(study=STUDY.name, condition=scale, seed=seed, settings=_told(condition) | short)
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
    config = _config(trial)
    initial = unit_queries_and_keys(config) if settings["first"] == "unit" else None
    lost_at = -1
    accuracy = 0.0
    try:
        model = fit(config, dataset, model=initial, watch=probe)
        read = accuracy_on_unseen(model, unseen=settings["unseen"], seed=trial.seed)
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
            attention_scale=trial.condition,
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
    """With the factor more digits are read, also where each arm has the rate that is its best."""
    (_, scaled), (_, unscaled) = (_at_best_rate(outcomes, scale) for scale in SCALES)
    return (
        _accuracy(outcomes, "large", f"d_k {LARGE}, the ViT's small first weights"),
        _accuracy(outcomes, "unit", f"d_k {LARGE}, queries and keys of variance 1"),
        _accuracy(outcomes, "reader", f"d_k {SMALL}, as in the digit reader"),
        Comparison(
            name=f"scaled, against unscaled: d_k {LARGE}, variance 1, each at its best rate of "
            f"{len(RATES_OF)}",
            unit="percentage points",
            first=scaled,
            second=unscaled,
            margin=MARGIN,
        ),
    )


def _at_best_rate(outcomes: Sequence[Outcome], scale: str) -> tuple[str, tuple[float, ...]]:
    """The rate with the highest mean accuracy over seeds, and the accuracies at it."""
    found = {
        rate: values_of(outcomes, scale, "accuracy", **_told(DECIDING[condition]))
        for rate, condition in RATES_OF.items()
    }
    best = max(found, key=lambda rate: _mean(found[rate]))
    return best, found[best]


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
    """Accuracies, lost trainings, gradients of W_Q."""
    large, unit, reader = (
        [_mean(values_of(outcomes, scale, "accuracy", **_told(DECIDING[name]))) for scale in SCALES]
        for name in ("large", "unit", "reader")
    )
    best = [_at_best_rate(outcomes, scale) for scale in SCALES]
    scaled, unscaled = (f"{_mean(x):.1f} % ({RATES[rate]:g} times the usual)" for rate, x in best)
    return (
        f"After {STEPS} steps with d_k {LARGE} and a ViT's small first weights, readers with the "
        f"factor read {large[0]:.1f} % of unseen digits and without it {large[1]:.1f} %; with "
        f"queries and keys of variance 1 it was {unit[0]:.1f} and {unit[1]:.1f} %, and with each "
        f"arm's own best of {len(RATES_OF)} rates {scaled} and {unscaled}; with the digit reader's "
        f"d_k of {SMALL}, {reader[0]:.1f} and {reader[1]:.1f} %.",
        _stability(outcomes),
        _gradients(outcomes),
    )


def _stability(outcomes: Sequence[Outcome]) -> str:
    lost, unlost = (_lost(outcomes, scale) for scale in ("none", "sqrt"))
    no_number = sum(outcome.values["not_a_number_after"] >= 0 for outcome in outcomes)
    return (
        f"Of all {len(outcomes)} trainings {no_number} ended in a loss that is no number; at ten "
        f"times the usual rate (d_k {LARGE}, variance 1, Muon) {unlost} were lost with the factor "
        f"and {lost} without it, where lost means low accuracy (below {LOST_BELOW:g} %): too few "
        "trainings to judge stability."
    )


def _lost(outcomes: Sequence[Outcome], scale: str) -> str:
    """For people: "1 of 12 (95 % interval 0 to 38 %)"."""
    lost = values_of(outcomes, scale, "lost", **_told(DECIDING["high"]))
    count = sum(x > 0 for x in lost)
    low, high = share_interval(count, len(lost))
    return f"{count} of {len(lost)} (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"


def _gradients(outcomes: Sequence[Outcome]) -> str:
    with_it, without = (_query_gradients(outcomes, scale, "unit") for scale in SCALES)
    steps = sorted(with_it.keys() & without.keys())
    larger = sum(without[step] > with_it[step] for step in steps)
    told = " and ".join(
        f"{with_it[step]:.2g} with it and {without[step]:.2g} without after {step} steps"
        for step in (steps[0], steps[-1])
    )
    return (
        f"From variance 1 (d_k {LARGE}, mean over layers and seeds) the gradient of W_Q was larger "
        f"without the factor than with it at {larger} of {len(steps)} times of measuring, where "
        f"one that vanishes would be smaller: its norm was {told}."
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Accuracy by d_k; the differences that decide; gradients and entropy over time."""
    drawing = new_figure(13, 8)
    axes = drawing.subplots(2, 2)
    _draw_by_head_dim(axes[0][0], outcomes)
    draw_differences(axes[0][1], evidence(outcomes), "percentage points of digits")
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
                if outcome.trial.condition == scale
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


def _query_gradients(outcomes: Sequence[Outcome], scale: str, condition: str) -> dict[int, float]:
    """Step by step the norm of W_Q's gradient, mean over layers and seeds."""
    steps, norms = _over_time(outcomes, scale, condition, lambda x: [_mean(x["query_gradient"])])
    return {step: norm for step, (norm,) in zip(steps, norms, strict=True)}


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


STUDY = Study(
    name="scaling-in-training",
    claim="C3",
    statement="Without scaling, training is unstable or less effective.",
    hypothesis=(
        f"After {STEPS} steps readers without 1/√d_k read at least {MARGIN} point fewer unseen "
        f"digits: with d_k {LARGE} (small first weights; queries and keys of variance 1; and the "
        f"latter with each arm at its own best of {len(RATES_OF)} rates), and with d_k {SMALL}. "
        "Whether training is unstable is described, not judged."
    ),
    conditions=(
        f"ViTs of two layers and width {WIDTH}, Muon, the same rates with and without the factor "
        f"but where each has its best of {', '.join(f'{x:g}' for x in RATES.values())} times the "
        "usual; warm-up and clipped gradients, small and unit first weights; 1,000 digits of "
        f"MNIST, {STEPS} steps of {BATCH_SIZE}. For a look, one seed of d_k {HEAD_DIMS}, AdamW and "
        "Muon, usual and ten-fold rates."
    ),
    measure=(
        "Accuracy on 2,000 test digits drawn with the seed, in per cent; lost trainings (fewer "
        f"than {LOST_BELOW:g} % read, or no number), counted; norms of gradients of W_Q "
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
