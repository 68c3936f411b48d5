"""How good a map is: agreement with exact values, and measures without a ground truth.

Deletion, insertion and their difference (SRG) are in `curves`; ROAD's imputation, and the fall of
the score when patches are removed, are in `perturbation`.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor, nn

from clearhead.errors import ConfigError, InputError
from clearhead.insight.forward import check_finite

# Differences below this share of the numbers are rounding.
ROUNDING = 1e-9
TINY = torch.finfo(torch.float64).tiny

Maps = Float[Tensor, "images patches"]


def rank_correlations(
    one: Maps, other: Maps, *, among: Bool[Tensor, "images patches"] | None = None
) -> Float[Tensor, " images"]:
    """Spearman's correlation within each image; 0 where one of the two is constant.

    Args:
        one: A number for each patch.
        other: Another one.
        among: The patches that count; by default all.

    Raises:
        InputError: If a map has NaN among these.
    """
    return _cosine(_centred_ranks(one, among), _centred_ranks(other, among))


def partial_rank_correlations(one: Maps, other: Maps, given: Maps) -> Float[Tensor, " images"]:
    """Spearman's partial correlation within each image, given a third variable.

    (r_xy - r_xz r_yz) / sqrt((1 - r_xz²) (1 - r_yz²)), here as the correlation of residuals after
    linear regression on the ranks of `given`. 0 where one of the residuals vanishes.

    Raises:
        InputError: If a map has NaN.
    """
    control = _centred_ranks(given, None)
    return _cosine(*(_residuals(_centred_ranks(x, None), control) for x in (one, other)))


def top_agreement(one: Maps, other: Maps, k: int) -> Float[Tensor, " images"]:
    """Share of the k most important patches of one map that are among those of the other.

    Where patches are equally important, the expected share over random orders of equals.

    Raises:
        ConfigError: If k is not between 1 and the number of patches.
        InputError: If a map has NaN or infinite values.
    """
    if not 1 <= k <= one.shape[1]:
        raise ConfigError(f"k must be between 1 and {one.shape[1]}, the patches, got {k}")
    return (_top_shares(one, k) * _top_shares(other, k)).sum(1) / k


def random_subsets(
    images: int, patches: int, sizes: Sequence[int], count: int, generator: torch.Generator
) -> Bool[Tensor, "images subsets patches"]:
    """`count` random subsets of each size, for each image, size after size."""
    if not all(1 <= size < patches for size in sizes):
        raise ConfigError(f"sizes must lie in 1 … {patches - 1}, got {tuple(sizes)}")
    numbers = torch.rand(images, len(sizes) * count, patches, generator=generator)
    limits = torch.tensor(sizes).repeat_interleave(count)[:, None]
    return numbers.argsort(dim=2).argsort(dim=2) < limits


def infidelity(
    one: Maps,
    subsets: Bool[Tensor, "images subsets patches"],
    falls: Float[Tensor, "images subsets"],
    *,
    scale: bool = True,
) -> Float[Tensor, " images"]:
    """Mean squared difference between the fall and the sum of the map over the subset.

    (Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations", arXiv 1901.09392.)
    Methods have different units, so each map is first multiplied by the number, at least 0, that
    makes the difference smallest, unless `scale` is False. Less is better.

    Raises:
        InputError: If a map has NaN or infinite values.
    """
    sums = _subset_sums(one, subsets)
    factor = (sums * falls).sum(1) / sums.square().sum(1).clamp_min(TINY)
    factor = factor.clamp_min(0.0) if scale else torch.ones_like(factor)
    return (falls - factor[:, None] * sums).square().mean(1)


def sensitivity_n(
    one: Maps,
    subsets: Bool[Tensor, "images subsets patches"],
    falls: Float[Tensor, "images subsets"],
) -> Float[Tensor, " images"]:
    """Pearson's correlation of the fall with the sum of the map over subsets of one size.

    (Ancona et al. 2018, "Towards better understanding of gradient-based attribution methods",
    arXiv 1711.06104.) The mean over the sizes that occur; 0 where one of the two is constant.

    Raises:
        InputError: If a map has NaN or infinite values, or images have subsets of other sizes.
    """
    sums, sizes = _subset_sums(one, subsets), subsets.sum(2)
    if not (sizes == sizes[:1]).all():
        raise InputError("sensitivity-n needs subsets of the same sizes for each image")
    correlations = []
    for size in sizes[0].unique():
        at = sizes[0] == size
        pair = (_differences(x[:, at], x[:, at].mean(1, keepdim=True)) for x in (sums, falls))
        correlations.append(_cosine(*pair))
    return torch.stack(correlations).mean(0)


@torch.inference_mode(mode=False)
def randomised(model: nn.Module, seed: int) -> nn.Module:
    """A copy with random parameters; those that no `reset_parameters` initialises are permuted.

    For the model-parameter-randomisation test (Adebayo et al. 2018, "Sanity Checks for Saliency
    Maps", arXiv 1810.03292): a map that hardly changes does not depend on what the model learned.
    """
    copy = deepcopy(model)
    modules = [x for x in copy.modules() if callable(getattr(x, "reset_parameters", None))]
    owned = {id(x) for module in modules for x in module.parameters()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in modules[::-1]:
            module.reset_parameters()  # type: ignore[operator]
        for parameter in copy.parameters():
            if id(parameter) not in owned:
                flat = parameter.flatten()
                parameter.copy_(flat[torch.randperm(len(flat))].view_as(parameter))
    return copy


def randomisation_correlations(
    explain: Callable[[nn.Module], Maps],
    model: nn.Module,
    *,
    seeds: Sequence[int] = (0,),
    among: Bool[Tensor, "images patches"] | None = None,
) -> Float[Tensor, " images"]:
    """Mean rank correlation of a map with that of the same model with random parameters.

    Args:
        explain: Makes the maps of a model, always of the same class.
        model: The model.
        seeds: One for each model with random parameters.
        among: The patches that count; by default all.
    """
    before = explain(model)
    after = [explain(randomised(model, seed)) for seed in seeds]
    return torch.stack([rank_correlations(before, x, among=among) for x in after]).mean(0)


def _subset_sums(one: Maps, subsets: Bool[Tensor, "images subsets patches"]) -> Tensor:
    check_finite(one, "a map has NaN or infinite values")
    return torch.einsum("isp,ip->is", subsets.double(), one.double())


def _top_shares(one: Maps, k: int) -> Maps:
    """For each patch the share of orders of equals in which it is among the first k."""
    check_finite(one, "a map has NaN or infinite values")
    threshold = one.topk(k, dim=1).values[:, -1:]
    above, equal = one > threshold, one == threshold
    left = k - above.sum(1, keepdim=True)
    return above + equal * left / equal.sum(1, keepdim=True).double()


def _centred_ranks(numbers: Tensor, among: Tensor | None) -> Tensor:
    if bool((numbers if among is None else numbers[among]).isnan().any()):
        raise InputError("a map has NaN, which has no rank")
    array = numbers.detach().cpu().double().numpy()
    if among is not None:
        array = np.where(among.cpu().numpy(), array, np.nan)
    ranks = torch.from_numpy(rankdata(array, axis=1, nan_policy="omit"))
    return (ranks - ranks.nanmean(dim=1, keepdim=True)).nan_to_num(0.0)


def _residuals(ranks: Tensor, control: Tensor) -> Tensor:
    slope = (ranks * control).sum(dim=1) / control.square().sum(dim=1).clamp_min(1e-12)
    return _differences(ranks, slope[:, None] * control)


def _differences(numbers: Tensor, fitted: Tensor) -> Tensor:
    """What a fit leaves of each row; zeros where that is rounding."""
    residuals = numbers - fitted
    rounding = residuals.norm(dim=1, keepdim=True) < ROUNDING * numbers.norm(dim=1, keepdim=True)
    return residuals.masked_fill(rounding, 0.0)


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    size = first.norm(dim=1) * second.norm(dim=1)
    products = (first * second).sum(dim=1)
    return torch.where(size > 0, products / size.clamp_min(TINY), torch.zeros_like(size))
