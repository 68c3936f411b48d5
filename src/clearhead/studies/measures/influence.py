"""What an answer becomes when nobody may look at a patch."""

import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import avg_pool2d

from clearhead.inference import evaluation_mode
from clearhead.insight.ablation import Part, without_part
from clearhead.insight.forward import probabilities
from clearhead.insight.tokens import Grid
from clearhead.models.vit import VisionTransformer

# Of what is left of ranks: less than this share of them is nothing but rounding.
ROUNDING = 1e-9


def silencing_effects(
    model: VisionTransformer, images: Float[Tensor, "batch channels height width"], grid: Grid
) -> Float[Tensor, "batch patches"]:
    """Total variation between the answers with and without each patch, from 0 to 1.

    In every layer and head the softmax never sees the patch; its token still goes on by itself.
    Half the sum of the changes in probability over classes, as Jain & Wallace (2019, arXiv
    1902.10186) measure leaving one out: how far the answer moves, whichever way.
    """
    before = probabilities(model, images)
    effects = []
    for patch in range(grid.num_patches):
        around = without_part(Part(patch=patch), "mask", grid=grid)
        effects.append((probabilities(model, images, around=around) - before).abs().sum(1) / 2)
    return torch.stack(effects, dim=1)


def rank_correlations(
    one: Float[Tensor, "batch patches"], other: Float[Tensor, "batch patches"]
) -> Float[Tensor, " batch"]:
    """Spearman's correlation within each image; 0 where one of the two is the same everywhere."""
    return _cosine(_centred_ranks(one), _centred_ranks(other))


def partial_rank_correlations(
    one: Float[Tensor, "batch patches"],
    other: Float[Tensor, "batch patches"],
    given: Float[Tensor, "batch patches"],
) -> Float[Tensor, " batch"]:
    """The same of what is left of both after `given`: Spearman's partial correlation.

    (r_xy - r_xz r_yz) / sqrt((1 - r_xz²) (1 - r_yz²)), here as the correlation of what a straight
    line through the ranks of `given` leaves over. 0 where nothing is left of one of them.
    """
    control = _centred_ranks(given)
    return _cosine(*(_rest(_centred_ranks(x), control) for x in (one, other)))


def _centred_ranks(numbers: Tensor) -> Tensor:
    ranks = torch.from_numpy(rankdata(numbers.detach().cpu().double().numpy(), axis=1))
    return ranks - ranks.mean(dim=1, keepdim=True)


def _rest(ranks: Tensor, control: Tensor) -> Tensor:
    slope = (ranks * control).sum(dim=1) / control.square().sum(dim=1).clamp_min(1e-12)
    rest = ranks - slope[:, None] * control
    nothing = rest.norm(dim=1, keepdim=True) < ROUNDING * ranks.norm(dim=1, keepdim=True)
    return rest.masked_fill(nothing, 0.0)


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    size = first.norm(dim=1) * second.norm(dim=1)
    products = (first * second).sum(dim=1)
    return torch.where(size > 0, products / size.clamp_min(1e-12), torch.zeros_like(size))


def pixel_gradients(
    model: VisionTransformer, images: Float[Tensor, "batch channels height width"], grid: Grid
) -> Float[Tensor, "batch patches"]:
    """Mean of |∂y/∂pixel| over a patch's pixels, where y is the logit of the class answered.

    Simonyan et al. (2014, "Deep Inside Convolutional Networks", arXiv 1312.6034), who take the
    largest over channels; digits have one. A map with no attention in it.
    """
    pixels = images.clone().requires_grad_()
    with evaluation_mode(model), torch.enable_grad():
        answer = model(pixels).amax(dim=1).sum()  # an image's logits are moved by its pixels alone
        (gradient,) = torch.autograd.grad(answer, pixels)
    cells: Tensor = avg_pool2d(gradient.abs().amax(dim=1, keepdim=True), grid.patch_shape(images))
    return cells.flatten(1).double()
