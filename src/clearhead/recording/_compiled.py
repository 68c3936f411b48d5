"""Attention inside compiled graphs, through an operator that the graph calls with its tensors."""

import re
import sys
from collections.abc import Callable
from threading import local
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from clearhead.errors import CaptureError
from clearhead.recording._call_site import reject_compiled, reject_opaque
from clearhead.recording._torch_internals import (
    DisableInterception,
    call_while_compiling,
    compiled_module_path,
    is_compiler_running,
)


class Recorder(Protocol):
    """A mode that records calls made by compiled graphs."""

    def compiled_call(self, arguments: dict[str, Any], output: Tensor, path: str) -> None:
        """Record one call of `scaled_dot_product_attention`."""


class _Active(local):
    def __init__(self) -> None:
        self.recorders: list[Recorder] = []


ACTIVE = _Active()
"""The active modes of each thread; a graph refers to them by their number."""

SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


@torch.library.custom_op("clearhead::record", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,))
def _record(
    output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
    path: str,
    level: int,
) -> Tensor:
    """Record this call, and return a copy of the output.

    The inputs are copied, because a graph reuses their memory. The result depends on this
    operator, so that no compiler removes it.
    """
    arguments = {"query": query, "key": key, "value": value, "attn_mask": attn_mask}
    with DisableInterception():
        copies = {name: None if x is None else x.clone() for name, x in arguments.items()}
        flags = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        ACTIVE.recorders[level].compiled_call(copies | flags, output.clone(), path)
        return output.clone()


@_record.register_fake
def _(output: Tensor, *args: Any) -> Tensor:
    return torch.empty_like(output)


_record.register_autograd(lambda _, gradient: (gradient, *[None] * 9))


def traced_call(
    level: int, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A call as the compiler traces it: attention is followed by the operator that records it."""
    if _is_fused(function):
        return _recorded(level, function(*args, **kwargs), *args, **kwargs)
    if function in SOFTMAX and args[0].dim() > 2:  # attention as separate operations
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
    path = _path()
    options = (attn_mask, is_causal, scale, enable_gqa)
    copy: Tensor = _record(output, query, key, value, *options, path, level)
    return copy


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
