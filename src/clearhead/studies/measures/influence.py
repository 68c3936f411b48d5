"""Effects of ablating patches, and how maps of importance correlate with them."""

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import avg_pool2d

from clearhead.data import normalize
from clearhead.inference import evaluation_mode
from clearhead.insight import Baseline, Grid, Part, faithfulness, grid_of, standard_maps
from clearhead.insight.ablation import without_part
from clearhead.insight.forward import probabilities
from clearhead.insight.importance import RAW, RELEVANCE, ROLLOUT, VALUES
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures.classifiers import unseen_digits
from clearhead.studies.table import Values
from clearhead.training.batches import generator_for

RANDOM, INK, GRADIENT = "random", "ink", "pixel gradient"
MAPS = (RAW, VALUES, RELEVANCE, ROLLOUT, GRADIENT, INK, RANDOM)
CURVE_STEPS = 8

# Residuals of ranks below this share of the ranks are rounding.
ROUNDING = 1e-9


def influence(model: VisionTransformer, images: int, seed: int) -> Values:
    """For every map, mean rank correlation with the effect of ablation, and a mean area.

    `beyond_ink` has partial correlations, given the ink of a patch; `area` is that under the
    insertion curve minus that under the deletion curve, halved.
    """
    digits = unseen_digits(images, seed)
    pixels = normalize(digits.images, model.config)
    grid, black = grid_of(model), Baseline.black(model.config)
    projection = cast("Any", model.blocks[-1]).attn.proj
    maps: dict[str, Tensor] = dict(standard_maps(model, pixels, grid, projection=projection))
    maps[GRADIENT] = pixel_gradients(model, pixels, grid)
    maps[INK] = ink = black.difference(pixels, grid)
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
            name: float(partial_rank_correlations(maps[name], effects, ink).mean())
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


def rank_correlations(
    one: Float[Tensor, "images patches"], other: Float[Tensor, "images patches"]
) -> Float[Tensor, " images"]:
    """Spearman's correlation within each image; 0 where one of the two is constant."""
    return _cosine(_centred_ranks(one), _centred_ranks(other))


def partial_rank_correlations(
    one: Float[Tensor, "images patches"],
    other: Float[Tensor, "images patches"],
    given: Float[Tensor, "images patches"],
) -> Float[Tensor, " images"]:
    """Spearman's partial correlation within each image, given a third variable.

    (r_xy - r_xz r_yz) / sqrt((1 - r_xz²) (1 - r_yz²)), here as the correlation of residuals after
    linear regression on the ranks of `given`. 0 where one of the residuals vanishes.
    """
    control = _centred_ranks(given)
    return _cosine(*(_residuals(_centred_ranks(x), control) for x in (one, other)))


def _centred_ranks(numbers: Tensor) -> Tensor:
    ranks = torch.from_numpy(rankdata(numbers.detach().cpu().double().numpy(), axis=1))
    return ranks - ranks.mean(dim=1, keepdim=True)


def _residuals(ranks: Tensor, control: Tensor) -> Tensor:
    slope = (ranks * control).sum(dim=1) / control.square().sum(dim=1).clamp_min(1e-12)
    residuals = ranks - slope[:, None] * control
    rounding = residuals.norm(dim=1, keepdim=True) < ROUNDING * ranks.norm(dim=1, keepdim=True)
    return residuals.masked_fill(rounding, 0.0)


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    size = first.norm(dim=1) * second.norm(dim=1)
    products = (first * second).sum(dim=1)
    return torch.where(size > 0, products / size.clamp_min(1e-12), torch.zeros_like(size))


def pixel_gradients(
    model: VisionTransformer, images: Float[Tensor, "images channels height width"], grid: Grid
) -> Float[Tensor, "images patches"]:
    """Mean of |∂y/∂pixel| over a patch's pixels, where y is the logit of the predicted class.

    Simonyan et al. (2014, "Deep Inside Convolutional Networks", arXiv 1312.6034), who take the
    largest over channels. A map without attention.
    """
    pixels = images.clone().requires_grad_()
    with evaluation_mode(model), torch.enable_grad():
        logits = model(pixels).amax(dim=1).sum()
        (gradient,) = torch.autograd.grad(logits, pixels)
    cells: Tensor = avg_pool2d(gradient.abs().amax(dim=1, keepdim=True), grid.patch_shape(images))
    return cells.flatten(1).double()
