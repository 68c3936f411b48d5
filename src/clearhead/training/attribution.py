"""A loss that trains attention rollout to agree with the effects of the patches."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from clearhead.insight import Baseline, grid_of, rollout
from clearhead.insight.perturbation import kept_scores
from clearhead.insight.propagation import read_out
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture

PAIRS = 4  # of halves, for each image


def rollout_loss(
    model: VisionTransformer,
    images: Float[Tensor, "batch channels height width"],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """1 - the mean cosine between differences of rollout and of log-odds, over pairs of halves.

    The patches of an image that are not black are split at random into two halves of equal size.
    One difference is that of the sums of rollout over both halves; the other one is that of the
    log-odds of the predicted class, each half kept alone, the other patches black. With
    contributions that add up, the loss is 0 if rollout is a linear function of them. (Regression on
    scores of random coalitions: Lundberg and Lee 2017, "A Unified Approach to Interpreting Model
    Predictions", arXiv 1705.07874, where complete regressions give Shapley values.)

    Args:
        model: The model. It is run in evaluation mode, and not compiled.
        images: Normalised images.
        generator: Draws the halves.

    Returns:
        The loss; its gradient reaches the model through rollout, not through the log-odds.
    """
    grid, baseline = grid_of(model), Baseline.black(model.config)
    training = model.training
    model.eval()
    try:
        with torch.compiler.set_stance("force_eager"):
            with capture(gradients=True) as recording:
                classes = model(images).argmax(1)
            half, other = halves(baseline.difference(images, grid) > 0, generator)
            with torch.no_grad():
                kept = torch.cat([half, other], dim=1)
                scores = kept_scores(model, images, kept, classes, grid=grid, baseline=baseline)
    finally:
        model.train(training)
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
    """Random pairs of equally large disjoint subsets; of an odd number, one patch is left out."""
    keys = torch.rand(len(among), PAIRS, among.shape[1], generator=generator)
    order = keys.to(among.device).masked_fill(~among[:, None], torch.inf).argsort(-1).argsort(-1)
    size = (among.sum(1) // 2)[:, None, None]
    return order < size, (order >= size) & (order < 2 * size)
