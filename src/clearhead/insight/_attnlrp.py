"""AttnLRP: layer-wise relevance propagation through attention (arXiv 2402.05602)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from clearhead.insight.relevance import pixel_gradient
from clearhead.recording import AttentionRecord, Layers, intervene

# Functions that use the shape or type of their second tensor only.
LIKE = {"expand_as", "view_as", "reshape_as", "type_as", "to"}
# Element-wise functions whose ATen operators have no such tag, or another name.
UNTAGGED = {"hardswish", "hardsigmoid", "softsign", "rdiv", "rpow"}
# Functions by which hand-written normalisations compute a deviation or length.
ROOTS = frozenset("sqrt rsqrt std std_mean norm vector_norm linalg_norm linalg_vector_norm".split())
# Functions by which they multiply with it.
PRODUCTS = {"mul", "multiply", "imul", "div", "divide", "true_divide", "truediv", "itruediv"}
# Functions of one tensor that are affine; also exp, because it may be a part of a softmax.
AFFINE = {"add", "sub", "rsub", "neg", "mul", "div", "clone", "exp"}


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
    - products of two activations, Q Kᵀ, A V and gates: half to each factor
    - softmax: its Taylor expansion, which is the gradient
    - element-wise functions of one tensor, whatever they are composed of: the relevance passes
      unchanged
    - LayerNorm, RMSNorm and other normalisations: the deviation or length counts as a constant

    The γ-rule, which the paper recommends for noisy convolutions, is not used.
    """
    # the rules do not apply to operations that a backward pass recomputes
    refused = "AttnLRP needs a model without gradient checkpointing; switch it off"
    with intervene(_halved_products, layers), _Rules(), disable_saved_tensors_hooks(refused):
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
    """The rules for normalisations, element-wise functions, and products of two activations.

    An activation can be composed, as x · (1 + tanh(…)), to which rules for the product, the sum and
    tanh would assign another relevance than to a single call. So what is computed element by
    element from one tensor is collected, and replaced as one function where it is used otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        # by result: the tensor, whether it is affine
        self._sources: Any = WeakTensorKeyDictionary()
        self._roots: Any = WeakTensorKeyDictionary()  # what is computed from roots: their number

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        given = _tensors(args, kwargs)
        counts = [self._roots.get(x) for x in given]
        if _plain_name(func) in PRODUCTS:
            args = tuple(self._constant(x, given) for x in args)
            kwargs = {key: self._constant(x, given) for key, x in kwargs.items()}
        output = self._call(func, args, kwargs)
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, Tensor) and _is_root(func, args, kwargs):
            self._roots[first] = first.numel()
        elif isinstance(first, Tensor) and counts:
            known = counts[:1] if _plain_name(func) in LIKE else counts
            if None not in known:
                self._roots[first] = max(known)
        return output

    def _constant(self, x: Any, given: Sequence[Tensor]) -> Any:
        """The same; without a gradient if it is a deviation or length, one for many elements."""
        count = self._roots.get(x) if isinstance(x, Tensor) else None
        is_one_for_many = count is not None and count < max(other.numel() for other in given)
        return x.detach() if is_one_for_many else x

    def _call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name, given = _element_wise(func), _tensors(args, kwargs)
        sources = [self._sources.get(x, (x, True)) for x in given]
        if name and given and all(source is sources[0][0] for source, _ in sources):
            kwargs |= {"inplace": False} if "inplace" in kwargs else {}
            output = func(*args, **kwargs)
            product = name in ("mul", "div") and len(given) > 1
            affine = name in AFFINE and not product and all(x for _, x in sources)
            if output.requires_grad:
                self._sources[output] = sources[0][0], affine
            return output
        args = tuple(map(self._replaced, args))
        kwargs = {key: self._replaced(x) for key, x in kwargs.items()}
        if func in NORMS:
            return NORMS[func](*args, **kwargs)
        if name == "mul" and _are_activations(*args):
            args = tuple(_scaled_gradient(x, 0.5) for x in args)
        return func(*args, **kwargs)

    def _replaced(self, x: Any) -> Any:
        """The same number; of an element-wise function f(x) with the gradient f(x) / x."""
        if isinstance(x, list | tuple):
            return type(x)(map(self._replaced, x)) if type(x) in (list, tuple) else x
        source, affine = self._sources.get(x, (x, True)) if isinstance(x, Tensor) else (x, True)
        if affine:
            return x
        source = self._replaced(source)
        ratio = torch.where(source == 0, 0.0, x / source).detach()
        return x.detach() + ratio * (source - source.detach())


@cache
def _element_wise(func: Callable[..., Any]) -> str:
    """The name of an element-wise function without effect on its arguments; empty for others."""
    name = getattr(func, "__name__", "")
    if name.endswith("_") and not name.startswith("__"):
        return ""
    name = name.strip("_")
    operator = getattr(torch.ops.aten, name, None)
    overloads = [] if operator is None else [getattr(operator, x) for x in operator.overloads()]
    tagged = any(torch.Tag.pointwise in overload.tags for overload in overloads)
    return name if tagged or name in UNTAGGED else ""


def _plain_name(func: Callable[..., Any]) -> str:
    return str(getattr(func, "__name__", "")).strip("_")


def _tensors(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    return [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.dim()]


def _is_root(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    name = _plain_name(func)
    exponent = (*args[1:], kwargs.get("exponent"))[0] if name == "pow" else None
    return name in ROOTS or (isinstance(exponent, float) and abs(exponent) == 0.5)


def _are_activations(*args: Any) -> bool:
    """Whether these are two tensors that depend on the image."""
    return len(args) == 2 and all(isinstance(x, Tensor) and x.requires_grad for x in args)


def _layer_norm(
    input: Tensor,  # noqa: A002, torch's name
    normalized_shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    axes = list(range(-len(normalized_shape), 0))
    output = _over_deviation(input - input.mean(dim=axes, keepdim=True), axes, eps)
    return _affine(output, weight, bias)


def _rms_norm(
    input: Tensor,  # noqa: A002, torch's name
    normalized_shape: list[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    output = _over_deviation(input, list(range(-len(normalized_shape), 0)), eps)
    return _affine(output, weight, None)


def _group_norm(
    input: Tensor,  # noqa: A002, torch's name
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    groups = input.unflatten(1, (num_groups, -1))
    output = _layer_norm(groups, list(groups.shape[2:]), eps=eps).flatten(1, 2)
    shape = (-1, *[1] * (input.dim() - 2))
    return _affine(output, *(x if x is None else x.view(shape) for x in (weight, bias)))


def _normalize(
    input: Tensor,  # noqa: A002, torch's name
    p: float = 2.0,
    dim: int = 1,
    eps: float = 1e-12,
    out: Tensor | None = None,
) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(input, p, dim, keepdim=True)
    return input / length.clamp_min(eps).detach()


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _over_deviation(x: Tensor, axes: list[int], eps: float) -> Tensor:
    return x / (x.square().mean(dim=axes, keepdim=True) + eps).sqrt().detach()


NORMS: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    torch.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    torch.group_norm: _group_norm,
    F.normalize: _normalize,
}
