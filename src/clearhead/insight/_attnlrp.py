"""AttnLRP: layer-wise relevance propagation through attention (arXiv 2402.05602)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clearhead.insight.relevance import pixel_gradient
from clearhead.recording import AttentionRecord, Layers, intervene

# As torch calls them: F.tanh calls the method.
ACTIVATIONS = (F.gelu, F.silu, F.relu, torch.relu, Tensor.relu, torch.tanh, Tensor.tanh)


def attnlrp(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    classes: Int[Tensor, " batch"],
    *,
    layers: Layers = None,
) -> Float[Tensor, "batch channels height width"]:
    """Relevance of each pixel for the logit of the class (Achtibat et al. 2024).

    The rules, as products of input and a changed gradient (section 3 of the paper):

    - linear layers: z_ij / Σ_i z_ij, the ε-rule with ε = 0, which is the gradient
    - products of two activations, Q Kᵀ and A V: half to each factor
    - softmax: its Taylor expansion, which is the gradient
    - element-wise activations: the relevance passes unchanged
    - LayerNorm: the standard deviation counts as a constant

    The γ-rule, which the paper recommends for noisy convolutions, is not used.
    """
    with intervene(_halved_products, layers), _Rules():
        return images.detach() * pixel_gradient(model, images, classes)


def _halved_products(record: AttentionRecord) -> Tensor:
    """The same output; gradients are halved in Q Kᵀ and again in the product with V."""
    halved = replace(
        record,
        query=_scaled_gradient(record.query, 0.25),
        key=_scaled_gradient(record.key, 0.25),
        value=_scaled_gradient(record.value, 0.5),
    )
    return halved.context_from(halved.applied_weights)


def _scaled_gradient(x: Tensor, factor: float) -> Tensor:
    return factor * x + (1 - factor) * x.detach()


class _Rules(TorchFunctionMode):
    """The rules for LayerNorm and for activations."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in (F.layer_norm, torch.layer_norm):
            return _layer_norm(*args, **kwargs)
        if func in ACTIVATIONS:
            x = args[0] if args else kwargs["input"]
            ratio = func(*args, **kwargs) / x
            return x * torch.where(x == 0, 0.0, ratio).detach()
        return func(*args, **kwargs)


def _layer_norm(
    input: Tensor,  # noqa: A002, torch's name
    normalized_shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    axes = list(range(-len(normalized_shape), 0))
    centred = input - input.mean(dim=axes, keepdim=True)
    output = centred / (centred.square().mean(dim=axes, keepdim=True) + eps).sqrt().detach()
    output = output if weight is None else output * weight
    return output if bias is None else output + bias
