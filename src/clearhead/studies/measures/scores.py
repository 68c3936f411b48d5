"""The variance of scores q·k: of random components, and of queries and keys of models."""

import statistics
from collections import defaultdict
from itertools import product
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead import attention
from clearhead.attention import MultiHeadAttention
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import Recording
from clearhead.studies import Curves, Points, Summary, Trial, Values
from clearhead.studies.measures.classifiers import classifier_of, inputs_of, recorded

HEAD_DIMS = (4, 8, 16, 32, 64, 128, 256, 512)
SCALES = {"unscaled": 0.0, "1/√d_k": -0.5, "1/d_k": -1.0}
"""Exponents of d_k"""
DISTRIBUTIONS = ("normal", "uniform", "signs")
WIDTH = 64
"""Of the classifiers; d_k is this over the number of heads"""
SQRT, LEARNED = "trained sqrt", "trained learned"
"""Conditions: classifiers scaled by 1/√d_k, or by a learned factor for each head"""

Vectors = Float[Tensor, "batch heads tokens head_dim"]
"""Queries or keys"""


def variances_of_random_scores(trial: Trial) -> Values:
    """Variance of the scaled scores: distribution → scale → one number for each d_k.

    Settings: `pairs` of a query and a key, and `head_dims`.
    """
    generator = torch.Generator().manual_seed(trial.seed)
    pairs, head_dims = trial.settings["pairs"], trial.settings["head_dims"]
    variance: Values = {x: {scale: [] for scale in SCALES} for x in DISTRIBUTIONS}
    for distribution, head_dim in product(DISTRIBUTIONS, head_dims):
        shape = (pairs, 1, head_dim)
        query, key = (independent_components(distribution, shape, generator) for _ in range(2))
        scores = attention.scores(query, key)
        for scale, exponent in SCALES.items():
            scaled = attention.scaled(scores, float(head_dim) ** exponent)
            variance[distribution][scale].append(float(scaled.double().var(correction=0)))
    return {"head_dims": list(head_dims), "variance": variance}


def independent_components(
    distribution: str, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Independent numbers with mean 0 and variance 1."""
    if distribution == "normal":
        return torch.randn(shape, generator=generator)
    uniform = torch.rand(shape, generator=generator)
    return (uniform - 0.5) * 12**0.5 if distribution == "uniform" else (uniform < 0.5) * 2.0 - 1


def classifier_with_scale(trial: Trial) -> VisionTransformer:
    """The model of a trial (see `classifier_of`), with d_k and scale as in its settings."""
    settings = trial.settings
    config = config_with(settings.get("head_dim", WIDTH), settings.get("scale", "sqrt"))
    return cast("VisionTransformer", classifier_of(trial, config))


def config_with(head_dim: int, scale: str) -> ViTConfig:
    """A small ViT with this dimension of a head and this factor of the scores."""
    heads = WIDTH // head_dim
    return ViTConfig(embed_dim=WIDTH, depth=2, num_heads=heads, attention_scale=scale)


def variances_in_model(trial: Trial) -> Values:
    """`head_variances` of `classifier_with_scale`, and each head's factor over 1/√d_k."""
    model = classifier_with_scale(trial)
    factors, head_dim = scale_factors(model), model.config.embed_dim // model.config.num_heads
    return {
        "head_dim": head_dim,
        "heads": head_variances(recorded(model, inputs_of(trial, model)), factors),
        "relative_scale": (factors * head_dim**0.5).flatten().tolist(),
    }


def largest_distance(values: Values) -> float:
    """Largest distance from 1 of the variances of random scores scaled by 1/√d_k."""
    rows = [scales["1/√d_k"] for scales in values["variance"].values()]
    return float(max(abs(x - 1) for row in rows for x in row))


def variance_by_scale(values: Values) -> dict[str, list[float]]:
    """Variance of random scores for each d_k, mean over distributions."""
    rows = values["variance"].values()
    return {scale: torch.tensor([x[scale] for x in rows]).mean(dim=0).tolist() for scale in SCALES}


def median_departure(values: Values) -> float:
    """Of the variance of standardised q·k from d_k, as a factor of at least 1; median head."""
    return float(statistics.median(max(x, 1 / x) for x in values["heads"]["per_component"]))


def prediction_errors_and_range(values: Values) -> list[float]:
    """Median and largest error of `if_unrelated`; smallest and largest scaled variance."""
    heads = values["heads"]
    pairs = zip(heads["unscaled"], heads["if_unrelated"], strict=True)
    errors = [abs(x / y - 1) for x, y in pairs]
    return [statistics.median(errors), max(errors), min(heads["scaled"]), max(heads["scaled"])]


def score_variance(query: Vectors, key: Vectors) -> Float[Tensor, " heads"]:
    """Over all pairs of a query and a key of one image, in float64."""
    scores = query.double() @ key.double().transpose(-2, -1)
    variances: Tensor = scores.transpose(0, 1).flatten(1).var(dim=1, correction=0)
    return variances


def variance_if_unrelated(query: Vectors, key: Vectors) -> Float[Tensor, " heads"]:
    """tr(M_q M_k) - (m_q · m_k)², M and m the second moments and means of queries and keys.

    This is the variance of q·k if q and k are independent of each other, while the components of
    each may be correlated. It is d_k only where both M are the identity and one mean is 0.
    """
    rows = [x.double().transpose(0, 1).flatten(1, 2) for x in (query, key)]
    moments, others = (x.mT @ x / x.shape[1] for x in rows)
    means, other_means = (x.mean(dim=1) for x in rows)
    total: Tensor = (moments * others).sum(dim=(-2, -1))
    return total - (means * other_means).sum(dim=-1) ** 2


def standardised(x: Vectors) -> Vectors:
    """Every component of every head with mean 0 and variance 1 over all images and tokens.

    A component that never varies stays 0.
    """
    x = x.double()
    deviation = x.std(dim=(0, 2), keepdim=True, correction=0)
    centred = x - x.mean(dim=(0, 2), keepdim=True)
    return torch.where(deviation > 0, centred / deviation, torch.zeros_like(x))


def scale_factors(model: VisionTransformer) -> Float[Tensor, "layers heads"]:
    """The factor of each head's scores: 1/√d_k, 1, or a learned number."""
    rows = []
    for layer in (x for x in model.modules() if isinstance(x, MultiHeadAttention)):
        factor = layer.head_dim**-0.5 if layer.scale is None else layer.scale
        if layer.learned_scale is not None:
            factor = layer.learned_scale.detach().flatten().double()
        rows.append(torch.ones(layer.num_heads, dtype=torch.float64) * factor)
    return torch.stack(rows)


def head_variances(recording: Recording, factors: Float[Tensor, "layers heads"]) -> Values:
    """One number for each head of each layer.

    `scaled`: variance of the scores at the input of the softmax; `unscaled`: without the factor;
    `if_unrelated`: predicted for `unscaled` from moments alone; `per_component`: with every
    component of q and k standardised, over d_k.
    """
    result: Values = defaultdict(list)
    for record, factor in zip(recording.records, factors, strict=True):
        # a learned factor is part of the recorded query
        in_query = factor / torch.as_tensor(record.scale, dtype=torch.float64)
        query, key = record.query.double() / in_query[:, None, None], record.key.double()
        unscaled = score_variance(query, key)
        standard = score_variance(standardised(query), standardised(key)) / query.shape[-1]
        result["scaled"] += (unscaled * factor**2).tolist()
        result["unscaled"] += unscaled.tolist()
        result["if_unrelated"] += variance_if_unrelated(query, key).tolist()
        result["per_component"] += standard.tolist()
    return dict(result)


PANELS = (
    Curves(
        variance_by_scale,
        "variance of the scores, independent components",
        "d_k",
        group="measure",
        x="head_dims",
        xscale="log2",
        yscale="log",
        title="theory: d_k, 1, 1/d_k",
    ),
    Points(
        ("heads", "per_component"),
        "variance of q·k / √d_k, each head",
        "d_k",
        x="head_dim",
        conditions=(SQRT,),
        xscale="log2",
        yscale="log",
        title="standardised components",
        lines={1: "independent components"},
    ),
    Points(
        ("heads", "scaled"),
        "variance of the scaled scores, each head",
        "model, by d_k",
        group="head_dim",
        yscale="log",
    ),
)
SUMMARIES = (
    Summary(
        "Departure of the median head from variance d_k, 1/√d_k (times)",
        median_departure,
        conditions=(SQRT,),
        by="head_dim",
    ),
    Summary(
        "Variance of q·k, predicted from means and covariances: median and largest error "
        "(relative); scaled scores: smallest and largest variance of a head",
        prediction_errors_and_range,
    ),
    Summary(
        "Learned factor over 1/√d_k: range",
        lambda values: [min(values["relative_scale"]), max(values["relative_scale"])],
    ),
)
