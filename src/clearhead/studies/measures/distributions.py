"""How far rows of attention weights are from distributions; and what permuting them changes."""

from collections.abc import Callable
from itertools import product
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clearhead import attention
from clearhead.insight.forward import probabilities
from clearhead.models.config import ViTConfig
from clearhead.recording import AttentionRecord, intervene
from clearhead.studies import Summary, Trial, Values, side_by_side
from clearhead.studies.measures.classifiers import classifier_of, inputs_of, recorded

TYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
DEVIATIONS = (0.0, 1.0, 1e2, 1e4)
"""Standard deviations of the scaled scores"""
MASKS = ("none", "causal", "padding", "random", "additive")
QUERIES, KEYS, HEAD_DIM = 37, 61, 16
# A sum of n rounded terms has an error of at most about n machine epsilons (Higham 2002, 4.2).
ROUNDING = 1.0
MOVED = 0.05  # probabilities change by five points in the mean
EPSILONS = "machine epsilons per key"


def errors_of_random_rows(trial: Trial) -> Values:
    """The largest errors over all types, deviations and masks, each drawn `draws` times."""
    generator = torch.Generator().manual_seed(trial.seed)
    result: Values = {}
    by_type = dict.fromkeys(TYPES, 0.0)
    for name, deviation, mask, _ in product(
        TYPES, DEVIATIONS, MASKS, range(trial.settings["draws"])
    ):
        errors = errors_of_drawn_rows(TYPES[name], deviation, mask, generator)
        by_type[name] = max(by_type[name], errors["sum_error"])
        result = merge_errors(result, errors)
    return {**result, "sum_error_by_type": by_type}


def merge_errors(first: Values, second: Values) -> Values:
    """The larger of each error; the sum of the numbers of rows."""
    merged = {name: max(first.get(name, 0.0), number) for name, number in second.items()}
    return merged | {"rows": first.get("rows", 0.0) + second["rows"]}


def errors_of_drawn_rows(
    dtype: torch.dtype, deviation: float, mask: str, generator: torch.Generator
) -> dict[str, float]:
    """`row_errors` of attention with random queries and keys and one of the `MASKS`."""
    query = torch.randn(2, 3, QUERIES, HEAD_DIM, generator=generator) * deviation**0.5
    key = torch.randn(2, 3, KEYS, HEAD_DIM, generator=generator) * deviation**0.5
    allowed = _allowed(mask, generator)
    attn_mask = allowed
    if mask == "additive":
        zeros = torch.zeros(QUERIES, KEYS)
        attn_mask = zeros.masked_fill(~cast("Tensor", allowed), -torch.inf).to(dtype)
    stages = attention.attention_stages(query.to(dtype), key.to(dtype), key.to(dtype), attn_mask)
    whole = None if allowed is None else allowed.expand(stages.weights.shape)
    return row_errors(stages.weights, whole)


def row_errors(
    weights: Float[Tensor, "*batch queries keys"],
    allowed: Bool[Tensor, "*batch queries keys"] | None = None,
) -> dict[str, float]:
    """How far rows of weights are from distributions; rows without an allowed key must be zeros.

    `sum_error`: largest distance of a sum from 1, in machine epsilons per key; `outside`: how far a
    weight lies outside 0 … 1; `forbidden`: largest weight of a masked key; `not_numbers`: number of
    weights that are NaN or infinite; `rows`: rows with a key.
    """
    allowed = torch.ones_like(weights, dtype=torch.bool) if allowed is None else allowed
    some = allowed.any(dim=-1)
    rounding = torch.finfo(weights.dtype).eps * weights.shape[-1]
    exact = weights.double()
    distance = (exact.sum(dim=-1) - some.double()).abs() / rounding
    outside = torch.maximum(-exact, exact - 1 - rounding).clamp_min(0.0)
    return {
        "sum_error": float(distance.max()),
        "outside": float(outside.max()),
        "forbidden": float(exact.masked_fill(allowed, 0.0).abs().max()),
        "not_numbers": float((~weights.isfinite()).sum()),
        "rows": float(some.sum()),
    }


def errors_and_moves_in_model(trial: Trial) -> Values:
    """Errors of all rows; how far probabilities move when weights are permuted over the keys.

    In total variation: `moved` with the last layer's rows permuted, each by itself; `moved_all`
    with those of all layers; `moved_none` with the last layer's weights as they are, the control.
    """
    model = classifier_of(trial, ViTConfig(embed_dim=32, depth=4))
    images = inputs_of(trial, model)
    recording = recorded(model, images)
    result: Values = {}
    for record in recording.records:
        result = merge_errors(result, row_errors(record.weights))
    before, last = probabilities(model, images), len(recording) - 1
    changes = {
        "moved": (permute_weights(trial.seed), last),
        "moved_all": (permute_weights(trial.seed), None),
        "moved_none": (lambda x: x.context_from(x.weights), last),
    }
    return result | {name: moved(model, images, before, *x) for name, x in changes.items()}


def moved(
    model: nn.Module,
    images: Tensor,
    before: Tensor,
    change: Callable[[AttentionRecord], Tensor],
    layers: int | None,
) -> float:
    """Total variation of probabilities from those before, with the attention of layers changed."""
    after = probabilities(model, images, around=lambda: intervene(change, layers))
    return float((before - after).abs().sum(dim=1).mean() / 2)


def permute_weights(seed: int) -> Callable[[AttentionRecord], Tensor]:
    """An intervention that permutes the weights of every row at random over its keys."""
    generator = torch.Generator().manual_seed(seed)

    def change(record: AttentionRecord) -> Tensor:
        order = torch.rand(record.weights.shape, generator=generator).argsort(dim=-1)
        return record.context_from(record.weights.gather(-1, order))

    return change


def sum_error(values: Values) -> float:
    """The largest error of a sum; NaN, which lies within no bounds, if any weight was NaN."""
    return float("nan") if values["not_numbers"] else float(values["sum_error"])


def outside_or_forbidden(values: Values) -> float:
    """The larger of both errors."""
    return float(max(values["outside"], values["forbidden"]))


def _allowed(mask: str, generator: torch.Generator) -> Tensor | None:
    if mask == "none":
        return None
    if mask == "causal":
        return attention.causal_mask(QUERIES, KEYS)
    if mask == "padding":
        lengths = torch.randint(0, KEYS + 1, (2,), generator=generator)
        return attention.padding_mask(lengths, KEYS)
    allowed = torch.rand(QUERIES, KEYS, generator=generator) < 0.2
    allowed[0] = False  # a row with no key
    return allowed


PANELS = (
    side_by_side(
        {("sum_error_by_type", name): name for name in TYPES},
        f"error of a row's sum ({EPSILONS})",
        "type of queries and keys",
        lines={ROUNDING: "rounding"},
    ),
    side_by_side(
        {"moved_none": "not permuted", "moved": "last layer", "moved_all": "all layers"},
        "change of probabilities (total variation)",
        "weights permuted over the patches",
        lines={MOVED: "smallest that matters"},
    ),
)
SUMMARIES = (
    Summary("Rows with a key, per trial", "rows"),
    Summary(f"Largest distance of a sum from 1 ({EPSILONS})", "sum_error"),
    Summary("Change, all layers' weights permuted", "moved_all"),
)
