"""C1: with unit-variance inputs q·k has variance d_k, and 1/√d_k keeps it near 1 whatever d_k is.

Vaswani et al. 2017 (arXiv 1706.03762, footnote 4) say so of components that are independent, with
mean 0 and variance 1: q·k is then a sum of d_k terms of variance 1. Retold, the condition shrinks
to "unit variance", and the conclusion is carried over to trained models. Both readings are
measured: components drawn independently (normal, uniform, ±1), and the queries and keys of trained
readers, each component brought to mean 0 and variance 1, so that independence alone is missing. The
scores of the readers as they are, and the factor that a reader learns when it may, are described
beside them.

For trained readers the number is the departure of a head: the variance of q·k over d_k, or 1 over
that, whichever is larger. It is told for each d_k by itself, because a layer of small d_k has more
heads: all taken together, those would speak for the others.

It cannot say what large models do: the readers are small, and have d_k 4 to 64.

Cost: quick 80, full about 430 seconds of one core, on two busy ones.
"""

import statistics
from collections.abc import Sequence
from typing import cast

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from clearhead import attention
from clearhead.data import normalize
from clearhead.insight.plots import KEY, MUTED, OUTLINE, QUERY, VALUE, new_figure
from clearhead.models import load
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from clearhead.studies._unconverted import Check, Evidence, Study, outcomes_of
from clearhead.studies.measures.classifiers import (
    train_small_classifier,
    training_digits,
    unseen_digits,
)
from clearhead.studies.measures.scores import head_variances, scale_factors
from clearhead.studies.table import Budget, Outcome, Trial, Values

HEAD_DIMS = (4, 8, 16, 32, 64, 128, 256, 512)
DISTRIBUTIONS = ("normal", "uniform", "signs")
SCALES = {"unscaled": 0.0, "1/√d_k": -0.5, "1/d_k": -1.0}  # exponents of d_k

EMBED_DIM, DEPTH = 64, 2
TRAINED_HEAD_DIMS = {"quick": (4, 64), "full": (4, 16, 64)}
LEARNING = ("sqrt", "learned")

# 20,000 pairs give a variance to about 1 %; the largest of 24 such errors is below a tenth.
PAIRS = 20_000
NEAR = 0.1
# "Near 1" for a trained head is read generously: within half as much again.
NEAR_WHEN_TRAINED = 1.5


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Drawn components, the shipped reader on other digits, and small readers of several d_k."""
    quick = budget == "quick"
    drawn = {"pairs": PAIRS, "head_dims": HEAD_DIMS}
    read = {"images": 200}
    trained = {"digits": 2_000 if quick else 3_000, "epochs": 2, "images": 200}
    return tuple(
        trial
        for seed in seeds
        for trial in (
            Trial(study=STUDY.name, condition="drawn", seed=seed, settings=drawn),
            Trial(study=STUDY.name, condition="shipped", seed=seed, settings=read),
            *(
                Trial(
                    study=STUDY.name,
                    condition=f"trained {scale}",
                    seed=seed,
                    settings={**trained, "head_dim": head_dim, "scale": scale},
                )
                for scale in LEARNING
                for head_dim in TRAINED_HEAD_DIMS[budget]
            ),
        )
    )


def run(trial: Trial) -> Values:
    """The variances of one trial."""
    if trial.condition == "drawn":
        return drawn_variances(trial)
    if trial.condition == "shipped":
        return reader_variances(load(), trial)
    settings = trial.settings
    config = ViTConfig(
        embed_dim=EMBED_DIM,
        depth=DEPTH,
        num_heads=EMBED_DIM // settings["head_dim"],
        attention_scale=settings["scale"],
    )
    dataset = training_digits(settings["digits"], trial.seed)
    model = train_small_classifier(config, dataset, epochs=settings["epochs"], seed=trial.seed)
    return reader_variances(cast("VisionTransformer", model), trial)


def drawn_variances(trial: Trial) -> Values:
    """Variance of the scaled scores: distribution → scale → one number for each d_k."""
    generator = torch.Generator().manual_seed(trial.seed)
    found: dict[str, dict[str, list[float]]] = {}
    for distribution in DISTRIBUTIONS:
        found[distribution] = {scale: [] for scale in SCALES}
        for head_dim in trial.settings["head_dims"]:
            query, key = (
                drawn(distribution, (trial.settings["pairs"], 1, head_dim), generator)
                for _ in range(2)
            )
            scores = attention.scores(query, key)
            for scale, exponent in SCALES.items():
                scaled = attention.scaled(scores, float(head_dim) ** exponent)
                found[distribution][scale].append(float(scaled.double().var(correction=0)))
    return {"head_dims": list(trial.settings["head_dims"]), "variance": found}


def drawn(distribution: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Independent numbers with mean 0 and variance 1."""
    if distribution == "normal":
        return torch.randn(shape, generator=generator)
    even = torch.rand(shape, generator=generator)
    if distribution == "uniform":
        return (even - 0.5) * 12**0.5
    return (even < 0.5).float() * 2 - 1


def reader_variances(model: VisionTransformer, trial: Trial) -> Values:
    """Of every head, on unseen digits; and each head's factor over 1/√d_k."""
    digits = unseen_digits(trial.settings["images"], trial.seed)
    with torch.no_grad(), capture() as seen:
        model(normalize(digits.images, model.config))
    factors = scale_factors(model)
    head_dim = model.config.embed_dim // model.config.num_heads
    return {
        "head_dim": head_dim,
        "heads": head_variances(seen, factors),
        "relative_scale": (factors * head_dim**0.5).flatten().tolist(),
    }


def evidence(outcomes: Sequence[Outcome]) -> tuple[Evidence, ...]:
    """Independent components must follow d_k; standardised ones of trained readers as well."""
    return (
        Check(
            name="variance of q·k / √d_k, independent components: largest distance from 1",
            unit="1",
            values=tuple(_largest_miss(outcome) for outcome in outcomes_of(outcomes, "drawn")),
            high=NEAR,
        ),
        Check(
            name="departure from variance d_k, unit-variance components of trained readers: "
            "the median head of each",
            unit="times",
            values=tuple(map(_median_departure, _trained(outcomes, "sqrt"))),
            high=NEAR_WHEN_TRAINED,
        ),
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Drawn components, components of trained readers, and the scores that these really have."""
    drawn_ones = outcomes_of(outcomes, "drawn")
    miss = max(map(_largest_miss, drawn_ones))
    head_dims = drawn_ones[0].values["head_dims"]
    smallest = _mean_variances(drawn_ones, "1/d_k")[-1]
    even = _heads(_trained(outcomes, "sqrt"), "per_component")
    above = sum(x > 1 for x in even)
    shipped = outcomes_of(outcomes, "shipped")
    scaled = _heads(shipped, "scaled")
    heads = len(shipped[0].values["heads"]["scaled"])
    off = [
        abs(x / y - 1)
        for x, y in zip(_heads(shipped, "unscaled"), _heads(shipped, "if_unrelated"), strict=True)
    ]
    factors = [
        x for outcome in _trained(outcomes, "learned") for x in outcome.values["relative_scale"]
    ]
    return (
        f"Drawn independently with mean 0 and variance 1, over {len(DISTRIBUTIONS)} distributions "
        f"and d_k {head_dims[0]} to {head_dims[-1]}, q·k/√d_k has variance 1 within "
        f"{miss:.1%}; without the factor it is d_k, and with 1/d_k it falls to {smallest:.4f}.",
        f"With queries and keys of trained small readers, each component brought to mean 0 and "
        f"variance 1, q·k departs from variance d_k in the median head of each reader "
        f"{_departures_by_head_dim(outcomes)} (means over seeds; above d_k in {above} of "
        f"{len(even)} heads); independent components would give 1.",
        f"As they are, the scaled scores of the shipped reader's {heads} heads have variances from "
        f"{min(scaled):.2g} to {max(scaled):.2g} over {len(shipped)} samples of digits; the means "
        "and covariances of its queries and keys foretell them within "
        f"{statistics.median(off):.1%} in the median head ({max(off):.0%} at worst); small readers "
        "that learn the factor end at "
        f"{min(factors):.2f} to {max(factors):.2f} times 1/√d_k, which W_Q can make up for.",
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Left: variance against d_k beside theory. Right: every head of the trained readers."""
    drawing = new_figure(10.0, 4.2)
    left, right = drawing.subplots(1, 2)
    _draw_drawn(left, outcomes_of(outcomes, "drawn"))
    _draw_trained(right, outcomes)
    return drawing


def _draw_drawn(axes: Axes, drawn_ones: Sequence[Outcome]) -> None:
    head_dims = drawn_ones[0].values["head_dims"]
    for (scale, exponent), colour in zip(SCALES.items(), (KEY, QUERY, VALUE), strict=True):
        theory = [head_dim ** (1 + 2 * exponent) for head_dim in head_dims]
        axes.plot(head_dims, theory, color=MUTED, lw=1)
        measured = _mean_variances(drawn_ones, scale)
        axes.plot(head_dims, measured, "o", color=colour, label=scale)
    axes.plot([], [], color=MUTED, lw=1, label="theory: d_k, 1, 1/d_k")
    _both_logarithmic(axes, head_dims)
    axes.set_ylabel("variance of the scores")
    axes.set_title("Independent components, mean 0, variance 1", fontsize=10)
    axes.legend(fontsize=7)


def _draw_trained(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    trained = _trained(outcomes, "sqrt")
    learned = "as they are, times a learned factor"
    kinds = (
        ("per_component", 0.93, QUERY, "every component mean 0, variance 1, over d_k"),
        ("scaled", 1.07, KEY, "as they are, times 1/√d_k"),
    )
    for kind, aside, colour, label in kinds:
        for outcome in trained:
            heads = outcome.values["heads"][kind]
            place = outcome.values["head_dim"] * aside
            axes.plot([place] * len(heads), heads, ".", color=colour, ms=4, alpha=0.5, label=label)
            label = "_"
    for outcome in _trained(outcomes, "learned"):
        heads = outcome.values["heads"]["scaled"]
        places = [outcome.values["head_dim"] * 1.2] * len(heads)
        axes.plot(places, heads, ".", color=VALUE, ms=4, alpha=0.5, label=learned)
        learned = "_"
    shipped = outcomes_of(outcomes, "shipped")
    heads = _heads(shipped, "scaled")
    places = [shipped[0].values["head_dim"] * 1.4] * len(heads)
    axes.plot(places, heads, "x", color=OUTLINE, ms=4, label="shipped reader, times 1/√d_k")
    axes.axhline(1.0, color=MUTED, lw=1)
    _both_logarithmic(axes, sorted({outcome.values["head_dim"] for outcome in trained} | {16}))
    axes.set_ylabel("variance")
    axes.set_title("Heads of trained readers; line: independent unit components", fontsize=9)
    axes.legend(fontsize=7)


def _both_logarithmic(axes: Axes, head_dims: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(head_dims, [str(head_dim) for head_dim in head_dims])
    axes.set_xlabel("d_k (components of a query)")


def _trained(outcomes: Sequence[Outcome], scale: str) -> tuple[Outcome, ...]:
    """All small readers of that scale, d_k by d_k."""
    arm = f"trained {scale}"
    head_dims = sorted(
        {
            outcome.trial.settings["head_dim"]
            for outcome in outcomes
            if outcome.trial.condition == arm
        }
    )
    return tuple(x for d in head_dims for x in outcomes_of(outcomes, arm, head_dim=d))


def _largest_miss(outcome: Outcome) -> float:
    variances = outcome.values["variance"]
    return float(max(abs(x - 1) for of in variances.values() for x in of["1/√d_k"]))


def _median_departure(outcome: Outcome) -> float:
    """How many times larger or smaller than d_k the variance of q·k is, in the median head."""
    return float(statistics.median(max(x, 1 / x) for x in outcome.values["heads"]["per_component"]))


def _departures_by_head_dim(outcomes: Sequence[Outcome]) -> str:
    """For people: "2.1 times at d_k 4, 5.0 times at d_k 16"."""
    found: dict[int, list[float]] = {}
    for outcome in _trained(outcomes, "sqrt"):
        found.setdefault(outcome.values["head_dim"], []).append(_median_departure(outcome))
    return ", ".join(
        f"{statistics.fmean(x):.1f} times at d_k {head_dim}" for head_dim, x in found.items()
    )


def _mean_variances(drawn_ones: Sequence[Outcome], scale: str) -> list[float]:
    """For each d_k, over distributions and seeds."""
    rows = [of[scale] for x in drawn_ones for of in x.values["variance"].values()]
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


def _heads(outcomes: Sequence[Outcome], kind: str) -> list[float]:
    return [x for outcome in outcomes for x in outcome.values["heads"][kind]]


STUDY = Study(
    name="score-variance",
    claim="C1",
    statement=(
        "With unit-variance inputs, q·k has variance d_k; dividing by √d_k keeps it near 1 "
        "whatever d_k is."
    ),
    hypothesis=(
        f"Variance of q·k/√d_k within {NEAR:.0%} of 1 for independent components; and for the "
        "components of trained readers, once each has mean 0 and variance 1, a departure of "
        f"{NEAR_WHEN_TRAINED} times or less in the median head."
    ),
    conditions=(
        "Components drawn independently from three distributions, d_k 4 to 512; small readers "
        "(width 64, two layers) trained on MNIST with d_k 4 to 64, scaled by 1/√d_k or by a "
        "learned factor a head; the shipped reader."
    ),
    measure=(
        "Variance of the scores over pairs of a query and a key, at unscaled, 1/√d_k, 1/d_k; "
        "departure from variance d_k: how many times larger or smaller."
    ),
    seeds={"quick": 2, "full": 5},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=("Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, section 3.2.1",),
)
