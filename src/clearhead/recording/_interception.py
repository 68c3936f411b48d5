"""Interception of torch function calls; records of calls of fused attention."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from types import FrameType, FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from clearhead.attention.stages import default_scale
from clearhead.errors import CaptureError, InputError
from clearhead.recording._call_site import (
    COMPILED,
    NESTED,
    Place,
    Places,
    refuse_compiled,
    refuse_hidden,
)
from clearhead.recording._explicit import Explicit
from clearhead.recording._explicit_record import written_record
from clearhead.recording._layout import Heads, Layout, find_heads, mask_apart
from clearhead.recording._record import AttentionRecord
from clearhead.recording._steps import (
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


# Functions of torch in Python that run others which are to be seen: attention, and what a backward
# pass computes again (checkpointing).
OPENED = frozenset(["multi_head_attention_forward", "backward", "grad"])

# Told of each attention; what it gives, if anything, takes the place of the attention's output.
Found = Callable[[AttentionRecord], Tensor | None]


class Watch(TorchFunctionMode):
    """Calls `found` for every attention computed inside its block, in this thread.

    Records are named by the paths of their modules, further calls of a module with "#2", "#3" ….
    Fused attention is one call and is read from its arguments. Attention written out is followed
    from product to softmax to product. torch's own functions and `clearhead.attention` pass here
    alike, since both ask `torch.overrides` first.
    """

    def __init__(self, found: Found, outside: FrameType | None = None) -> None:
        super().__init__()
        self._found = found
        self.places = Places(outside or sys._getframe(1))
        self.explicit = Explicit()
        self._calls: dict[str, int] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Make the call, and see whether it computes attention."""
        if torch.compiler.is_compiling():
            refuse_compiled()
        kwargs = kwargs or {}
        name = _name(func)
        if name in OPENED and isinstance(func, FunctionType):
            with self:
                return _opened(func)(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            return self._fused(func, args, kwargs)
        refuse_hidden(name, func)
        result, written = self.explicit.call(name, func, args, kwargs)
        if written is not None:
            return self._tell(written_record(written, result, self.places.here()), result)
        return result

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        if error is not None and not isinstance(error, CaptureError) and COMPILED in str(error):
            raise CaptureError(COMPILED) from None  # the compiler wraps it in a page of its own
        if isinstance(error, AssertionError) and "NestedTensor" in str(error):
            raise CaptureError(NESTED) from None

    def forget(self) -> None:
        """Let go of models and tensors."""
        self.explicit.forget()
        self.places.forget()

    def _fused(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        call, state = read_call(args, kwargs)
        if call.query.is_nested:
            raise CaptureError(NESTED)
        output = func(*args, **kwargs)
        record = fused_record(call, state, func, output, self.places.here())
        return self._tell(record, output)

    def _tell(self, record: AttentionRecord, output: Tensor) -> Tensor:
        count = self._calls[record.name] = self._calls.get(record.name, 0) + 1
        if count > 1:
            record = replace(record, name=f"{record.name}#{count}")
        with torch._C.DisableTorchFunction():
            instead = self._found(record)
        if instead is None:
            return output
        _check_answer(instead, record)
        return record.layout.original(instead, output)


def _check_answer(instead: Any, record: AttentionRecord) -> None:
    expected, found = tuple(record.output.shape), getattr(instead, "shape", None)
    if not isinstance(instead, Tensor) or tuple(instead.shape) != expected:
        given = type(instead).__name__ if found is None else tuple(found)
        raise InputError(
            f"{record.name}: what takes the place of attention's output must have its shape "
            f"{expected}, got {given}"
        )


def _name(function: Callable[..., Any]) -> str:
    """A function's name, without the overload that operators carry."""
    name = getattr(function, "__name__", "")
    return name.partition(".")[0] if isinstance(function, torch._ops.OpOverload) else name


@lru_cache
def _opened(function: FunctionType) -> Callable[..., Any]:
    """The same Python function, without its question whether someone overrides it.

    So the calls that it makes pass by the watch one by one, instead of the function as a whole.
    """
    questions = [name for name in function.__globals__ if name.startswith("has_torch_function")]
    names = {**function.__globals__, **dict.fromkeys(questions, lambda *_: False)}
    opened = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    opened.__kwdefaults__ = function.__kwdefaults__
    return opened
