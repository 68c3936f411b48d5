"""Attention inside compiled graphs, through an operator that the graph calls with its tensors."""

import re
import sys
from collections.abc import Callable, Sequence
from threading import local
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from clearhead.errors import CaptureError
from clearhead.recording._call_site import reject_compiled, reject_opaque
from clearhead.recording._fused import FusedCall
from clearhead.recording._torch_internals import (
    DisableInterception,
    call_while_compiling,
    compiled_module_path,
    is_compiler_running,
    traced_graph,
)


class Recorder(Protocol):
    """A mode that records calls made by compiled graphs."""

    def compiled_call(self, call: FusedCall, output: Tensor, path: str) -> None:
        """Record one call of `scaled_dot_product_attention`."""

    def scripted_call(self, called: Any) -> None:
        """Note a call of TorchScript."""


class _Active(local):
    def __init__(self) -> None:
        self.recorders: list[Recorder] = []


ACTIVE = _Active()
"""The active modes of each thread; a graph refers to them by their number."""

SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax, F.softmin, F.gumbel_softmax)


class _Outputs:
    """Attributes that graphs set, so that these tensors are outputs, whose memory is not reused."""

    mark: Tensor


OUTPUTS = _Outputs()


@torch.library.custom_op("clearhead::record", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,))
def _record(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    output: Tensor,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
    path: str,
    level: int,
    copied: Sequence[int],
    previous: Tensor | None,
) -> Tensor:
    """Record this call, with copies of some of its tensors.

    The empty result is the next call's `previous`, and the last one an output of the graph, so that
    compilers neither remove calls nor change their order.
    """
    with DisableInterception():
        tensors: list[Any] = [query, key, value, attn_mask, output]
        for i in copied:
            tensors[i] = None if tensors[i] is None else tensors[i].clone()
        *arguments, result = tensors
        call = FusedCall(*[*arguments, 0.0, is_causal, scale, enable_gqa])
        ACTIVE.recorders[level].compiled_call(call, result, path)
        return output.new_empty(0)


@_record.register_fake
def _(query: Tensor, *args: Any) -> Tensor:
    return query.new_empty(0)


def traced_call(
    level: int, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A call as the compiler traces it: attention is followed by the operator that records it."""
    if _is_fused(function):
        return _recorded(level, function(*args, **kwargs), *args, **kwargs)
    if (
        function in SOFTMAX and (args[0] if args else kwargs["input"]).dim() > 2
    ):  # attention as separate operations
        reject_compiled()
    if method := _checked(function):
        return getattr(args[0], method)(*args[1:], **kwargs)
    return function(*args, **kwargs)


def _recorded(
    level: int,
    output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if dropout_p > 0.0 or torch.compiler.is_exporting():  # its random numbers cannot be repeated
        reject_compiled()
    # graphs of CUDA write their outputs to the same memory again
    number, copied = _number(), range(5) if query.is_cuda else _from_inputs()
    tensors = [x if x is None else x.detach() for x in (query, key, value, attn_mask, output)]
    previous = OUTPUTS.mark if number else None
    options = (is_causal, scale, enable_gqa, _path(), level, list(copied), previous)
    OUTPUTS.mark = _record(*tensors, *options)
    setattr(OUTPUTS, f"call_{number}", tensors)
    return output


def _number() -> int:
    """How many calls the graph that is being traced records so far."""
    return sum(node.target is torch.ops.clearhead.record.default for node in traced_graph().nodes)


def _from_inputs() -> tuple[int, ...]:
    """Which arguments of the last call share memory with inputs, such as caches."""
    graph = traced_graph()
    inputs = {_memory(node) for node in graph.nodes if node.op in ("placeholder", "get_attr")}
    call = next(node for node in reversed(graph.nodes) if _is_fused(node.target))
    arguments: Any = FusedCall(*call.args, **call.kwargs)[:4]
    return tuple(
        i for i, node in enumerate(arguments) if node is not None and _memory(node) in inputs
    )


def _memory(node: fx.Node) -> int | None:
    x = node.meta.get("example_value")
    return x.untyped_storage()._cdata if isinstance(x, Tensor) else None


def _path() -> str:
    """The path of the calling module from the module or variable where the graph begins."""
    # L['self'].attn, or L['args'][0].attn in a decorated method
    path = re.sub(r"^[A-Z]\[[^]]*\](?<='args'\])\[0\]|^[A-Z]\[[^]]*\]", "", compiled_module_path())
    return ".".join(re.findall(r"[^.\[\]'\"]+", path))


def _is_fused(function: Any) -> bool:
    return getattr(function, "__name__", "") == "scaled_dot_product_attention"


def _checked(function: Any) -> str:
    """The name of a tensor's method written in Python, which the compiler traces by name only."""
    name = str(getattr(function, "__name__", ""))
    try:
        reject_opaque(name, function)
    except CaptureError:
        reject_compiled()
    return name if getattr(function, "__module__", "") == "torch._tensor" else ""


call_while_compiling(_path)
call_while_compiling(_number)
call_while_compiling(_from_inputs)
call_while_compiling(_is_fused)
call_while_compiling(_checked)


def in_compiled_graph() -> bool:
    """Whether the intercepted function is called by the compiler, or by a graph that it made."""
    if is_compiler_running():
        return True
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _module(frame) in DISPATCHERS:
        frame = frame.f_back
    if frame is None or not _is_generated(frame):
        return False
    while frame is not None:
        if frame.f_code.co_filename.endswith("_dynamo/eval_frame.py"):
            return True
        frame = frame.f_back
    return False


def _is_generated(frame: FrameType) -> bool:
    made_by_fx = frame.f_code.co_filename.startswith("<eval_with_key>")
    return made_by_fx or _module(frame).startswith(INDUCTOR)


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__") or ""


# Modules between the caller and an intercepted function, and those that torch.compile writes.
DISPATCHERS = frozenset(
    ["clearhead.recording._interception"]
    + [f"torch.{x}" for x in ("_ops", "overrides", "nn.functional", "functional", "_tensor")]
)
INDUCTOR = "torch._inductor.runtime.compile_tasks"
