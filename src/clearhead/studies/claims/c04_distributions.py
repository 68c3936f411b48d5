"""C4: softmax rows are probability distributions, and interpretable ones.

The first half is a property of the formula: numbers of 0 or more that sum to 1. It is checked on
random tensors, with scores up to 10⁴ (and, as masks, -∞), every type of float and masks of all
kinds, and on every row of the shipped reader. One kind of row is none: where all keys are
forbidden, the weights are zeros by definition.

"Interpretable" has no agreed test. Jain and Wallace (2019, arXiv 1902.10186) ask whether other
weights would have given another answer; Wiegreffe and Pinter (2019, arXiv 1908.04626) hold that
this is too much to ask. Here the least of it is tested, on the map that is most often shown: in
the last layer every row's weights are dealt out anew to the patches, and the answer ought to move.
To pass would not make weights an explanation; whether stronger attention goes with stronger
influence is C17's matter.

Cost: quick 75, full about 400 seconds of one core, on two busy ones.
"""

import statistics
from collections.abc import Sequence
from typing import cast

import torch
from matplotlib.figure import Figure
from torch import Tensor

from clearhead import attention
from clearhead.data import normalize
from clearhead.insight.forward import probabilities
from clearhead.insight.plots import KEY, MUTED, QUERY, new_figure
from clearhead.models import load
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import AttentionRecord, capture, intervene
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

CONFIG = ViTConfig(embed_dim=32, depth=4)
TYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
SIZES = (0.0, 1.0, 1e2, 1e4)  # standard deviation of the scaled scores
MASKS = ("none", "causal", "padding", "random", "additive")
QUERIES, KEYS, HEAD_DIM = 37, 61, 16

# A sum of n rounded terms is off by at most about n machine epsilons (Higham 2002, section 4.2).
ROUNDING = 1.0
# The least that matters: answers' probabilities move by five points in the mean.
MOVES = 0.05


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Random tensors; the shipped reader; small readers, each with weights of its own."""
    quick = budget == "quick"
    images = {"images": 500}
    trained = {**images, "digits": 6_000 if quick else 9_000, "epochs": 2}
    return tuple(
        trial
        for seed in seeds
        for trial in (
            Trial(study=STUDY.name, condition="random", seed=seed, settings={"draws": 3}),
            Trial(study=STUDY.name, condition="shipped", seed=seed, settings=images),
            Trial(study=STUDY.name, condition="trained", seed=seed, settings=trained),
        )
    )


def run(trial: Trial) -> Values:
    """How far rows are from distributions; and, with a reader, what its answers owe to them."""
    if trial.condition == "random":
        return random_rows(trial)
    if trial.condition == "shipped":
        return reader_rows(load(), trial)
    settings = trial.settings
    dataset = training_digits(settings["digits"], trial.seed)
    model = train_small_classifier(CONFIG, dataset, epochs=settings["epochs"], seed=trial.seed)
    return reader_rows(cast("VisionTransformer", model), trial)


def random_rows(trial: Trial) -> Values:
    """The worst figures over all types, sizes and masks; and how many rows there were."""
    generator = torch.Generator().manual_seed(trial.seed)
    worst: dict[str, float] = {}
    for name, dtype in TYPES.items():
        for size in SIZES:
            for kind in MASKS:
                for _ in range(trial.settings["draws"]):
                    figures = _drawn_figures(dtype, size, kind, generator)
                    for figure, number in figures.items():
                        place = f"{figure} {name}" if figure == "sum_error" else figure
                        before = worst.get(place, 0.0)
                        worst[place] = before + number if figure == "rows" else max(before, number)
    errors = {name: worst.pop(f"sum_error {name}") for name in TYPES}
    return {**worst, "sum_error": max(errors.values()), "sum_error_by_type": errors}


def row_figures(weights: Tensor, allowed: Tensor | None = None) -> dict[str, float]:
    """Sum's distance from 1 in machine epsilons a key, what lies outside 0 … 1, forbidden mass.

    `allowed` says which keys a query may attend; rows without any must be zeros.
    """
    allowed = torch.ones_like(weights, dtype=torch.bool) if allowed is None else allowed
    some = allowed.any(dim=-1)
    rounding = torch.finfo(weights.dtype).eps * weights.shape[-1]
    exact = weights.double()
    off = (exact.sum(dim=-1) - some.double()).abs() / rounding
    outside = torch.maximum(-exact, exact - 1 - rounding).clamp_min(0.0)
    return {
        "sum_error": float(off.max()),
        "outside": float(outside.max()),
        "forbidden": float(exact.masked_fill(allowed, 0.0).abs().max()),
        "not_numbers": float((~weights.isfinite()).sum()),
        "rows": float(some.sum()),
    }


def _drawn_figures(
    dtype: torch.dtype, size: float, kind: str, generator: torch.Generator
) -> dict[str, float]:
    query = torch.randn(2, 3, QUERIES, HEAD_DIM, generator=generator) * size**0.5
    key = torch.randn(2, 3, KEYS, HEAD_DIM, generator=generator) * size**0.5
    allowed = _allowed(kind, generator)
    mask: Tensor | None = allowed
    if kind == "additive":
        mask = torch.zeros(QUERIES, KEYS).masked_fill(~cast("Tensor", allowed), -torch.inf)
        mask = mask.to(dtype)
    found = attention.attention_stages(query.to(dtype), key.to(dtype), key.to(dtype), mask)
    whole = None if allowed is None else allowed.expand(found.weights.shape)
    return row_figures(found.weights, whole)


def _allowed(kind: str, generator: torch.Generator) -> Tensor | None:
    if kind == "none":
        return None
    if kind == "causal":
        return attention.causal_mask(QUERIES, KEYS)
    if kind == "padding":
        lengths = torch.randint(0, KEYS + 1, (2,), generator=generator)
        return attention.padding_mask(lengths, KEYS)
    allowed = torch.rand(QUERIES, KEYS, generator=generator) < 0.2
    allowed[0] = False  # a row with no key to attend
    return allowed


def reader_rows(model: VisionTransformer, trial: Trial) -> Values:
    """Figures of all rows, and how far answers move: total variation of their probabilities.

    `moved`: rows of the last layer dealt out anew; `moved_all`: of all layers; `moved_none`: the
    same weights put back, the control.
    """
    digits = unseen_digits(trial.settings["images"], trial.seed)
    images = normalize(digits.images, model.config)
    with torch.no_grad(), capture() as seen:
        model(images)
    figures = [row_figures(record.weights) for record in seen.records]
    worst = {name: max(x[name] for x in figures) for name in figures[0] if name != "rows"}
    before = probabilities(model, images)
    last = len(seen) - 1
    moved = {
        name: _total_variation(before, _dealt(model, images, trial.seed, layers, anew))
        for name, layers, anew in (
            ("moved", last, True),
            ("moved_all", None, True),
            ("moved_none", last, False),
        )
    }
    accuracy = float((before.argmax(dim=1) == digits.labels).double().mean())
    largest = float(seen[last].weights.amax(dim=-1).mean())
    return {**worst, **moved, "rows": sum(x["rows"] for x in figures), "accuracy": accuracy} | {
        "largest_in_last_layer": largest
    }


def _dealt(
    model: VisionTransformer, images: Tensor, seed: int, layers: int | None, anew: bool
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)

    def change(record: AttentionRecord) -> Tensor:
        weights = record.weights
        order = torch.rand(weights.shape, generator=generator).argsort(dim=-1)
        return record.context_from(weights.gather(-1, order) if anew else weights)

    return probabilities(model, images, around=lambda _: intervene(change, layers))


def _total_variation(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().sum(dim=1).mean() / 2)


def evidence(outcomes: Sequence[Outcome]) -> tuple[Evidence, ...]:
    """Every row a distribution, drawn or read; and the last layer's must matter to the answer."""
    arms = ("random", "shipped", "trained")
    every = [x for arm in arms for x in outcomes_of(outcomes, arm)]
    return (
        Check(
            name="rows of weights: largest distance of a sum from 1",
            unit="machine epsilons a key",
            values=tuple(_numbers_only(x, "sum_error") for x in every),
            high=ROUNDING,
        ),
        Check(
            name="weights: farthest outside 0 … 1, or on a forbidden key",
            unit="share",
            values=tuple(max(x.values["outside"], x.values["forbidden"]) for x in every),
            low=0.0,
            high=0.0,
        ),
        Comparison(
            name="last layer's weights dealt out anew to the patches: how far answers move, "
            "against the same weights put back",
            unit="total variation",
            first=values_of(outcomes, "trained", "moved"),
            second=values_of(outcomes, "trained", "moved_none"),
            margin=MOVES,
        ),
        Check(
            name="shipped reader, last layer's weights dealt out anew: how far answers move",
            unit="total variation",
            values=values_of(outcomes, "shipped", "moved"),
            low=MOVES,
        ),
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Distributions; what of the answer hangs on them; what was not asked."""
    drawn, shipped = outcomes_of(outcomes, "random"), outcomes_of(outcomes, "shipped")
    trained = outcomes_of(outcomes, "trained")
    every = [*drawn, *shipped, *trained]
    rows = sum(x.values["rows"] for x in every)
    off = max(x.values["sum_error"] for x in every)
    last, all_layers = (_mean(trained, name) for name in ("moved", "moved_all"))
    return (
        f"All {rows:,.0f} rows with a key to attend, in {len(TYPES)} types of float and with "
        f"scores of standard deviation up to {SIZES[-1]:.0e}, lie in 0 … 1 within rounding and sum "
        f"to 1 within {off:.2f} machine epsilons a key, with nothing on forbidden keys; a row with "
        "no key at all gives zeros.",
        f"Dealing the last layer's weights out anew to the patches moves the answers' "
        f"probabilities by {last:.3f} in small readers and {_mean(shipped, 'moved'):.4f} in the "
        f"shipped one; in all layers at once, by {all_layers:.2f} and "
        f"{_mean(shipped, 'moved_all'):.2f} (1 would be an entirely other answer).",
        "That answers hang on a map is one thing that could be asked of an interpretation; "
        "whether stronger attention means stronger influence is measured under C17.",
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Left: sums of rows by type. Right: how far answers move when weights are dealt out anew."""
    drawing = new_figure(9.0, 3.8)
    left, right = drawing.subplots(1, 2)
    drawn = outcomes_of(outcomes, "random")
    for place, name in enumerate(TYPES):
        errors = [x.values["sum_error_by_type"][name] for x in drawn]
        left.plot([place] * len(errors), errors, "o", color=QUERY, ms=4, alpha=0.6)
    left.axhline(ROUNDING, color=MUTED, lw=1)
    left.text(0, ROUNDING, "what rounding explains", va="bottom", fontsize=8, color=MUTED)
    left.set_xticks(range(len(TYPES)), TYPES)
    left.set_xlabel("type of queries and keys")
    left.set_ylabel("|sum of a row - 1|, machine epsilons a key")
    left.set_title("Worst row of random tensors", fontsize=10)
    left.set_ylim(0, None)
    kinds = {"moved_none": "put back", "moved": "last layer", "moved_all": "all layers"}
    for arm, colour, aside in (("trained", KEY, -0.1), ("shipped", QUERY, 0.1)):
        for place, kind in enumerate(kinds):
            moved = values_of(outcomes, arm, kind)
            told = "_" if place else {"trained": "small readers"}.get(arm, "shipped reader")
            right.plot([place + aside] * len(moved), moved, "o", color=colour, ms=4, label=told)
    right.axhline(MOVES, color=MUTED, lw=1, ls=":")
    right.text(-0.3, MOVES, "the least that matters", va="bottom", fontsize=8, color=MUTED)
    right.set_xticks(range(len(kinds)), list(kinds.values()))
    right.set_xlabel("weights dealt out anew to the patches")
    right.set_ylabel("answers' probabilities moved by (total variation)")
    right.set_title("What of the answer hangs on the weights", fontsize=10)
    right.legend(fontsize=8)
    return drawing


def _mean(outcomes: Sequence[Outcome], name: str) -> float:
    return statistics.fmean(x.values[name] for x in outcomes)


def _numbers_only(outcome: Outcome, name: str) -> float:
    """NaN, which lies within no bounds, where a weight was none."""
    return float("nan") if outcome.values["not_numbers"] else float(outcome.values[name])


STUDY = Study(
    name="distributions",
    claim="C4",
    statement="Softmax rows are probability distributions, and interpretable ones.",
    hypothesis=(
        "Every row with a key to attend has weights in 0 … 1 that sum to 1 within rounding; and in "
        "small readers and in the shipped one other weights in the last layer would give other "
        f"answers: dealt out anew to the patches, they move the probabilities by {MOVES} or more."
    ),
    conditions=(
        "Random tensors in four types of float, scores of deviation up to 10⁴, five kinds of "
        "masks; the shipped reader (one set of weights, other digits for each seed) and small "
        "readers (width 32, four layers) trained on MNIST, on unseen digits."
    ),
    measure=(
        "Distance of a row's sum from 1 in machine epsilons a key; total variation between answers "
        "with the model's weights and with each row's weights permuted over its keys."
    ),
    seeds={"quick": 4, "full": 12},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=(
        "Jain and Wallace 2019, Attention is not Explanation, arXiv 1902.10186",
        "Wiegreffe and Pinter 2019, Attention is not not Explanation, arXiv 1908.04626",
    ),
)
