"""Attention functions of other packages, which are wrapped while a capture is active."""

import inspect
import sys
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as futures_thread
from contextlib import ExitStack
from functools import cached_property, partial, update_wrapper, wraps
from threading import Lock, Thread
from typing import Any, NamedTuple

import torch
from torch import Tensor, jit
from torch.overrides import handle_torch_function, has_torch_function

from clearhead.attention.stages import default_scale
from clearhead.errors import CaptureError
from clearhead.recording._call_site import CallSite
from clearhead.recording._compiled import ACTIVE
from clearhead.recording._layout import Layout, lowest_precision
from clearhead.recording._record import AttentionRecord
from clearhead.recording._torch_internals import (
    SCRIPT_METHOD,
    DisableInterception,
    custom_operator_bodies,
    is_compiler_running,
)


class KernelCall(NamedTuple):
    """One call, with all tensors in the layout of the package: tokens before heads, or after."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None
    is_causal: bool
    scale: float | None
    tokens_first: bool


def _flash(
    causal: bool,
    softmax_scale: float | None,
    q: Any = None,
    k: Any = None,
    v: Any = None,
    **more: Any,
) -> KernelCall:
    """The functions of flash-attn: (batch, tokens, heads, head_dim), causal from the last query.

    `qkv` and `kv` have their parts on axis -3. With `cu_seqlens`, sequences lie one after another,
    (tokens, heads, head_dim). They are recorded as one, with a mask: a token attends to its own
    sequence.
    """
    if "qkv" in more:
        q, k, v = more["qkv"].unbind(-3)
    elif "kv" in more:
        k, v = more["kv"].unbind(-3)
    ends = [more.get(name, more.get("cu_seqlens")) for name in ("cu_seqlens_q", "cu_seqlens_k")]
    if ends[0] is not None:
        q, k, v = (x[None] for x in (q, k, v))
    elif not causal or q.shape[1] == k.shape[1]:
        return KernelCall(q, k, v, None, causal, softmax_scale, True)
    (own, left), (of, left_of) = map(_sequences, (q, k), ends)
    mask = own[:, None] == of
    if causal:
        mask &= left[:, None] <= left_of
    return KernelCall(q, k, v, mask, False, softmax_scale, True)


def _sequences(x: Tensor, ends: Tensor | None) -> tuple[Tensor, Tensor]:
    """The number of each token's sequence, and how many of its tokens are left."""
    count = x.shape[1]
    ends = torch.tensor([0, count], device=x.device) if ends is None else ends
    places = torch.arange(count, device=x.device)
    number = torch.bucketize(places, ends[1:], right=True)
    return number, ends[1:][number] - places


def _xformers(
    query: Tensor, key: Tensor, value: Tensor, attn_bias: Any, scale: float | None, **_: Any
) -> KernelCall:
    """`memory_efficient_attention`: (batch, tokens, heads, head_dim)."""
    if query.dim() != 4:
        raise CaptureError("memory_efficient_attention is recorded with tensors of four axes only")
    if attn_bias is not None and not isinstance(attn_bias, Tensor):
        batch, queries, heads, _width = query.shape
        shape = (batch, heads, queries, key.shape[1])
        attn_bias = attn_bias.materialize(shape, dtype=query.dtype, device=query.device)
    return KernelCall(query, key, value, attn_bias, False, scale, True)


def _flex(
    query: Tensor, key: Tensor, value: Tensor, block_mask: Any, scale: float | None, **_: Any
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
    """The record of a call, whose output has a batch."""
    layout = Layout((0, 2, 1, 3) if call.tokens_first else None)
    query, key, value = map(layout.canonical, call[:3])
    return AttentionRecord(
        name=site.path,
        query=query,
        key=key,
        value=value,
        attn_mask=call.attn_mask,
        is_causal=call.is_causal,
        scale=default_scale(query.shape[-1]) if call.scale is None else call.scale,
        enable_gqa=query.shape[-3] != key.shape[-3],
        raw_output=raw_output,
        layout=layout,
        precision=lowest_precision(query.dtype, raw_output.dtype),
    )


Reader = Callable[..., KernelCall]

# Module and name of each function, how to read it, and arguments that must have their defaults.
FLASH = ("dropout_p", "window_size", "softcap", "alibi_slopes", "block_table")
KERNELS: dict[tuple[str, str], tuple[Reader, tuple[str, ...]]] = {
    ("xformers.ops", "memory_efficient_attention"): (_xformers, ("p",)),
    ("torch.nn.attention.flex_attention", "flex_attention"): (_flex, ("score_mod",)),
}
for form in ("", "qkvpacked_", "kvpacked_", "varlen_", "varlen_qkvpacked_", "varlen_kvpacked_"):
    KERNELS["flash_attn", f"flash_attn_{form}func"] = _flash, FLASH


class Kernel:
    """A function of another package, which modes intercept as they do torch's own functions."""

    def __init__(
        self, function: Callable[..., Any], read: Reader, must_be_default: tuple[str, ...]
    ) -> None:
        update_wrapper(self, function)
        self.function, self._read, self._must_be_default = function, read, must_be_default

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, or the active modes."""
        if not torch.compiler.is_compiling():
            tensors = tuple(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
            if has_torch_function(tensors):
                return handle_torch_function(self, tensors, *args, **kwargs)
        return self.function(*args, **kwargs)

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> KernelCall:
        """The call with these arguments; `CaptureError` if one cannot be recorded."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for option in self._must_be_default:
            parameter = self._signature.parameters.get(option)
            if parameter is not None and bound.arguments[option] != parameter.default:
                name = self.function.__name__
                raise CaptureError(f"{name} is not recorded with {option}; leave it out")
        with DisableInterception():
            return self._read(**bound.arguments)


def _noted(original: Callable[..., Any]) -> Callable[..., Any]:
    """The call of a scripted object, intercepted by the active modes of the thread."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        function = partial(original, self)
        for recorder in () if torch.compiler.is_compiling() else ACTIVE.recorders:
            function = partial(recorder.scripted_call, self, function)
        return function(*args, **kwargs)

    return call


def _visible(body: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a custom operator, with interception of the calls inside it."""

    @wraps(body)
    def call(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            for recorder in ACTIVE.recorders:
                stack.enter_context(recorder.resumed())
            return body(*args, **kwargs)

    return call


def _inherited(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is called in another thread, with the modes that are active in this one."""
    recorders = () if is_compiler_running() else ACTIVE.recorders
    modes = [recorder.for_thread() for recorder in recorders]

    def call(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode)
            return function(*args, **kwargs)

    return call if modes else function


def _start(thread: Thread) -> None:
    if getattr(thread, "_target", None) is not futures_thread._worker:  # its tasks are, one by one
        thread.run = _inherited(thread.run)  # type: ignore[method-assign]
    START(thread)


def _submit(executor: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return SUBMIT(executor, _inherited(function), *args, **kwargs)


class _Holder(NamedTuple):
    """A dictionary that has a function, under this name."""

    namespace: dict[Any, Any]
    name: Any
    function: Any


class _Wrappers:
    """Replaces the functions in all modules that imported them, while any capture is active.

    The same with calls of TorchScript, in the classes of scripted functions and methods, with the
    start of threads, and with the Python functions of custom operators.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._replaced: list[_Holder] = []
        self._num_modules = 0
        self._holders: list[_Holder] = []

    def install(self) -> None:
        with self._lock:
            self._count += 1
            if self._count > 1:
                return
            self._replace_kernels()
            for bodies in custom_operator_bodies():
                for device, body in bodies.items():
                    self._replaced.append(_Holder(bodies, device, body))
                    bodies[device] = _visible(body)
            for scripted, call in SCRIPTED_CALLS.items():
                setattr(scripted, "__call__", _noted(call))  # noqa: B010
            Thread.start = _start  # type: ignore[method-assign, assignment]
            ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign]

    def remove(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                for namespace, name, function in self._replaced:
                    namespace[name] = function
                self._replaced.clear()
                for scripted, call in SCRIPTED_CALLS.items():
                    setattr(scripted, "__call__", call)  # noqa: B010
                Thread.start, ThreadPoolExecutor.submit = START, SUBMIT  # type: ignore[method-assign]

    def _replace_kernels(self) -> None:
        kernels = {}
        for (package, name), how in KERNELS.items():
            function = getattr(sys.modules.get(package), name, None)
            if function is not None and not isinstance(function, Kernel):
                kernels[id(function)] = Kernel(function, *how)
        # A search of thousands of modules takes longer than many a forward pass, so it is repeated
        # only after imports. Functions of other packages may be stored anywhere at any time.
        is_loaded = any(x in sys.modules for x, _ in KERNELS if not x.startswith("torch."))
        if self._num_modules != len(sys.modules) or is_loaded:
            self._num_modules = len(sys.modules)
            namespaces = [getattr(module, "__dict__", {}) for module in list(sys.modules.values())]
            tables = [x for names in namespaces for x in list(names.values()) if type(x) is dict]
            self._holders = _find_holders([*namespaces, *tables], kernels)
        for holder in (*self._holders, *_find_holders([vars(sys.modules["__main__"])], kernels)):
            kernel = kernels.get(id(holder.function))
            if kernel is not None and holder.namespace.get(holder.name) is holder.function:
                self._replaced.append(holder)
                holder.namespace[holder.name] = kernel


def _find_holders(namespaces: Sequence[dict[Any, Any]], ids: Container[int]) -> list[_Holder]:
    """Where these functions are stored, under any name."""
    return [
        _Holder(namespace, name, x)
        for namespace in namespaces
        for name, x in list(namespace.items())
        if id(x) in ids
    ]


SCRIPTED_CALLS = {scripted: scripted.__call__ for scripted in (jit.ScriptFunction, SCRIPT_METHOD)}
START, SUBMIT = Thread.start, ThreadPoolExecutor.submit
WRAPPERS = _Wrappers()
