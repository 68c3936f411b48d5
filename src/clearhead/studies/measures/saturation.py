"""How far a softmax is saturated, and how much of its gradient is left."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead import attention
from clearhead.insight.measures import entropy
from clearhead.models.vit import VisionTransformer
from clearhead.studies._panels import Curves, Points
from clearhead.studies.measures.classifiers import recorded
from clearhead.studies.measures.scores import SCALES
from clearhead.studies.table import Measure, Values

KEYS = 16  # as many as the digit classifier has
NORMS = {"jacobian": "the softmax's Jacobian", "query_gradient": "∂weights/∂query"}
AT_LARGEST: Measure = [
    ("measured", scale, name, -1)
    for scale in ("1/√d_k", "unscaled")
    for norm in NORMS
    for name in (norm, f"{norm}_median")
]
"""Mean and median norms of random scores at the largest d_k"""


def saturation_of_random_scores(
    rows: int, keys: int, head_dims: Sequence[int], seed: int
) -> Values:
    """Scale → measure → one number for each d_k; "theory" has normal scores of variance d_k."""
    generator = torch.Generator().manual_seed(seed)
    measured: dict[str, dict[str, list[float]]] = {}
    for head_dim in head_dims:
        query = torch.randn(rows, 1, head_dim, generator=generator, dtype=torch.float64)
        key = torch.randn(rows, keys, head_dim, generator=generator, dtype=torch.float64)
        scores = attention.scores(query, key)[:, 0]
        normal = torch.randn(rows, keys, generator=generator, dtype=torch.float64)
        for scale, exponent in SCALES.items():
            factor = float(head_dim) ** exponent
            found = softmax_measures(attention.scaled(scores, factor), key, factor)
            theory = softmax_measures(attention.scaled(normal, factor * head_dim**0.5))
            for name, measures in ((scale, found), (f"theory {scale}", theory)):
                for measure, number in measures.items():
                    measured.setdefault(name, {}).setdefault(measure, []).append(number)
    return {"head_dims": list(head_dims), "keys": keys, "measured": measured}


def saturation_in_model(
    model: VisionTransformer, images: Float[Tensor, "batch channels height width"]
) -> Values:
    """`softmax_measures` over all layers, heads and queries."""
    rows = torch.stack([x.masked.double() for x in recorded(model, images).records])
    return dict(softmax_measures(rows.flatten(0, -2)))


def log2_norm(scale: str, measure: str) -> Callable[[Values], float]:
    """log₂ of a mean norm at the largest d_k, of random scores."""
    return lambda values: math.log2(values["measured"][scale][measure][-1])


def curves_of(measure: str) -> Callable[[Values], dict[str, list[float]]]:
    """A measure of random scores for each d_k: with every scale, and of unscaled scores in theory.

    Of norms also the median of unscaled scores.
    """

    def curves(values: Values) -> dict[str, list[float]]:
        measured = values["measured"]
        result = {scale: measured[scale][measure] for scale in SCALES}
        median, theory = measured["unscaled"].get(f"{measure}_median"), measured["theory unscaled"]
        result |= {} if median is None else {"unscaled, median row": median}
        return result | ({"unscaled, theory": theory[measure]} if measure in theory else {})

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


PANELS: tuple[Curves | Points, ...] = (
    *(
        Curves(
            measure=curves_of(measure),
            group="measure",
            x="head_dims",
            xscale="log2",
            yscale="log",
            xlabel="d_k",
            ylabel=f"{name}, mean over rows",
        )
        for measure, name in (("largest", "largest weight"), *NORMS.items())
    ),
    Points(
        measure="largest",
        x="head_dim",
        group="scale",
        conditions=("trained",),
        xscale="log2",
        xlabel="d_k",
        ylabel="largest weight of trained classifiers",
        lines={1 / KEYS: "uniform weights"},
    ),
)
