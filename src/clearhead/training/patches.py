"""Fewer patches for a part of a training: those of the highest contrast."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.models.layers import cut_patches
from clearhead.models.vit import VisionTransformer


@contextmanager
def kept_patches(
    model: VisionTransformer, images: Float[Tensor, "batch channels height width"], share: float
) -> Iterator[None]:
    """In this context the blocks get only some patches of each image, in their order.

    Positions are added before patches are left out. Time and memory of the blocks shrink with the
    share. (Patch dropout: Liu et al. 2022, arXiv 2208.07220, where the choice is random.)

    Args:
        model: The model.
        images: Its next inputs.
        share: Share of the patches to keep, those with the largest standard deviation of pixels.
    """
    contrast = cut_patches(images, model.config.patch_shape).std(dim=2)
    count = max(1, round(share * contrast.shape[1]))
    kept = contrast.topk(count, dim=1).indices.sort(dim=1).values + model.num_prefix_tokens
    prefix = torch.arange(model.num_prefix_tokens, device=images.device).expand(len(images), -1)
    index = torch.cat([prefix, kept], dim=1)[..., None]

    def select(_: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        return (args[0].gather(1, index.expand(-1, -1, args[0].shape[2])),)

    handle = model.blocks.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
