"""How different the heads of a layer are, compared with untrained ones; what exchanging them costs.

Beside `insight`, which describes the heads of one model.
"""

import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from clearhead.data import normalize
from clearhead.insight.ablation import ablate
from clearhead.insight.foreground import Foreground
from clearhead.insight.forward import probabilities
from clearhead.insight.measures import HeadMeasures, measure_heads
from clearhead.insight.roles import (
    MAX_SHIFT,
    NO_CLEAR_ROLE,
    describe_heads,
    shift_images,
    untrained_heads,
)
from clearhead.insight.tokens import grid_of
from clearhead.models.vit import VisionTransformer
from clearhead.recording import AttentionRecord, intervene
from clearhead.studies.measures.classifiers import unseen_digits
from clearhead.studies.table import Values
from clearhead.training.batches import seed_of

UNTRAINED = 20
"""Roles at a level of 5 % need 19 untrained models; one more takes the place of the trained one"""
SHOWN = ("entropy", "distance")


def compare_with_untrained(model: VisionTransformer, images: int, seed: int) -> Values:
    """Distances between heads and roles, of this model and of untrained ones.

    Untrained models are measured as initialised (`fresh`) and with the entropy of each head
    matched to that of the trained one (`sharp`).
    """
    moved = shift_images(unseen_digits(images, seed).images, MAX_SHIFT, seed)
    foreground, pixels = Foreground.of(moved, grid_of(model)), normalize(moved, model.config)
    trained = measure_heads(model, pixels, foreground=foreground)
    seeds = [seed_of("untrained", seed, place) for place in range(UNTRAINED + 1)]
    fresh = untrained_heads(model.config, pixels, foreground=foreground, seeds=seeds)
    sharp = untrained_heads(
        model.config, pixels, foreground=foreground, seeds=seeds, match_entropy=trained
    )
    baselines = fresh[:-1], sharp[:-1]
    return {
        "apart": distance_between_heads(trained),
        "apart_fresh": statistics.fmean(map(distance_between_heads, fresh)),
        "apart_sharp": statistics.fmean(map(distance_between_heads, sharp)),
        "roles": [role.label for role in describe_heads(trained, *baselines)],
        "roles_untrained": [role.label for role in describe_heads(sharp[-1], *baselines)],
        "heads": {name: trained[name].mean.flatten().tolist() for name in SHOWN},
        "heads_untrained": {name: sharp[-1][name].mean.flatten().tolist() for name in SHOWN},
    }


def distance_between_heads(measures: HeadMeasures) -> float:
    """Jensen-Shannon distance of two heads of a layer, in hundredths, mean over all pairs."""
    heads = measures.num_heads
    pairs = torch.triu(torch.ones(heads, heads, dtype=torch.bool), diagonal=1)
    return 100 * float((1 - measures.agreement[:, pairs]).mean())


def accuracies_with_other_weights(model: VisionTransformer, unseen: int, seed: int) -> Values:
    """Accuracy in per cent with each head's own weights, another head's, and the layer's mean.

    `falls`: how much accuracy falls without each head, its output replaced by its mean.
    """
    digits = unseen_digits(unseen, seed)
    pixels = normalize(digits.images, model.config)

    def accuracy(change: Callable[[AttentionRecord], Tensor] | None) -> float:
        around = None if change is None else lambda _: intervene(change)
        labels = probabilities(model, pixels, around=around).argmax(dim=1)
        return 100 * float((labels == digits.labels).double().mean())

    ablations = ablate(model, pixels, digits.labels, "head")
    offsets = range(1, model.config.num_heads)
    return {
        "accuracy": accuracy(None),
        "exchanged": statistics.fmean(accuracy(exchange_weights(offset)) for offset in offsets),
        "shared": accuracy(share_weights),
        "falls": [100 * ablation.drop for ablation in ablations],
    }


def exchange_weights(offset: int) -> Callable[[AttentionRecord], Tensor]:
    """An intervention: head h of every layer gets the weights of head h - offset."""

    def change(record: AttentionRecord) -> Tensor:
        return record.context_from(record.applied_weights.roll(offset, dims=-3))

    return change


def share_weights(record: AttentionRecord) -> Tensor:
    """An intervention: every head of a layer gets the mean of all its heads' weights."""
    weights = record.applied_weights
    return record.context_from(weights.mean(dim=-3, keepdim=True).expand_as(weights))


def share_with_role(measure: str) -> Callable[[Values], float]:
    """Per cent of heads with a role; `measure` is "roles" or "roles_untrained"."""
    return lambda values: 100 * statistics.fmean(x != NO_CLEAR_ROLE for x in values[measure])


def distances(values: Values) -> list[float]:
    """Between heads: trained, untrained and as sharp, untrained."""
    return [values[name] for name in ("apart", "apart_sharp", "apart_fresh")]


def accuracies(values: Values) -> list[float]:
    """With own weights, those of another head, and the mean."""
    return [values[name] for name in ("accuracy", "exchanged", "shared")]


def falls(values: Values) -> list[float]:
    """Mean and largest fall of accuracy without a head."""
    return [statistics.fmean(values["falls"]), max(values["falls"])]


def sorted_falls(values: Values) -> list[float]:
    """Falls of accuracy without each head, the largest first."""
    return sorted(values["falls"], reverse=True)


def sorted_attention_distances(values: Values) -> dict[str, list[float]]:
    """Mean attention distance of each head, the smallest first: trained, untrained as sharp."""
    kinds = {"trained": "heads", "untrained, as sharp": "heads_untrained"}
    return {label: sorted(values[name]["distance"]) for label, name in kinds.items()}
