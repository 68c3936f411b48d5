"""Attention functions of other packages, which are wrapped while a capture is active."""

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as futures_thread
from contextlib import ExitStack
from functools import cached_property, lru_cache, partial, update_wrapper, wraps
from threading import Lock, Thread
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, jit
from torch.overrides import handle_torch_function, has_torch_function

from clearhead.attention import masked
from clearhead.attention.stages import default_scale
from clearhead.errors import CaptureError
from clearhead.recording._call_site import OPAQUE, CallSite
from clearhead.recording._compiled import ACTIVE
from clearhead.recording._layout import PLACEHOLDER, Layout, Step, lowest_precision
from clearhead.recording._record import AttentionRecord
from clearhead.recording._torch_internals import (
    SCRIPT_METHOD,
    DisableInterception,
    custom_operator_bodies,
    is_compiler_running,
    packaged_call,
)


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
    if after >= 0:
        mask = mask & (distance <= after)
    if before >= 0:
        mask = mask & (distance >= -before)
    if alibi_slopes is not None:
        mask = (-alibi_slopes[..., None, None] * distance.abs()).masked_fill(~mask, -torch.inf)
    return KernelCall(q, k, v, mask, False, softmax_scale, True, softcap)


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
    query, key, value = map(layout.canonical, call[:3])
    mask, steps = call.attn_mask, []
    if call.softcap:
        steps.append(Step("softcap", _capped, (PLACEHOLDER, call.softcap)))
        if mask is not None:
            steps.append(Step("mask", masked, (PLACEHOLDER, mask)))
    return AttentionRecord(
        name=site.path,
        query=query,
        key=key,
        value=value,
        attn_mask=None if steps else mask,
        is_causal=call.is_causal,
        scale=default_scale(query.shape[-1]) if call.scale is None else call.scale,
        enable_gqa=query.shape[-3] != key.shape[-3],
        pre_softmax=tuple(steps),
        raw_output=raw_output,
        layout=layout,
        precision=lowest_precision(query.dtype, raw_output.dtype, call.precision),
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


class Kernel:
    """A function of another package, which modes intercept as they do torch's own functions."""

    def __init__(self, function: FunctionType, reader: Reader | None) -> None:
        code, namespace = function.__code__, function.__globals__
        parts = (function.__name__, function.__defaults__, function.__closure__)
        self._original, self.function = function, FunctionType(code, namespace, *parts)
        self.function.__kwdefaults__ = function.__kwdefaults__
        update_wrapper(self, self.function)
        vars(self.function).update(vars(function))
        self.reader, self._entry = reader, _entry.__code__.replace(co_freevars=code.co_freevars)

    def install(self) -> None:
        """Let the function call this object, wherever else it is referred to, by any name."""
        vars(self._original).setdefault("__wrapped__", self.function)  # has its signature
        self._original.__code__ = self._entry
        self._original.__kwdefaults__ = {"_kernel": self}

    def remove(self) -> None:
        """Restore the function."""
        self._original.__code__ = self.function.__code__
        self._original.__kwdefaults__ = self.function.__kwdefaults__
        if vars(self._original)["__wrapped__"] is self.function:
            del vars(self._original)["__wrapped__"]

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

    def read(self, reader: Reader, args: tuple[Any, ...], kwargs: dict[str, Any]) -> KernelCall:
        """The call with these arguments; `CaptureError` if one cannot be recorded."""
        arguments: dict[str, Any] = self._signature.bind(*args, **kwargs).arguments
        arguments |= arguments.pop("kwargs", {})
        read = inspect.signature(reader).parameters
        for option, value in arguments.items():
            known, of_call = option in read or option in IRRELEVANT, self._signature.parameters
            if not known and not _is_default(value, of_call.get(option)):
                name = self.function.__name__
                raise CaptureError(f"{name} is not recorded with {option}; leave it out")
        with DisableInterception():
            return reader(**{name: x for name, x in arguments.items() if name in read})


def _is_default(value: Any, parameter: inspect.Parameter | None) -> bool:
    default = None if parameter is None else parameter.default
    return value is default or (not isinstance(value, Tensor) and bool(value == default))


def _entry(*args: Any, _kernel: Kernel, **kwargs: Any) -> Any:
    """The code of a wrapped function."""
    return _kernel(*args, **kwargs)


@lru_cache  # compiled code is found by the entry's code again
def _kernel(function: FunctionType, _code: CodeType, reader: Reader | None) -> Kernel:
    return Kernel(function, reader)


def _loaded_kernels() -> Iterator[Kernel]:
    """Functions of the modules that are imported, each once, if they are not wrapped yet."""
    readers: dict[FunctionType, Reader | None] = {}
    for package, known in KERNELS.items():
        for name, function in list(vars(sys.modules.get(package, object)).items()):
            if isinstance(function, FunctionType) and name[0] != "_" and OPAQUE.search(name):
                readers.setdefault(function, known.get(name))
    if (call := packaged_call()) is not None:
        readers[call] = None
    for function, reader in readers.items():
        if function.__code__.co_code != _entry.__code__.co_code:
            yield _kernel(function, function.__code__, reader)


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


class _Wrappers:
    """Replaces the code of the functions, while any capture is active.

    The same with calls of TorchScript, in the classes of scripted functions and methods, with the
    start of threads, and with the Python functions of custom operators.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._replaced: list[tuple[dict[Any, Any], Any, Any]] = []
        self._kernels: list[Kernel] = []
        self._num_modules = 0

    def install(self) -> None:
        with self._lock:
            self._count += 1
            if self._count > 1:
                return
            self._install_kernels()
            for bodies in custom_operator_bodies():
                for device, body in bodies.items():
                    self._replaced.append((bodies, device, body))
                    bodies[device] = _visible(body)
            for scripted, call in SCRIPTED_CALLS.items():
                setattr(scripted, "__call__", _noted(call))  # noqa: B010
            Thread.start = _start  # type: ignore[method-assign, assignment]
            ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign]

    def update(self) -> None:
        """Find the functions of packages that were imported inside the block."""
        if self._num_modules != len(sys.modules):
            with self._lock:
                if self._count:
                    self._install_kernels()

    def _install_kernels(self) -> None:
        self._num_modules = len(sys.modules)
        for kernel in _loaded_kernels():
            kernel.install()
            self._kernels.append(kernel)

    def remove(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                for namespace, name, function in self._replaced:
                    namespace[name] = function
                self._replaced.clear()
                while self._kernels:
                    self._kernels.pop().remove()
                for scripted, call in SCRIPTED_CALLS.items():
                    setattr(scripted, "__call__", call)  # noqa: B010
                Thread.start, ThreadPoolExecutor.submit = START, SUBMIT  # type: ignore[method-assign]


SCRIPTED_CALLS = {scripted: scripted.__call__ for scripted in (jit.ScriptFunction, SCRIPT_METHOD)}
START, SUBMIT = Thread.start, ThreadPoolExecutor.submit
WRAPPERS = _Wrappers()
