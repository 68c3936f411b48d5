"""Effects of ablating patches, and how maps of importance correlate with them."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.data import normalize
from clearhead.insight import Baseline, Grid, Part, attribute, faithfulness, grid_of
from clearhead.insight.ablation import without_part
from clearhead.insight.attribution import (
    GRADIENT,
    INK,
    RANDOM,
    RAW,
    RELEVANCE,
    ROLLOUT,
    VALUES,
)
from clearhead.insight.forward import probabilities
from clearhead.insight.metrics import partial_rank_correlations, rank_correlations
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures.classifiers import unseen_digits
from clearhead.studies.table import Values
from clearhead.training.batches import generator_for

PIXEL_GRADIENT = "pixel gradient"  # as the published trials name it
MAPS = (RAW, VALUES, RELEVANCE, ROLLOUT, PIXEL_GRADIENT, INK, RANDOM)
CURVE_STEPS = 8


def influence(model: VisionTransformer, images: int, seed: int) -> Values:
    """For every map, mean rank correlation with the effect of ablation, and a mean area.

    `beyond_ink` has partial correlations, given the ink of a patch; `area` is that under the
    insertion curve minus that under the deletion curve, halved.
    """
    digits = unseen_digits(images, seed)
    pixels = normalize(digits.images, model.config)
    grid, black = grid_of(model), Baseline.black(model.config)
    maps = {
        name: attribute(GRADIENT if name == PIXEL_GRADIENT else name, model, pixels)
        for name in MAPS
        if name != RANDOM
    }
    generator = generator_for("random map", seed)
    maps[RANDOM] = torch.rand(images, grid.num_patches, generator=generator, dtype=torch.float64)
    effects = ablation_effects(model, pixels, grid)
    curves = faithfulness(
        model, pixels, maps, grid=grid, baseline=black, num_orders=1, steps=CURVE_STEPS, seed=seed
    )
    return {
        "correlation": {
            name: float(rank_correlations(maps[name], effects).mean()) for name in MAPS
        },
        "beyond_ink": {
            name: float(partial_rank_correlations(maps[name], effects, maps[INK]).mean())
            for name in MAPS
            if name != INK
        },
        "area": {
            name: (curves.maps[name].insertion.area - curves.maps[name].deletion.area) / 2
            for name in MAPS
        },
        "effect": float(effects.mean()),
        "largest_effect": float(effects.amax(dim=1).mean()),
    }


def by_map(measure: str) -> Callable[[Values], list[float]]:
    """A measure of all maps that have it, in the order of `MAPS`."""
    return lambda values: [values[measure][name] for name in MAPS if name in values[measure]]


def ablation_effects(
    model: VisionTransformer, images: Float[Tensor, "images channels height width"], grid: Grid
) -> Float[Tensor, "images patches"]:
    """Total variation between predictions with and without each patch, from 0 to 1.

    The patch is masked in the softmax of all layers and heads; its token is still passed on. Half
    the sum of absolute changes in probability over classes, as Jain & Wallace (2019, arXiv
    1902.10186) measure leave-one-out.
    """
    before = probabilities(model, images)
    effects = []
    for patch in range(grid.num_patches):
        around = without_part(Part(patch=patch), "mask", grid=grid)
        effects.append((probabilities(model, images, around=around) - before).abs().sum(1) / 2)
    return torch.stack(effects, dim=1)
