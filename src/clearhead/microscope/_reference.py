"""The page's reference: PyTorch in double precision with the page's rounded weights."""

import copy
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.data import rasterise
from clearhead.microscope._payload import examples, rounded
from clearhead.models.vit import VisionTransformer

ModelT = TypeVar("ModelT", bound=nn.Module)


def rounded_model(model: ModelT) -> ModelT:
    """A copy with weights rounded to half precision that computes in double precision."""
    halves = rounded(
        {name: tensor.numpy(force=True) for name, tensor in model.state_dict().items()}
    )
    twin = copy.deepcopy(model).cpu().double().eval()
    twin.load_state_dict(
        {name: torch.from_numpy(half.astype(np.float64)) for name, half in halves.items()}
    )
    return twin


def example_pixels(model: VisionTransformer) -> Float[Tensor, "batch channels height width"]:
    """The example drawings as model input; grey in every channel."""
    config = model.config
    ink = np.stack([rasterise(example["strokes"], config.image_shape) for example in examples()])
    grey = torch.from_numpy(ink)[:, None].expand(-1, config.in_channels, -1, -1)
    mean, std = (
        torch.tensor(numbers, dtype=torch.float64).view(1, -1, 1, 1)
        for numbers in (config.mean, config.std)
    )
    return (grey - mean) / std


@torch.no_grad()
def example_logits(model: VisionTransformer) -> list[list[float]]:
    """The logits of the example drawings, to ten decimals."""
    logits: Tensor = rounded_model(model)(example_pixels(model))
    return [[round(logit, 10) for logit in row] for row in logits.tolist()]
