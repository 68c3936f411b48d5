"""Measures of six claims on a pretrained model, described only: one model is not a sample."""

import os.path
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.errors import InputError
from clearhead.explanation import TextModel, open_classifier
from clearhead.insight import Grid, attribute, measure_heads
from clearhead.insight.attribution import RAW, ROLLOUT
from clearhead.insight.forward import probabilities
from clearhead.insight.measures import agreement_of
from clearhead.insight.metrics import rank_correlations
from clearhead.insight.perturbation import Baseline
from clearhead.recording import AttentionRecord, capture
from clearhead.studies.measures.classifiers import recorded
from clearhead.studies.measures.distributions import moved, permute_weights, row_errors
from clearhead.studies.measures.heads import distance_between_heads, exchange_weights
from clearhead.studies.measures.layers import hub_share
from clearhead.studies.measures.saturation import softmax_measures
from clearhead.studies.measures.scores import score_variance, standardised
from clearhead.studies.table import Values


def describe_model(source: str, inputs: Sequence[str]) -> Values:
    """All measures that suit a model, as `clearhead explain` takes it, on pictures or texts."""
    if not inputs:
        raise InputError("expected pictures or texts to run the model on, got none")
    opened = open_classifier(source)
    if isinstance(opened, TextModel):
        if file := next(filter(os.path.isfile, inputs), None):
            raise InputError(f"{file} is a file, and {source} takes texts; give an image model")
        return describe_attention([opened.tokenize(text).run for text in inputs])
    pictures = [opened.preprocess(picture) for picture in inputs]
    runs = [partial(opened.model, x.inputs) for x in pictures]
    grid = opened.grid(pictures[0])
    if grid is None:
        raise InputError(f"{source}: expected a model with a grid of patches")
    images = torch.cat([x.inputs for x in pictures])
    return describe_attention(runs) | describe_classifier(opened.model, images, grid=grid)


def describe_attention(runs: Sequence[Callable[[], Any]]) -> Values:
    """Measures of the attention in some forward passes, by claim: one number for each layer.

    C1: departure of the variance of q·k from d_k for standardised components, median head; variance
    of the scaled scores. C2: largest weight, entropy over that of uniform weights. C4: largest
    distance of a row's sum from 1, in machine epsilons per key. C7: Jensen-Shannon distance between
    heads. C13: share of queries that attend most to the same key. Each of `runs` runs the model on
    one text or image; raises `InputError` if they have not the same layers of attention.
    """
    passes = []
    for run in runs:
        with torch.no_grad(), capture() as recording:
            run()
        passes.append([_layer_measures(record) for record in recording.records])
    if not passes or not passes[0] or len({len(layers) for layers in passes}) > 1:
        raise InputError("expected forward passes with the same layers of attention, got none")
    mean: dict[str, list[float]] = {}
    for layers in zip(*passes, strict=True):
        for name in layers[0]:
            mean.setdefault(name, []).append(sum(x[name] for x in layers) / len(layers))
    return mean


def describe_classifier(
    model: nn.Module,
    images: Float[Tensor, "images channels height width"],
    *,
    grid: Grid,
    seed: int = 0,
) -> Values:
    """Further measures of an image classifier.

    C4: total variation of the probabilities when the last layer's weights are permuted; C7: when
    each head gets another one's weights; C13: mean attention distance of each layer, in patches;
    C17: rank correlation of raw attention and rollout with the effect of occluding each patch.
    """
    before, last = probabilities(model, images), len(recorded(model, images)) - 1
    effects = attribute("occlusion", model, images, grid=grid, baseline=Baseline(kind="mean"))
    distances = measure_heads(model, images, grid)["distance"].mean
    return {
        "C4 change, last layer permuted": moved(model, images, before, permute_weights(seed), last),
        "C7 change, weights of other heads": moved(
            model, images, before, exchange_weights(1), None
        ),
        "C13 attention distance": distances.mean(dim=1).tolist(),
        **{
            f"C17 {name} and occlusion": float(
                rank_correlations(attribute(name, model, images, grid=grid), effects.abs()).mean()
            )
            for name in (RAW, ROLLOUT)
        },
    }


def _layer_measures(record: AttentionRecord) -> dict[str, float]:
    weights = record.weights.double()
    query, key = record.query.double(), record.key.double()
    if key.shape[1] != query.shape[1]:  # grouped queries share a key
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    ratios = score_variance(standardised(query), standardised(key)) / query.shape[-1]
    softmax = softmax_measures(record.masked.double().flatten(0, -2))
    return {
        "C1 departure from variance d_k": float(torch.maximum(ratios, 1 / ratios).median()),
        "C1 variance of scaled scores": float(record.scaled.double().var()),
        "C2 largest weight": softmax["largest"],
        "C2 relative entropy": softmax["relative_entropy"],
        "C4 error of a sum": row_errors(record.weights)["sum_error"],
        "C7 heads apart": distance_between_heads(agreement_of(weights)),
        "C13 queries on one key": hub_share(weights),
    }
