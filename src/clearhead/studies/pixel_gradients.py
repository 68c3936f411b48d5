"""A plain gradient map: how much each patch's pixels move the answer's logit."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from clearhead.inference import evaluation_mode
from clearhead.insight.mattered.curves import patch_shape
from clearhead.insight.tokens import Grid
from clearhead.models.vit import VisionTransformer


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
    cells: Tensor = avg_pool2d(gradient.abs().amax(dim=1, keepdim=True), patch_shape(images, grid))
    return cells.flatten(1).double()
