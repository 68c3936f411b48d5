"""From a call of `scaled_dot_product_attention` to an attention record."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from clearhead.attention.masks import plain_mask
from clearhead.attention.stages import default_scale
from clearhead.errors import CaptureError
from clearhead.recording._call_site import CallSite
from clearhead.recording._layout import (
    HeadAxes,
    Layout,
    find_heads,
    packed_groups,
    separate_mask,
    with_axes,
)
from clearhead.recording._record import AttentionRecord
from clearhead.recording._steps import (
    PLACEHOLDER,
    Step,
    autocast_dtype,
    lowest_precision,
    random_state,
    with_random_state,
)


class FusedCall(NamedTuple):
    """The arguments of one call of `scaled_dot_product_attention`."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False


def read_call(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[FusedCall, Tensor | None]:
    """The arguments, and the random state before dropout, if there is dropout."""
    call = FusedCall(*args, **kwargs)
    return call, random_state(call.query) if call.dropout_p > 0.0 else None


def fused_record(
    call: FusedCall,
    state: Tensor | None,
    function: Callable[..., Tensor],
    output: Tensor,
    call_site: CallSite,
) -> AttentionRecord:
    """The record of a fused call, with its arguments unchanged."""
    dims = output.dim()
    query, key, value = (with_axes(x, dims) for x in (call.query, call.key, call.value))
    groups = packed_groups(call_site.module, query, key) if not call.enable_gqa else 1
    heads = HeadAxes(packed=groups) if groups > 1 else find_heads(call_site.module, query)
    scale = default_scale(query.shape[-1]) if call.scale is None else call.scale
    mask = call.attn_mask
    if mask is not None:
        mask = separate_mask(heads, _data_of_mask(call, mask, state, function, output), dims)
    return AttentionRecord(
        name=call_site.path,
        query=heads.separate(query),
        key=key if groups > 1 else heads.separate(key),
        value=value if groups > 1 else heads.separate(value),
        attn_mask=mask,
        is_causal=call.is_causal,
        scale=scale,
        enable_gqa=call.enable_gqa or groups > 1,
        dropout_p=call.dropout_p,
        post_softmax=() if state is None else (_replayed_dropout(call, state, function, heads),),
        raw_output=output,
        layout=Layout(heads=heads),
        precision=lowest_precision(
            call.query.dtype, output.dtype, autocast_dtype(call.query) or output.dtype
        ),
    )


def _data_of_mask(
    call: FusedCall,
    mask: Tensor,
    state: Tensor | None,
    function: Callable[..., Tensor],
    output: Tensor,
) -> Tensor:
    """The mask as an ordinary tensor; `CaptureError` if its class defines attention otherwise."""
    mask = plain_mask(mask, call.query.device)
    if type(mask) in (Tensor, nn.Parameter) or not has_torch_function_unary(mask):
        return mask
    data = mask.as_subclass(Tensor)
    arguments = call._replace(attn_mask=data)._asdict()
    with torch.no_grad():
        if state is None:
            same = function(**arguments)
        else:
            same = with_random_state(state, call.query, function, **arguments)
    if not torch.allclose(same, output, rtol=1e-3, atol=1e-3, equal_nan=True):
        raise CaptureError(
            f"attn_mask is a {type(mask).__name__}, whose meaning is not in its data; give the "
            "mask as an ordinary tensor"
        )
    return data


def _replayed_dropout(
    call: FusedCall, state: Tensor, function: Callable[..., Tensor], heads: HeadAxes
) -> Step:
    """A step that drops the weights that this call dropped."""
    return Step("dropout", _same_dropout, (PLACEHOLDER, function, state, heads), call._asdict())


def _same_dropout(
    weights: Tensor, function: Callable[..., Tensor], state: Tensor, heads: HeadAxes, **call: Any
) -> Tensor:
    """The weights after this call's dropout: zero where dropped, the rest scaled by 1 / (1 - p).

    The call is repeated from the same random state with unit vectors as values: where its output
    is zero, the weight was dropped.
    """
    value, keys = call["value"], call["key"].shape[-2]
    units = torch.eye(keys, dtype=value.dtype, device=value.device)
    call["value"] = units.expand(*value.shape[:-2], keys, keys)
    with torch.no_grad():
        dropped: Tensor = with_random_state(state, value, function, **call)
    kept = heads.separate(dropped) != 0
    return weights * kept / (1.0 - float(call["dropout_p"]))
