"""From a call of `scaled_dot_product_attention` to a record."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clearhead.attention.stages import default_scale
from clearhead.recording.layout import Heads, Layout, mask_apart
from clearhead.recording.places import Place, find_heads
from clearhead.recording.record import AttentionRecord
from clearhead.recording.steps import (
    HOLE,
    Step,
    autocast_dtype,
    coarsest,
    random_state,
    with_random_state,
)


class FusedCall(NamedTuple):
    """The arguments of one call, by the names they have in torch."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False


def read_call(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[FusedCall, Tensor | None]:
    """The arguments, and the random state that dropout will start from, where there is any."""
    call = FusedCall(*args, **kwargs)
    return call, random_state(call.query) if call.dropout_p > 0.0 else None


def fused_record(
    call: FusedCall,
    state: Tensor | None,
    function: Callable[..., Tensor],
    output: Tensor,
    place: Place,
) -> AttentionRecord:
    """The record of a call, with its arguments as they were given."""
    heads = find_heads(place.module, call.query)
    scale = default_scale(call.query.shape[-1]) if call.scale is None else call.scale
    mask = call.attn_mask
    return AttentionRecord(
        name=place.path,
        query=heads.apart(call.query),
        key=heads.apart(call.key),
        value=heads.apart(call.value),
        attn_mask=None if mask is None else mask_apart(heads, mask, call.query.dim()),
        is_causal=call.is_causal,
        scale=scale,
        enable_gqa=call.enable_gqa,
        dropout_p=call.dropout_p,
        after=() if state is None else (_dropout_again(call, state, function, heads),),
        produced=output,
        layout=Layout(heads=heads),
        precision=coarsest(
            call.query.dtype, output.dtype, autocast_dtype(call.query) or output.dtype
        ),
    )


def _dropout_again(
    call: FusedCall, state: Tensor, function: Callable[..., Tensor], heads: Heads
) -> Step:
    """Drop the weights that this call dropped."""
    return Step("dropout", _drop_alike, (HOLE, function, state, heads), call._asdict())


def _drop_alike(
    weights: Tensor, function: Callable[..., Tensor], state: Tensor, heads: Heads, **call: Any
) -> Tensor:
    """Zero where the call dropped a weight, and the rest larger by 1 / (1 - p).

    The call is made again from the same random state, with unit vectors for values: where its
    output is zero, the weight was dropped.
    """
    value, keys = call["value"], call["key"].shape[-2]
    units = torch.eye(keys, dtype=value.dtype, device=value.device)
    call["value"] = units.expand(*value.shape[:-2], keys, keys)
    with torch.no_grad():
        dropped: Tensor = with_random_state(state, value, function, **call)
    kept = heads.apart(dropped) != 0
    return weights * kept / (1.0 - float(call["dropout_p"]))
