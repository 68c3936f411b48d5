"""Scaled dot-product attention with torch's signature and semantics, optimised for speed."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn import functional as F
from torch.overrides import (
    handle_torch_function,
    has_torch_function,
    has_torch_function_unary,
)

from clearhead.attention.masks import plain_mask, with_causal
from clearhead.attention.stages import (
    HALF,
    at_least_float32,
    attention_stages,
    check_dense,
    check_inputs,
    context,
    default_scale,
    scaled,
    scores,
)

# Up to this many cells of one attention matrix the explicit formula is used on a CPU. In half
# precision, as in training, it is more than twice as fast as torch's fused kernel there; in float32
# it is slower, but on torch's own samples the kernel was off by up to 0.012 (LOG.md, 2026-11-21).
SMALL_MATRIX = 64 * 64

# Below it torch's softmax on a CPU takes three times as long over neighbours as over rows.
FEW_KEYS = 16

# Fused CUDA kernels fail from this product of batch and heads on (pytorch#142228, #146704).
CUDA_BATCH_LIMIT = 65_535

PROBE = torch.empty(0)  # `unpack_dual` returns it unchanged outside forward-mode differentiation


def scaled_dot_product_attention(
    query: Float[Tensor, "*#batch queries head_dim"],
    key: Float[Tensor, "*#kv_batch keys head_dim"],
    value: Float[Tensor, "*#kv_batch keys value_dim"],
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "*_ queries value_dim"]:
    """softmax(Q Kᵀ · scale + mask) · V, with any leading dimensions.

    (Vaswani et al. 2017, eq. 1; semantics of `torch.nn.functional.scaled_dot_product_attention`.)
    Modes that intercept torch's functions, such as `capture`, intercept this one too.

    Args:
        query: Queries of shape (…, queries, head_dim).
        key: Keys of shape (…, keys, head_dim).
        value: Values of shape (…, keys, value_dim).
        attn_mask: Boolean (True = attend) or added to the scaled scores; broadcast to
            (…, queries, keys). A query whose keys are all masked has a context of zeros.
        dropout_p: Dropout probability of the weights, applied whenever it is above 0.
        is_causal: Query i attends to keys 0 … i; applies together with `attn_mask`.
        scale: Factor on the scores; None is 1/√head_dim.
        enable_gqa: Grouped-query attention: key and value may have fewer heads (axis -3).

    Returns:
        The context, of shape (…, queries, value_dim) and the dtype of `query`.

    Raises:
        InputError: If shapes, dtypes or options do not fit together.

    """
    arguments = (query, key, value)
    if has_torch_function(arguments):
        intercepted: Tensor = handle_torch_function(
            scaled_dot_product_attention,
            arguments,
            *arguments,
            attn_mask=attn_mask,
            dropout_p=dropout_p,
            is_causal=is_causal,
            scale=scale,
            enable_gqa=enable_gqa,
        )
        return intercepted
    check_dense(query, key, value, attn_mask)
    if attn_mask is not None:
        attn_mask = plain_mask(attn_mask, query.device)
    overridden = attn_mask is not None and has_torch_function_unary(attn_mask)
    if not overridden and _use_explicit(query, key):
        return _explicit(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    check_inputs(query, key, value, attn_mask, dropout_p, enable_gqa)
    if attn_mask is not None and not overridden:
        if is_causal:  # only some of torch's kernels apply both
            attn_mask = with_causal(attn_mask, query.shape[-2], key.shape[-2], query.device)
            is_causal = False
        if attn_mask.dtype != torch.bool:
            attn_mask = attn_mask.to(query.dtype)
    result = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attn_mask,
        dropout_p=dropout_p,
        is_causal=is_causal,
        scale=scale,
        enable_gqa=enable_gqa,
    )
    if overridden or dropout_p or not result.requires_grad or torch.compiler.is_compiling():
        return result  # torch's kernel with dropout is differentiable twice
    options = (is_causal, scale, enable_gqa)
    twice: Tensor = _TwiceDifferentiable.apply(  # type: ignore[no-untyped-call]
        result, query, key, value, attn_mask, options
    )
    return twice


def _explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Tensor:
    if attn_mask is None and not (dropout_p or is_causal or enable_gqa):
        result = _without_mask(query, key, value, scale)
    else:
        result = attention_stages(
            query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
        ).context
    # under autocast a float32 query gives a context of half precision, as in torch
    return result.to(query.dtype) if query.dtype in HALF else result


def _without_mask(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """The stages without a search for fully masked rows, which takes a third of their time."""
    check_inputs(query, key, value, None, 0.0, enable_gqa=False)
    device = query.device.type  # such as "meta", which has no autocast
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        query, key, value = (at_least_float32(x) for x in (query, key, value))
    # autocast computes the products in half precision; the softmax is faster in float32
    factor = default_scale(query.shape[-1]) if scale is None else scale
    if key.shape[-2] < FEW_KEYS:
        raw = at_least_float32(scores(key, query))
        return context(torch.softmax(scaled(raw, factor), dim=-2).mT, value)
    raw = at_least_float32(scores(query, key))
    return context(torch.softmax(scaled(raw, factor), dim=-1), value)


class _TwiceDifferentiable(torch.autograd.Function):
    """The identity of the first argument, the context that a fused kernel computed.

    The backward pass of fused kernels has no derivative. Where the gradients are to be
    differentiated again, they are computed by the formula, and the kernel's are not.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(context: Tensor, *_: Any) -> Tensor:
        return context.view_as(context)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, *tensors, ctx.options = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if not torch.is_grad_enabled():
            return gradient, *[None] * 5
        *inputs, mask = ctx.saved_tensors
        if mask is not None and mask.is_floating_point():
            inputs.append(mask)

        def attend(query: Tensor, key: Tensor, value: Tensor, bias: Any = mask) -> Tensor:
            return _explicit(query, key, value, bias, 0.0, *ctx.options)

        gradients = torch.func.vjp(attend, *inputs)[1](gradient)
        return None, *gradients, *[None] * (5 - len(gradients))


def _use_explicit(query: Tensor, key: Tensor) -> bool:
    if min(query.dim(), key.dim()) < 2:
        return True  # which raises the error
    if torch.compiler.is_compiling():
        if torch._C._len_torch_function_stack():
            return False  # so that a mode intercepts one call
    elif unpack_dual(PROBE).primal is not PROBE:
        return True  # within forward-mode differentiation, which fused kernels do not support
    if query.device.type == "cuda":
        return query.shape[:-2].numel() > CUDA_BATCH_LIMIT
    return query.shape[-2] * key.shape[-2] <= SMALL_MATRIX
