"""C2: without scaling, softmax saturates as d_k grows, and its gradient vanishes.

Vaswani et al. 2017 (arXiv 1706.03762, section 3.2.1) suspect so for large d_k. Theory: with
independent components the scores of a query are near independent normal numbers of variance d_k,
as in the random energy model (Derrida 1981); saturation is then a matter of the gap between the
two largest, and the mean norm of the softmax's Jacobian falls like f/√d_k, where f is the density
of a zero gap between standard normal numbers. So it vanishes, but slowly in the mean: most rows
lose it wholly, a few keep all of it. Beside it stands what reaches the query, ∂weights/∂query =
scale · J · K, where the keys' length √d_k works against the loss.

So "its gradient vanishes" has two readings, and both are asked for: that the softmax's own
derivative does, and that what is left for the query does. The verdict is about the softmax at d_k =
512 against scaled scores, in the mean over rows; the median row is told beside it. It cannot say
what training makes of it (C3); the trained readers here have d_k 4 to 64 and show what they end
with.

Cost: quick 90, full about 410 seconds of one core, on two busy ones.
"""

import math
import statistics
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor

from clearhead import attention
from clearhead.data import normalize
from clearhead.insight.measures import entropy
from clearhead.insight.plots import KEY, MUTED, OUTLINE, QUERY, VALUE, new_figure
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from clearhead.studies._unconverted import (
    Check,
    Comparison,
    Evidence,
    Study,
    outcomes_of,
    values_of,
)
from clearhead.studies.measures.classifiers import (
    train_small_classifier,
    training_digits,
    unseen_digits,
)
from clearhead.studies.table import Budget, Outcome, Trial, Values

HEAD_DIMS = (4, 8, 16, 32, 64, 128, 256, 512)
SCALES = {"unscaled": 0.0, "1/√d_k": -0.5, "1/d_k": -1.0}  # exponents of d_k
COLOURS = {"unscaled": KEY, "1/√d_k": QUERY, "1/d_k": VALUE}
KEYS = 16  # as many as the digit reader has
ROWS = 2_000

EMBED_DIM, DEPTH = 64, 2
TRAINED_HEAD_DIMS = {"quick": (64,), "full": (4, 16, 64)}
TRAINED_SEEDS = {"quick": 2, "full": 3}  # the first ones: these readers are described, not judged
LEARNING = ("none", "sqrt", "learned")
# The two readings of "its gradient".
GRADIENTS = {
    "jacobian": "the softmax's Jacobian",
    "query_gradient": "what reaches the query (∂weights/∂query)",
}

ALMOST_ONE_HOT = 0.9  # mean largest weight
HALVED = 1.0  # in halvings of a mean norm
STEADY = 0.05  # of the largest weight


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Drawn components, for every d_k and scale in one trial; and small readers, trained."""
    quick = budget == "quick"
    drawn = {"rows": ROWS, "keys": KEYS, "head_dims": HEAD_DIMS}
    trained = {"digits": 2_000 if quick else 3_000, "epochs": 2, "images": 200}
    return (
        *(Trial(study=STUDY.name, condition="drawn", seed=seed, settings=drawn) for seed in seeds),
        *(
            Trial(
                study=STUDY.name,
                condition="trained",
                seed=seed,
                settings={**trained, "head_dim": head_dim, "scale": scale},
            )
            for seed in seeds[: TRAINED_SEEDS[budget]]
            for head_dim in TRAINED_HEAD_DIMS[budget]
            for scale in LEARNING
        ),
    )


def run(trial: Trial) -> Values:
    """How sharp the softmax is, and how much of its gradient is left."""
    return drawn_softmax(trial) if trial.condition == "drawn" else trained_softmax(trial)


def drawn_softmax(trial: Trial) -> Values:
    """Scale → measure → one number for each d_k; "theory" has normal scores of variance d_k."""
    generator = torch.Generator().manual_seed(trial.seed)
    rows, keys = trial.settings["rows"], trial.settings["keys"]
    found: dict[str, dict[str, list[float]]] = {}
    for head_dim in trial.settings["head_dims"]:
        query = torch.randn(rows, 1, head_dim, generator=generator, dtype=torch.float64)
        key = torch.randn(rows, keys, head_dim, generator=generator, dtype=torch.float64)
        scores = attention.scores(query, key)[:, 0]
        plain = torch.randn(rows, keys, generator=generator, dtype=torch.float64)
        for scale, exponent in SCALES.items():
            factor = float(head_dim) ** exponent
            _append(found, scale, _measured(attention.scaled(scores, factor), key, factor))
            foretold = _measured(attention.scaled(plain, factor * head_dim**0.5))
            _append(found, f"theory {scale}", foretold)
    return {"head_dims": list(trial.settings["head_dims"]), "keys": keys, "measured": found}


def trained_softmax(trial: Trial) -> Values:
    """The same measures of a trained reader's heads, mean over its layers, heads and queries."""
    settings = trial.settings
    config = ViTConfig(
        embed_dim=EMBED_DIM,
        depth=DEPTH,
        num_heads=EMBED_DIM // settings["head_dim"],
        attention_scale=settings["scale"],
    )
    dataset = training_digits(settings["digits"], trial.seed)
    model = train_small_classifier(config, dataset, epochs=settings["epochs"], seed=trial.seed)
    digits = unseen_digits(settings["images"], trial.seed)
    images = normalize(digits.images, config)
    with torch.no_grad(), capture() as seen:
        answers = cast("VisionTransformer", model)(images).argmax(dim=1)
    rows = torch.stack([record.masked.double() for record in seen.records])
    accuracy = float((answers == digits.labels).double().mean())
    return {**_measured(rows.flatten(0, -2)), "accuracy": accuracy}


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


def zero_gap_density(keys: int) -> float:
    """The density at 0 of the gap between the two largest of standard normal numbers.

    n (n - 1) ∫ φ(x)² Φ(x)ⁿ⁻² dx. For large σ the mean Jacobian norm at scores σ times as large
    is this over σ: two keys share the weight, √(J's square) is 2 p (1 - p), whose integral over
    the gap is 1.
    """
    integral, _ = quad(lambda x: norm.pdf(x) ** 2 * norm.cdf(x) ** (keys - 2), -10, 10)
    return float(keys * (keys - 1) * integral)


def _measured(
    rows: Float[Tensor, "rows keys"],
    key: Float[Tensor, "rows keys head_dim"] | None = None,
    scale: float = 1.0,
) -> dict[str, float]:
    weights = attention.weights(rows)
    norms = jacobian_norm(weights)
    found = {
        "relative_entropy": float(entropy(weights).mean()) / math.log(weights.shape[-1]),
        "largest": float(weights.amax(dim=-1).mean()),
        "jacobian": float(norms.mean()),
        "jacobian_median": float(norms.median()),
    }
    if key is not None:
        reaching = query_gradient_norm(weights, key, scale)
        found["query_gradient"] = float(reaching.mean())
        found["query_gradient_median"] = float(reaching.median())
    return found


def _append(found: dict[str, dict[str, list[float]]], scale: str, new: dict[str, float]) -> None:
    for name, number in new.items():
        found.setdefault(scale, {}).setdefault(name, []).append(number)


def evidence(outcomes: Sequence[Outcome]) -> tuple[Evidence, ...]:
    """One-hot, and without gradient, at the largest d_k; scaled, as at the smallest."""
    drawn = outcomes_of(outcomes, "drawn")
    scaled = [x.values["measured"]["1/√d_k"] for x in drawn]
    unscaled = [x.values["measured"]["unscaled"] for x in drawn]
    return (
        Check(
            name=f"unscaled at d_k {HEAD_DIMS[-1]}: mean largest of {KEYS} weights",
            unit="share",
            values=tuple(x["largest"][-1] for x in unscaled),
            low=ALMOST_ONE_HOT,
        ),
        *(
            Comparison(
                name=f"{words} at d_k {HEAD_DIMS[-1]}, mean norm, scaled against unscaled",
                unit="halvings",
                first=tuple(math.log2(x[measure][-1]) for x in scaled),
                second=tuple(math.log2(x[measure][-1]) for x in unscaled),
                margin=HALVED,
            )
            for measure, words in GRADIENTS.items()
        ),
        Comparison(
            name=f"scaled: largest weight at d_k {HEAD_DIMS[-1]} against d_k {HEAD_DIMS[0]}",
            unit="share",
            first=tuple(x["largest"][-1] for x in scaled),
            second=tuple(x["largest"][0] for x in scaled),
            margin=STEADY,
            expects="equal",
        ),
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Saturation; the gradient, and what reaches the query; trained readers."""
    drawn = outcomes_of(outcomes, "drawn")
    ends = f"d_k {HEAD_DIMS[0]} to {HEAD_DIMS[-1]}"
    big, even = _curve(drawn, "unscaled", "largest"), _curve(drawn, "1/√d_k", "largest")
    left, left_median = _at_the_end(drawn, "jacobian"), _at_the_end(drawn, "jacobian_median")
    reach = _at_the_end(drawn, "query_gradient")
    reach_median = _at_the_end(drawn, "query_gradient_median")
    foretold = zero_gap_density(KEYS) / HEAD_DIMS[-1] ** 0.5
    head_dim = max(x.trial.settings["head_dim"] for x in outcomes if x.trial.condition == "trained")
    ended = {
        scale: statistics.fmean(
            values_of(outcomes, "trained", "largest", head_dim=head_dim, scale=scale)
        )
        for scale in LEARNING
    }
    return (
        f"From {ends} the largest of {KEYS} weights goes from {big[0]:.2f} to {big[-1]:.2f} "
        f"without scaling and from {even[0]:.2f} to {even[-1]:.2f} with 1/√d_k.",
        f"At d_k {HEAD_DIMS[-1]} the softmax's Jacobian has a mean norm of {left[0]:.3f} with "
        f"1/√d_k and {left[1]:.3f} without (theory for large d_k: {foretold:.3f}), in the median "
        f"row {left_median[0]:.3f} and {left_median[1]:.1e}; what reaches the query has "
        f"{reach[0]:.2f} and {reach[1]:.2f} in the mean, {reach_median[0]:.2f} and "
        f"{reach_median[1]:.3f} in the median row: without the factor few rows carry it.",
        f"Small readers trained with d_k {head_dim} end with a mean largest weight of "
        f"{ended['none']:.2f} without scaling, {ended['sqrt']:.2f} with 1/√d_k and "
        f"{ended['learned']:.2f} with a learned factor; even weights would have {1 / KEYS:.3f}.",
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Entropy, largest weight, Jacobian and what reaches the query, against d_k."""
    drawing = new_figure(11.0, 7.4)
    panels = (
        ("relative_entropy", "entropy over that of even weights"),
        ("largest", "largest weight"),
        ("jacobian", "norm of the softmax's Jacobian"),
        ("query_gradient", "norm of ∂weights/∂query"),
    )
    for axes, (measure, label) in zip(drawing.subplots(2, 2).flat, panels, strict=True):
        _draw(axes, outcomes_of(outcomes, "drawn"), measure)
        if measure != "query_gradient":
            _draw_trained(axes, outcomes, measure)
        axes.set_ylabel(f"{label} (mean over rows)", fontsize=8)
        axes.set_xscale("log", base=2)
        axes.set_xticks(HEAD_DIMS, [str(head_dim) for head_dim in HEAD_DIMS])
        axes.set_xlabel("d_k (components of a query)")
        if "relative" not in measure and measure != "largest":
            axes.set_yscale("log")
    drawing.axes[0].legend(fontsize=7)
    drawing.suptitle(f"Softmax of {KEYS} scores as d_k grows, independent components", fontsize=11)
    return drawing


def _draw(axes: Axes, drawn: Sequence[Outcome], measure: str) -> None:
    for scale, colour in COLOURS.items():
        axes.plot(HEAD_DIMS, _curve(drawn, scale, measure), "o", color=colour, label=scale)
        median = f"{measure}_median"
        if median in drawn[0].values["measured"][scale]:
            axes.plot(HEAD_DIMS, _curve(drawn, scale, median), "_", color=colour, ms=9)
        if measure in drawn[0].values["measured"][f"theory {scale}"]:
            axes.plot(HEAD_DIMS, _curve(drawn, f"theory {scale}", measure), color=MUTED, lw=1)
    if measure == "jacobian":
        density = zero_gap_density(KEYS)
        axes.plot(HEAD_DIMS, [density / d**0.5 for d in HEAD_DIMS], ":", color=KEY, lw=1)
        axes.set_ylim(bottom=1e-4)
    axes.plot([], [], color=MUTED, lw=1, label="theory: normal scores of variance d_k · scale²")
    axes.plot([], [], ":", color=KEY, lw=1, label="theory for large d_k, unscaled: f/√d_k")
    axes.plot([], [], "_", color=MUTED, ms=9, label="median row")


def _draw_trained(axes: Axes, outcomes: Sequence[Outcome], measure: str) -> None:
    markers = {"none": "v", "sqrt": "s", "learned": "*"}
    for outcome in outcomes:
        if outcome.trial.condition == "trained":
            axes.plot(
                outcome.trial.settings["head_dim"],
                outcome.values[measure],
                markers[outcome.trial.settings["scale"]],
                color=OUTLINE,
                ms=5,
                mfc="none",
            )
    for scale, marker in markers.items():
        told = {"none": "unscaled", "sqrt": "1/√d_k", "learned": "learned factor"}[scale]
        axes.plot([], [], marker, color=OUTLINE, mfc="none", label=f"trained reader, {told}")


def _at_the_end(drawn: Sequence[Outcome], measure: str) -> list[float]:
    """At the largest d_k: with 1/√d_k, and unscaled."""
    return [_curve(drawn, scale, measure)[-1] for scale in ("1/√d_k", "unscaled")]


def _curve(drawn: Sequence[Outcome], scale: str, measure: str) -> list[float]:
    """For each d_k, the mean over seeds."""
    rows = [x.values["measured"][scale][measure] for x in drawn]
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


STUDY = Study(
    name="saturation",
    claim="C2",
    statement=(
        "Without scaling, softmax saturates as d_k grows (almost one-hot), and its gradient "
        "vanishes."
    ),
    hypothesis=(
        f"At d_k {HEAD_DIMS[-1]} the largest of {KEYS} unscaled weights is {ALMOST_ONE_HOT} or "
        "more in the mean; of the gradient, both the softmax's own (its Jacobian) and what reaches "
        "the query have a mean norm of at most half that of scaled scores; and scaled the largest "
        f"weight is that of d_k {HEAD_DIMS[0]} within {STEADY}."
    ),
    conditions=(
        f"{ROWS:,} queries with {KEYS} keys each, independent standard normal components, d_k 4 "
        "to 512; beside them readers (width 64, two layers) trained on MNIST with each scale."
    ),
    measure=(
        "Entropy, largest weight, Frobenius norms of the softmax's Jacobian and of "
        "∂weights/∂query; mean of rows."
    ),
    seeds={"quick": 12, "full": 12},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=(
        "Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, section 3.2.1",
        "Derrida 1981, Random-energy model: an exactly solvable model of disordered systems, "
        "Physical Review B 24, 2613",
    ),
)
