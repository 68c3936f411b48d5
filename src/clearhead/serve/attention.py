"""The attention of a model on a batch, captured as it reads."""

from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.data.pixels import normalize
from clearhead.errors import InputError, NothingCapturedError
from clearhead.models.pretrained import ImageModel
from clearhead.recording._capture import capture

Weights = Float[Tensor, "layers batch heads queries keys"]


class AttentionOf(Protocol):
    """What gives a model's attention weights, in float64 on the CPU."""

    def __call__(
        self, model: ImageModel, images: UInt8[Tensor, "batch channels height width"]
    ) -> Weights:
        """All layers and heads."""


def attention_of(
    model: ImageModel, images: UInt8[Tensor, "batch channels height width"]
) -> Weights:
    """The weights of every layer while the model reads these pictures."""
    like = next(model.parameters())
    try:
        with torch.inference_mode(), capture() as seen:
            model(normalize(images, model.config).to(like))
    except NothingCapturedError as error:
        raise InputError(f"a {type(model).__name__} has no attention to explain") from error
    return torch.stack([weights.double().cpu() for weights in seen.to_hf()])
