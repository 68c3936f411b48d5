"""A loss that trains attention rollout to agree with the effects of the patches."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from clearhead.inference import evaluation_mode
from clearhead.insight import Baseline, grid_of, rollout
from clearhead.insight.perturbation import Removal
from clearhead.insight.propagation import read_out
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture

PAIRS = 4  # of halves, for each image


def rollout_loss(
    model: VisionTransformer,
    images: Float[Tensor, "batch channels height width"],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """1 - the cosine similarity of differences in rollout and in log-odds, mean over images.

    The patches of an image that are not black are split at random into two halves of equal size,
    four times. Each split gives two numbers: the difference of the sums of rollout over the halves,
    and the difference of the log-odds of the predicted class when only one half is kept and all
    other patches are black. The similarity is that of the two vectors of four numbers. If the
    log-odds are a sum of contributions of the patches, the loss is 0 where rollout is an increasing
    linear function of these. (Regression on scores of random coalitions: Lundberg and Lee 2017, "A
    Unified Approach to Interpreting Model Predictions", arXiv 1705.07874; regression on all
    coalitions gives Shapley values.)

    Args:
        model: Runs in evaluation mode, not compiled; the mode of each module is restored.
        images: Normalised images.
        generator: Of the CPU; draws the halves.

    Returns:
        The loss, from 0 to 2; a blank image counts as 1. Its gradient flows through rollout, not
        through the log-odds.
    """
    grid, baseline = grid_of(model), Baseline.black(model.config)
    with evaluation_mode(model), torch.compiler.set_stance("force_eager"):
        with capture(gradients=True) as recording:
            classes = model(images).argmax(1)
        half, other = halves(baseline.difference(images, grid) > 0, generator)
        with torch.no_grad():
            removal = Removal(model, images, classes, grid=grid, baseline=baseline)
            scores = removal.scores(torch.cat([half, other], dim=1))
    prefix = grid.num_tokens - grid.num_patches
    readout = 0 if model.cls_token is not None else range(prefix, grid.num_tokens)
    shares = read_out(rollout(recording), readout)[:, prefix:]
    signs = half.to(shares) - other.to(shares)
    differences = scores.to(shares).unflatten(1, (2, PAIRS))
    effects = differences[:, 0] - differences[:, 1]
    cosines = F.cosine_similarity((signs @ shares[..., None]).squeeze(-1), effects)
    return 1 - cosines.mean()


def halves(
    among: Bool[Tensor, "batch patches"], generator: torch.Generator
) -> tuple[Bool[Tensor, "batch pairs patches"], Bool[Tensor, "batch pairs patches"]]:
    """Random pairs of disjoint halves of the patches in `among`.

    Both halves have the same size; of an odd number of patches, one is in neither.
    """
    keys = torch.rand(len(among), PAIRS, among.shape[1], generator=generator)
    order = keys.to(among.device).masked_fill(~among[:, None], torch.inf).argsort(-1).argsort(-1)
    size = (among.sum(1) // 2)[:, None, None]
    return order < size, (order >= size) & (order < 2 * size)
