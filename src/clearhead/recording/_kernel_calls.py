"""Calls of attention functions of other packages: from their arguments to a record."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clearhead.attention import masked
from clearhead.errors import CaptureError
from clearhead.recording._call_site import CallSite
from clearhead.recording._layout import PLACEHOLDER, Layout, Step, lowest_precision
from clearhead.recording._record import AttentionRecord, with_fields
from clearhead.recording._record_of_call import FusedCall, fused_record


class KernelCall(NamedTuple):
    """One call, with four axes, in the layout of the package: tokens before heads, or after."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None
    is_causal: bool
    scale: float | None
    tokens_first: bool
    softcap: float | None = None
    precision: torch.dtype = torch.float32


def _flash(
    q: Any = None,
    k: Any = None,
    v: Any = None,
    qkv: Any = None,
    kv: Any = None,
    k_cache: Any = None,
    v_cache: Any = None,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_q: Tensor | None = None,
    cu_seqlens_k: Tensor | None = None,
    cache_seqlens: Any = None,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int | None] | None = None,
    softcap: float | None = None,
    alibi_slopes: Tensor | None = None,
) -> KernelCall:
    """The functions of flash-attn: (batch, tokens, heads, head_dim), causal from the last query.

    `qkv` and `kv` have their parts on axis -3. With `cu_seqlens`, sequences lie one after another,
    (tokens, heads, head_dim). They are recorded as one, with a mask: a token attends to its own
    sequence. A cache has `cache_seqlens` keys, behind which the call has written `k` and `v`.
    """
    ends = [cu_seqlens if x is None else x for x in (cu_seqlens_q, cu_seqlens_k)]
    used = None
    if qkv is not None:
        q, k, v = qkv.unbind(-3)
    elif kv is not None:
        k, v = kv.unbind(-3)
    elif k_cache is not None:
        if cache_seqlens is not None:
            used = torch.as_tensor(cache_seqlens, device=q.device).expand(len(q))
            used = used if k is None else used + k.shape[1]
        k, v = k_cache, v_cache
    if q.dim() != k.dim():
        raise CaptureError(
            "flash-attn is not recorded with sequences in one tensor of queries only"
        )
    if q.dim() == 3:
        q, k, v = (x[None] for x in (q, k, v))
    before, after = (-1 if x is None else x for x in window_size or (-1, -1))
    after = 0 if causal else after
    if before < 0 and all(x is None for x in (*ends, used, alibi_slopes)):
        if after < 0:
            return KernelCall(q, k, v, None, False, softmax_scale, True, softcap)
        if after == 0 and q.shape[1] == k.shape[1] and not softcap:
            return KernelCall(q, k, v, None, True, softmax_scale, True)
    (own, left), (of, left_of) = map(_sequences, (q, k), ends)
    if used is not None:
        left_of = left_of - (k.shape[1] - used)[:, None, None]
    distance = left[..., :, None] - left_of[..., None, :]  # from the query to a later key
    mask = (own[..., :, None] == of[..., None, :]) & (left_of > 0)[..., None, :]
    mask = _limited(mask, distance, before, after, alibi_slopes)
    return KernelCall(q, k, v, mask, False, softmax_scale, True, softcap)


def _limited(
    mask: Tensor, distance: Tensor, before: int, after: int, slopes: Tensor | None
) -> Tensor:
    """A mask with a window around each query (-1: no limit), and ALiBi."""
    if after >= 0:
        mask = mask & (distance <= after)
    if before >= 0:
        mask = mask & (distance >= -before)
    if slopes is None:
        return mask
    return (-slopes[..., None, None] * distance.abs()).masked_fill(~mask, -torch.inf)


def _sequences(x: Tensor, ends: Tensor | None) -> tuple[Tensor, Tensor]:
    """The number of each token's sequence, and how many of its tokens are left."""
    count = x.shape[1]
    ends = torch.tensor([0, count], device=x.device) if ends is None else ends
    places = torch.arange(count, device=x.device)
    number = torch.bucketize(places, ends[1:], right=True)
    return number, ends[1:][number] - places


def _sage(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tensor_layout: str = "HND",
    is_causal: bool = False,
    sm_scale: float | None = None,
) -> KernelCall:
    """The functions of SageAttention, whose queries and keys of 8 bits are like bfloat16."""
    tokens_first = tensor_layout == "NHD"
    axis = 1 if tokens_first else 2
    if is_causal and q.shape[axis] != k.shape[axis]:
        raise CaptureError("sageattn is recorded with is_causal for as many queries as keys only")
    return KernelCall(q, k, v, None, is_causal, sm_scale, tokens_first, precision=torch.bfloat16)


def _xformers(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_bias: Any = None,
    scale: float | None = None,
) -> KernelCall:
    """`memory_efficient_attention`: (batch, tokens, heads, head_dim).

    One head may have no axis, and heads in groups have two.
    """
    if query.dim() == 3:
        query, key, value = (x[:, :, None] for x in (query, key, value))
        attn_bias = attn_bias[:, None] if isinstance(attn_bias, Tensor) else attn_bias
    elif query.dim() == 5:
        query, key, value = (x.flatten(2, 3) for x in (query, key, value))
        attn_bias = attn_bias.flatten(1, 2) if isinstance(attn_bias, Tensor) else attn_bias
    if attn_bias is not None and not isinstance(attn_bias, Tensor):
        batch, queries, heads, _width = query.shape
        shape = (batch, heads, queries, key.shape[1])
        attn_bias = attn_bias.materialize(shape, dtype=query.dtype, device=query.device)
    return KernelCall(query, key, value, attn_bias, False, scale, True)


def _flex(
    query: Tensor, key: Tensor, value: Tensor, block_mask: Any = None, scale: float | None = None
) -> KernelCall:
    """`flex_attention`: (batch, heads, tokens, head_dim)."""
    from torch.nn.attention.flex_attention import create_mask

    mask = None
    if block_mask is not None:
        batch, heads = block_mask.shape[:2]
        sizes = (batch, heads, query.shape[-2], key.shape[-2])
        mask = create_mask(block_mask.mask_mod, *sizes, device=str(query.device))
    return KernelCall(query, key, value, mask, False, scale, False)


def kernel_record(call: KernelCall, raw_output: Tensor, site: CallSite) -> AttentionRecord:
    """The record of a call, whose output has four axes."""
    layout = Layout((0, 2, 1, 3) if call.tokens_first else None)
    query, key, value, output = map(layout.canonical, (*call[:3], raw_output))
    mask, steps, shares_heads = call.attn_mask, [], query.shape[1] != key.shape[1]
    if call.softcap:
        steps.append(Step("softcap", _capped, (PLACEHOLDER, call.softcap)))
        if mask is not None:
            steps.append(Step("mask", masked, (PLACEHOLDER, mask)))
    arguments = (None if steps else mask, 0.0, call.is_causal, call.scale, shares_heads)
    record = fused_record(FusedCall(query, key, value, *arguments), output, site)
    assert record is not None  # noqa: S101, its query has four axes
    return with_fields(
        record,
        pre_softmax=tuple(steps),
        raw_output=raw_output,
        layout=layout,
        precision=lowest_precision(query.dtype, output.dtype, call.precision),
    )


def _capped(scores: Tensor, cap: float) -> Tensor:
    return cap * (scores / cap).tanh()


Reader = Callable[..., KernelCall]

FLASH: dict[str, Reader] = {
    f"flash_attn_{form}func": _flash
    for form in ("", "qkvpacked_", "kvpacked_", "varlen_", "varlen_qkvpacked_", "varlen_kvpacked_")
} | {"flash_attn_with_kvcache": _flash}
SAGE = ("", "_qk_int8_pv_fp16_triton", "_qk_int8_pv_fp16_cuda", "_qk_int8_pv_fp8_cuda")

# The modules of each package, and how to read their functions; other attention is refused.
KERNELS: dict[str, dict[str, Reader]] = {
    "flash_attn": FLASH,
    "flash_attn_interface": FLASH,
    "flash_attn.cute": FLASH,
    "sageattention": {f"sageattn{form}": _sage for form in (*SAGE, "_qk_int8_pv_fp8_cuda_sm90")},
    "xformers.ops": {
        f"memory_efficient_attention{form}": _xformers
        for form in ("", "_forward", "_forward_requires_grad")
    },
    "torch.nn.attention.flex_attention": {"flex_attention": _flex},
}

# Arguments that change how attention is computed, or what else is returned, but no weight.
IRRELEVANT = frozenset(
    "max_seqlen max_seqlen_q max_seqlen_k deterministic num_splits pack_gqa sm_margin "
    "scheduler_metadata rotary_interleaved return_attn_probs return_softmax_lse return_lse "
    "return_aux op output_dtype enable_gqa kernel_options smooth_k smooth_v qk_quant_gran "
    "pv_accum_dtype quantization_backend".split()
)
