"""C13: higher layers combine global clues: attention or information spreads with depth.

Three readings of "spreads" are kept apart. Attention: the mean distance from a patch to those it
asks, by layer (Raghu et al. 2021, arXiv 2108.08810, find it grow in large ViTs). Pixels: the share
of the picture that moves a patch's token in effect (Luo et al. 2016, arXiv 1701.04128). Clues: how
often the model's own norm and head, applied to a single patch's token after a layer, name the
digit: a patch alone cannot, so what it knows more it got from others. The same lens on the mean of
all tokens (as in the logit lens, nostalgebraist 2020) is drawn beside it.

The lens favours the last layer, for which the head was trained: that it tells more with depth is
close to certain before anything is measured, whether or not information spreads, and a layer may
know more than it shows. The lens says least of the three. Receptive fields take all ways from a
pixel to a token, the residual one to the patch's own pixels included. That fields are flat from
the third layer on, seen in a first full run, is told since; what decides was left as it was. It
cannot say what deeper and larger models do.

Cost: quick 60, full about 620 seconds of one core, on two busy ones.
"""

import statistics
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from clearhead.data import normalize
from clearhead.insight.measures import measure_heads
from clearhead.insight.plots import KEY, MUTED, QUERY, VALUE, new_figure
from clearhead.models import load
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies._unconverted import Comparison, Evidence, Study, outcomes_of
from clearhead.studies.measures.classifiers import (
    train_small_classifier,
    training_digits,
    unseen_digits,
)
from clearhead.studies.measures.receptive_field import layer_fields, layer_tokens, seen_share
from clearhead.studies.table import Budget, Outcome, Trial, Values

CONFIG = ViTConfig(embed_dim=32, depth=6)
HALF = CONFIG.depth // 2
FLAT_FROM = 3  # the layer from which fields hardly grew in a first run, and are told apart
ARMS = {"trained": QUERY, "untrained": MUTED, "shipped": KEY}

FARTHER = 0.1  # patches
WIDER = 0.05  # of the picture
KNOWS_MORE = 0.05  # of accuracy


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Small readers, each with its own weights; fresh ones; the shipped one on other digits."""
    quick = budget == "quick"
    images = {"images": 50, "unseen": 1_000}
    training = {"digits": 5_000 if quick else 9_000, "epochs": 2 if quick else 3}
    return tuple(
        trial
        for seed in seeds
        for trial in (
            Trial(
                study=STUDY.name, condition="trained", seed=seed, settings={**images, **training}
            ),
            Trial(study=STUDY.name, condition="untrained", seed=seed, settings=images),
            Trial(study=STUDY.name, condition="shipped", seed=seed, settings=images),
        )
    )


def run(trial: Trial) -> Values:
    """All three measures, layer by layer."""
    model = _model(trial)
    unseen = unseen_digits(trial.settings["unseen"], trial.seed)
    images = normalize(unseen.images, model.config)
    some = images[: trial.settings["images"]]
    fields = layer_fields(model, some, torch.Generator().manual_seed(trial.seed))
    single, pooled = lens_accuracies(model, images, unseen.labels)
    return {
        "distance": measure_heads(model, some)["distance"].mean.mean(dim=1).tolist(),
        "seen": [seen_share(field) for field in fields],
        "single": single,
        "pooled": pooled,
    }


def lens_accuracies(
    model: VisionTransformer,
    images: Float[Tensor, "batch channels height width"],
    labels: Int[Tensor, " batch"],
) -> tuple[list[float], list[float]]:
    """After each layer: the head on one patch's token (mean over patches), and on their pool."""
    single, pooled = [], []
    with torch.no_grad():
        for tokens in layer_tokens(model, images):
            normed = model.norm(tokens)
            patches = model.head(normed[:, model.num_prefix_tokens :]).argmax(dim=-1)
            single.append(float((patches == labels[:, None]).double().mean()))
            whole = model.head(model.pooled(normed)).argmax(dim=-1)
            pooled.append(float((whole == labels).double().mean()))
    return single, pooled


def _model(trial: Trial) -> VisionTransformer:
    if trial.condition == "shipped":
        return load()
    if trial.condition == "untrained":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trial.seed)
            return VisionTransformer(CONFIG).eval()
    dataset = training_digits(trial.settings["digits"], trial.seed)
    model = train_small_classifier(
        CONFIG, dataset, epochs=trial.settings["epochs"], seed=trial.seed
    )
    return cast("VisionTransformer", model)


def evidence(outcomes: Sequence[Outcome]) -> tuple[Evidence, ...]:
    """Of trained small readers, the mean of the upper three layers against the lower three."""
    return tuple(
        Comparison(
            name=f"{told}, upper three layers against lower three",
            unit=unit,
            first=_halves(outcomes, measure, upper=True),
            second=_halves(outcomes, measure, upper=False),
            margin=margin,
        )
        for measure, told, unit, margin in (
            ("distance", "mean attention distance", "patches", FARTHER),
            ("seen", "effective receptive field of a patch's token", "share", WIDER),
            ("single", "digits named from one patch's token", "share", KNOWS_MORE),
        )
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Attention; pixels; clues."""
    trained = {name: _means(outcomes, "trained", name) for name in ("distance", "seen", "single")}
    shipped = {name: _means(outcomes, "shipped", name) for name in ("distance", "seen", "single")}
    pooled = _means(outcomes, "shipped", "pooled")
    return (
        f"From layer to layer attention reaches {_numbers(trained['distance'])} patches in small "
        f"readers and {_numbers(shipped['distance'])} in the shipped one.",
        f"What moves a patch's token in effect is {_shares(trained['seen'])} of the picture in "
        f"small readers and {_shares(shipped['seen'])} in the shipped one, its own pixels by the "
        f"residual path included; from layer 1 to layer {FLAT_FROM} it changes by "
        f"{_points(trained['seen'][0], trained['seen'][FLAT_FROM - 1])} points in small readers, "
        f"from there to layer {CONFIG.depth} by "
        f"{_points(trained['seen'][FLAT_FROM - 1], trained['seen'][-1])}.",
        f"Through the head, which was trained for the last layer, so that more with depth was to "
        f"be expected, one patch's token names {_shares(trained['single'])} of the digits in "
        f"small readers and {_shares(shipped['single'])} in the shipped one, from all tokens of "
        f"the latter {_shares(pooled)}.",
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Distance, effective field and lens, layer by layer."""
    drawing = new_figure(12.0, 4.0)
    panels = (
        ("distance", "mean attention distance (patches)", 1.0),
        ("seen", "picture that moves a token in effect (%)", 100.0),
        ("single", "digits named through the head (%)", 100.0),
    )
    for axes, (measure, label, unit) in zip(drawing.subplots(1, 3), panels, strict=True):
        for arm, colour in ARMS.items():
            for outcome in outcomes_of(outcomes, arm):
                rows = [unit * x for x in outcome.values[measure]]
                axes.plot(range(1, len(rows) + 1), rows, ".", color=colour, ms=3)
            means = [unit * x for x in _means(outcomes, arm, measure)]
            told = {"trained": "small readers", "shipped": "shipped reader"}.get(arm, arm)
            axes.plot(range(1, len(means) + 1), means, color=colour, label=told)
        axes.set_xlabel("layer")
        axes.set_ylabel(label)
        axes.set_ylim(0, None)
    axes.set_title("From one patch's token (dashed: from all)", fontsize=10)
    for arm in ("trained", "shipped"):
        means = [100 * x for x in _means(outcomes, arm, "pooled")]
        axes.plot(range(1, len(means) + 1), means, "--", color=ARMS[arm], lw=1)
    axes.axhline(10, color=VALUE, lw=1, ls=":", label="guessing")
    axes.legend(fontsize=8)
    return drawing


def _halves(outcomes: Sequence[Outcome], measure: str, *, upper: bool) -> tuple[float, ...]:
    part = slice(HALF, None) if upper else slice(HALF)
    return tuple(
        statistics.fmean(outcome.values[measure][part])
        for outcome in outcomes_of(outcomes, "trained")
    )


def _means(outcomes: Sequence[Outcome], arm: str, measure: str) -> list[float]:
    """For each layer, over seeds."""
    rows = [outcome.values[measure] for outcome in outcomes_of(outcomes, arm)]
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


def _numbers(numbers: Sequence[float]) -> str:
    return ", ".join(f"{x:.2f}" for x in numbers)


def _points(first: float, last: float) -> str:
    return f"{round(100 * (last - first)) + 0:+d}"


def _shares(numbers: Sequence[float]) -> str:
    return ", ".join(f"{x:.0%}" for x in numbers)


STUDY = Study(
    name="depth",
    claim="C13",
    statement="Higher layers combine global clues: attention or information spreads with depth.",
    hypothesis=(
        "In the upper three of six layers attention reaches farther (by "
        f"{FARTHER} patches or more), more of the picture moves a patch's token (by {WIDER:.0%}), "
        f"and a single patch's token tells more digits (by {KNOWS_MORE:.0%}; through the last "
        "layer's head, so that this is close to certain beforehand) than in the lower three."
    ),
    conditions=(
        "Readers (width 32, six layers) trained on MNIST, one a seed; fresh ones and the shipped "
        "reader beside them; unseen digits."
    ),
    measure=(
        "By layer: mean distance of attention in patches; share of pixels with 4.55 % of the "
        "largest gradient or more, the residual path included; accuracy of the model's head on "
        "single tokens."
    ),
    seeds={"quick": 3, "full": 12},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=(
        "Raghu et al. 2021, Do Vision Transformers See Like Convolutional Neural Networks?, "
        "arXiv 2108.08810",
        "Luo et al. 2016, Understanding the Effective Receptive Field, arXiv 1701.04128",
    ),
)
