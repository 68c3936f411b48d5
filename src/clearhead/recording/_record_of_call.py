"""From one call or several tracked operations to an attention record."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import has_torch_function_unary

from clearhead.attention.masks import plain_mask
from clearhead.attention.stages import default_scale
from clearhead.errors import CaptureError
from clearhead.recording._call_site import CallSite
from clearhead.recording._factors import Factor, divided, factor_of_call
from clearhead.recording._history import History, TrackedAttention
from clearhead.recording._layout import (
    PLACEHOLDER,
    UNCHANGING,
    HeadAxes,
    Layout,
    Placeholder,
    Step,
    autocast_dtype,
    find_heads,
    lowest_precision,
    packed_groups,
    random_state,
    separate_mask,
    with_axes,
    with_random_state,
)
from clearhead.recording._products import Order, Product
from clearhead.recording._record import AttentionRecord, map_tensors
from clearhead.recording._torch_internals import is_modified, is_true


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
    output: Tensor,
    call_site: CallSite,
    function: Callable[..., Tensor] = F.scaled_dot_product_attention,
    state: Tensor | None = None,
) -> AttentionRecord | None:
    """The record of a fused call, with its arguments unchanged; None if its heads are unknown."""
    dims = output.dim()
    query, key, value = (with_axes(x, dims) for x in (call.query, call.key, call.value))
    groups = packed_groups(call_site.module, query, key) if not call.enable_gqa else 1
    heads = HeadAxes(packed=groups) if groups > 1 else find_heads(call_site.module, query)
    if heads is None:
        return None
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


MODIFIED = "a tensor that it uses is changed in place before its weights multiply the values"
UNKNOWN_HEADS = "two of its axes have as many entries as there are heads (such as windows)"


def explicit_record(
    tracked: TrackedAttention, raw_output: Tensor, call_site: CallSite
) -> AttentionRecord | None:
    """The record of an attention written as separate operations.

    Scores times a constant and one added mask become `scale` and `attn_mask`; other operations are
    kept as steps to replay. None if the axes of the weights are not those of queries and keys.
    """
    history = tracked.history
    product, factors = _softmax_last(history)
    heads = find_heads(call_site.module, product.left)
    if heads is None or is_modified(history.versions):
        tracked.refuse(UNKNOWN_HEADS if heads is None else MODIFIED)
        return None
    axes = history.axes()
    if heads == HeadAxes():
        heads = _merged_heads(product.left, tracked.values.left, axes)
    scale, steps = _leading_scale(product, history)
    mask = _mask(steps) if _is_plain(product, history) else None
    record = AttentionRecord(
        name=call_site.path,
        query=heads.separate(divided(product.left, factors[0])),
        key=heads.separate(divided(product.right, factors[1])),
        value=heads.separate(tracked.values.right.transpose(-2, -1)),
        attn_mask=None if mask is None else separate_mask(heads, mask, product.dims),
        is_causal=False,
        scale=scale * factors[0] * factors[1],
        pre_softmax=() if mask is not None else _before_softmax(steps, product, history, heads),
        post_softmax=_after_softmax(tracked, product, heads),
        plain_softmax=history.softmax is None or not history.softmax.is_safe,
        raw_output=raw_output,
        layout=Layout(tracked.values.order, heads),
        precision=history.precision,
    )
    selects = any(step.is_selection for step in history.pre_softmax)
    if axes is None or axes.dim() != history.dims or selects:
        return record if _has_stages(record) else None
    if axes.shape[history.dim] > 1 and axes.stride(history.dim) >= product.strides()[1]:
        return None  # the softmax is neither over rows nor over columns
    shape = Layout(_order_of_weights(product, history), heads).canonical(axes).shape
    batch = torch.broadcast_shapes(record.query.shape[:-2], record.key.shape[:-2])
    is_known = shape[-2] == record.output.shape[-2] and shape[:-2].numel() == batch.numel()
    if _rearranges(history.post_softmax) and shape[:-2] != batch:  # they were other axes before
        is_known = is_known and _broadcasts(shape[:-2], record.shape[:-2])
    return record if is_known else None


def _merged_heads(*tensors: Tensor | None) -> HeadAxes:
    """The heads that tensors of three axes have merged with the batch, known from one of four."""
    shapes = [x.shape for x in tensors if x is not None]
    batch, heads = next((shape[:2] for shape in shapes if len(shape) == 4), (0, 1))
    is_merged = any(len(shape) == 3 and shape[0] == batch * heads for shape in shapes)
    return HeadAxes(merged=heads if is_merged else 1)


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    return len(shape) == len(to) and all(x in (1, y) for x, y in zip(shape, to, strict=True))


def _has_stages(record: AttentionRecord) -> bool:
    """Whether the steps of a record can be repeated, which is tried on tensors without data.

    The weights have the batch axes and the queries of the record then, and all rows of the scores.
    """
    try:
        stages = map_tensors(record, lambda x: x.to("meta")).stages()
    except RuntimeError:
        return False
    shape, weights = record.shape, stages.weights.shape
    has_rows = weights[:-1].numel() == stages.scores.shape[:-1].numel()
    return has_rows and weights[-2] == shape[-2] and _broadcasts(weights[:-3], shape[:-3])


def _softmax_last(history: History) -> tuple[Product, tuple[Factor, Factor]]:
    """The product with the softmax axis last, so that its columns are the keys."""
    axes = history.axes()
    rows, others = history.product.strides()
    if axes is None or axes.dim() != history.dims or not rows <= axes.stride(history.dim) < others:
        return history.product, history.factors
    return history.product.transposed(), history.factors[::-1]


def _is_plain(product: Product, history: History) -> bool:
    in_order = product.order is None and history.dim == product.dims - 1
    return in_order and not _rearranges(history.pre_softmax)


def _rearranges(steps: Iterable[Step]) -> bool:
    return any(step.rearranges for step in steps)


def _leading_scale(product: Product, history: History) -> tuple[Factor, list[Step]]:
    """The constant factors at the start, and the remaining steps.

    In a soft cap, c · tanh(x / c), the factor 1 / c is not part of the scale, also if it is one
    number with the default scale.
    """
    factors: list[tuple[Factor, Step]] = []
    moves: list[Step] = []
    steps = iter(step for step in history.pre_softmax if step.name not in UNCHANGING)
    for step in steps:
        factor = _factor(step, product, history)
        if factor is not None:
            factors.append((factor, step))
        elif step.is_layout_only:
            moves.append(step)
        else:
            rest = [step, *steps]
            after = [x for x in rest[1:] if not x.is_layout_only and len(step.args) == 1]
            cap = _factor(after[0], product, history) if after else None
            inverse = [i for i, x in enumerate(factors) if cap is not None and _is_one(x[0] * cap)]
            moves += [factors.pop(i)[1] for i in inverse[-1:]]
            if cap is not None and not inverse:
                total = math.prod([cap, *history.factors, *(x for x, _ in factors)])
                if _is_one(total / default_scale(product.left.shape[-1])):
                    capped = Step("div", torch.div, (PLACEHOLDER, cap))
                    factors, moves = [*factors, (cap, capped)], [*moves, capped]
            moves += rest
    scale: Factor = 1.0
    for factor, _ in factors:
        scale = scale * factor
    return scale, moves


def _is_one(x: Factor) -> bool:
    return is_true((torch.as_tensor(x) - 1.0).abs().amax() < 1e-2)


def _factor(step: Step, product: Product, history: History) -> Factor | None:
    x = product.left
    args = tuple(x if arg is PLACEHOLDER else arg for arg in step.args)
    factor = None if step.kwargs else factor_of_call(step.name, args, x)
    if isinstance(factor, Tensor) and factor.dim():
        per_head = _is_plain(product, history) and product.dims > 3
        return factor if per_head else None
    return factor


def _mask(steps: list[Step]) -> Tensor | None:
    """The mask, if masking is the only step between scaled scores and softmax."""
    if len(steps) != 1 or steps[0].kwargs:
        return None
    match steps[0].name, steps[0].args:
        case (
            ("add" | "add_" | "__add__" | "__radd__" | "__iadd__"),
            (Placeholder(), Tensor() as mask) | (Tensor() as mask, Placeholder()),
        ):
            return None if mask.dtype == torch.bool else mask
        case (
            ("masked_fill" | "masked_fill_"),
            (Placeholder(), Tensor() as ignored, float() as value),
        ):
            return ~ignored if value == -math.inf and ignored.dtype == torch.bool else None
    return None


def _before_softmax(
    steps: list[Step], product: Product, history: History, heads: HeadAxes
) -> tuple[Step, ...]:
    """From canonical scaled scores to the canonical input of the softmax."""
    last = Layout(_order_of_weights(product, history), heads)
    return _in_layout_of_model(Layout(product.order, heads), steps, last, product.dims)


def _after_softmax(
    tracked: TrackedAttention, product: Product, heads: HeadAxes
) -> tuple[Step, ...]:
    """From canonical weights to the canonical weights that multiply the values."""
    history = tracked.history
    first = Layout(_order_of_weights(product, history), heads)
    steps = [step for step in history.post_softmax if step.name not in UNCHANGING]
    return _in_layout_of_model(
        first, steps, Layout(tracked.values.first_order, heads), history.dims
    )


def _order_of_weights(product: Product, history: History) -> Order:
    """The permutation that makes the result of the softmax canonical, its axis last."""
    if not _rearranges(history.pre_softmax):
        return product.order
    others: list[int | None] = [axis for axis in range(history.dims) if axis != history.dim]
    if history.dims < product.dims and product.left.shape[-2] == 1:
        others.append(None)  # the axis of the only query was left out
    order = (*others, history.dim)
    return None if order == tuple(range(history.dims)) else order


def _in_layout_of_model(
    first: Layout, steps: list[Step], last: Layout, dims: int
) -> tuple[Step, ...]:
    """The steps between two changes of the layout, from canonical axes and back."""
    if not steps and first == last:
        return ()
    before = Step("permute", partial(first.restored, dims=dims))
    return (before, *steps, Step("permute", last.canonical))
