"""Interception of torch function calls: which of them compute attention."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from types import FrameType, FunctionType
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from clearhead.errors import CaptureError, InputError
from clearhead.recording._call_numbers import CallNumbers, PartsOfCalls
from clearhead.recording._call_site import (
    BATCHED,
    COMPILED,
    NESTED,
    CallSite,
    CallSites,
    reject_compiled,
    reject_opaque,
)
from clearhead.recording._compiled import ACTIVE, traced_call
from clearhead.recording._explicit import OperationTracker
from clearhead.recording._kernel_calls import Reader, kernel_record
from clearhead.recording._kernels import WRAPPERS, Kernel, install_in_compiler
from clearhead.recording._record import AttentionRecord, map_tensors, with_fields
from clearhead.recording._record_of_call import (
    UNKNOWN_HEADS,
    FusedCall,
    explicit_record,
    fused_record,
    read_call,
)
from clearhead.recording._torch_internals import (
    DisableInterception,
    OperatorOverload,
    function_modes,
    is_batched,
    is_compiler_running,
    set_modes,
    skip_while_compiling,
    without_override_check,
)

# Python functions of torch that call functions to be intercepted: attention, forms of softmax, and
# layers that a backward pass recomputes (checkpointing).
UNWRAPPED = frozenset(
    ["multi_head_attention_forward", "softmin", "gumbel_softmax", "backward", "grad"]
)

# Called with each attention; a returned tensor replaces the attention's output.
OnAttention = Callable[[AttentionRecord], Tensor | None]


class InterceptionMode(TorchFunctionMode):
    """Calls `on_attention` for every attention computed inside its block, in this thread.

    Records are named by the paths of their modules, further calls of a module with "#2", "#3" ….
    A fused call is recorded from its arguments. Attention written as separate operations is
    tracked from product to softmax to product. Attention that a backward pass computes again
    (gradient checkpointing) has its first name again. Compiled graphs are recorded if `compiled` is
    set. The functions of torch and of `clearhead.attention` both dispatch through
    `torch.overrides`, so both are intercepted.
    """

    def __init__(
        self,
        on_attention: OnAttention,
        outside: FrameType | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.records_compiled = compiled
        self._on_attention = on_attention
        self.call_sites = CallSites(outside or sys._getframe(1))
        self.tracker = OperationTracker(self.call_sites.innermost)
        self._numbers = CallNumbers()
        self._parts = PartsOfCalls()
        self._lock = RLock()
        self._is_open, self._in_kernel = True, False
        self._is_of_thread = False
        self._of_threads: list[InterceptionMode] = []

    @skip_while_compiling
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Make the call, and record it if it computes attention."""
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():
            install_in_compiler()
            return traced_call(func, args, kwargs)
        if not self._is_open or is_compiler_running():
            return func(*args, **kwargs)
        WRAPPERS.update(func)
        name = _name(func)
        if name in UNWRAPPED and isinstance(func, FunctionType):
            with self.resumed():
                return without_override_check(func)(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            return self._fused(func, args, kwargs)
        if isinstance(func, Kernel):
            if func.reader is not None:
                return self._kernel(func, func.reader, args, kwargs)
            self.call_sites.packaged_call()  # others are refused below
        reject_opaque(name, func)
        result, attention = self.tracker.call(name, func, args, kwargs)
        while self.tracker.joined:
            self._parts.join(self.tracker.joined.pop())
        if attention is not None:
            site = self.call_sites.here()
            record = explicit_record(attention, result, site)
            if record is not None:
                return self._emit(record, result, site)
            attention.refuse("its weights have other axes than queries and keys")
        return result

    def __enter__(self) -> Self:
        ACTIVE.recorders.append(self)
        if not self._is_of_thread:
            WRAPPERS.install()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self in ACTIVE.recorders:  # not where another thread ends the block
            ACTIVE.recorders.remove(self)
        if not self._is_of_thread:  # a thread may outlive the block
            WRAPPERS.remove()
        set_modes([mode for mode in function_modes() if mode is not self])  # others may be newer
        for message in (COMPILED, BATCHED):  # the compiler wraps them in a longer one
            if error is not None and not isinstance(error, CaptureError) and message in str(error):
                raise CaptureError(message) from None
        if isinstance(error, AssertionError) and "NestedTensor" in str(error):
            raise CaptureError(NESTED) from None

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Intercept the calls inside a function that this mode was called with, or in a graph."""
        if self._in_kernel or self in function_modes():
            yield
            return
        super().__enter__()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            super().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def for_thread(self) -> "InterceptionMode":
        """A mode for a thread that is started inside the block, with the same records."""
        mode = InterceptionMode(self._on_attention, compiled=self.records_compiled)
        mode._numbers, mode._lock, mode._is_open = self._numbers, self._lock, self._is_open
        mode._is_of_thread = True
        mode.call_sites.roots = self.call_sites.roots
        self._of_threads.append(mode)
        return mode

    def clear(self) -> None:
        """Release models and tensors, also in threads that are still running."""
        with self._lock:
            self._is_open = False
            self.tracker.clear()
            self.call_sites.clear()
            self._parts.clear()
        for mode in self._of_threads:
            mode.clear()

    def parts(self) -> dict[str, tuple[str, ...]]:
        """The records that are parts of one attention, by the path of the module."""
        parts = self._parts.by_path()
        for mode in self._of_threads:
            parts |= mode.parts()
        return parts

    def joined(self) -> tuple[tuple[str, ...], ...]:
        """Names of records whose outputs are joined in one tensor."""
        in_threads = (names for mode in self._of_threads for names in mode.joined())
        return (*self._parts.joined.values(), *in_threads)

    def unrecorded(self) -> tuple[tuple[str, str], ...]:
        """Path and reason of what may be attention and is not recorded as a whole."""
        composed = (
            (path, f"it computes attention in {len(names)} parts (heads, or blocks of tokens)")
            for path, names in self._parts.by_path().items()
        )
        joined = (
            (names[0], f"{len(names)} attentions are joined to one, such as single heads")
            for names in self._parts.joined.values()
        )
        reasons = ((softmax.module, softmax.why_unrecorded()) for softmax in self.tracker.softmaxes)
        path_of = self.call_sites.known_path
        missed = self.call_sites.not_intercepted.items()
        followed = ((path_of(x), reason) for x, reason in reasons if reason is not None)
        in_threads = (x for mode in self._of_threads for x in mode.unrecorded())
        return tuple(dict.fromkeys((*composed, *joined, *followed, *missed, *in_threads)))

    def compiled_calls(self, calls: Iterable[tuple[FusedCall, Tensor, str]]) -> None:
        """Record calls of a compiled graph: arguments, output, and the path from its root."""
        if not self.records_compiled:
            reject_compiled()
        running = self.call_sites.running(sys._getframe(1))
        for call, output, path in calls:
            site = self.call_sites.within(running, path)
            with DisableInterception():
                record = fused_record(call, output, site)
            self._emit(record, output, site)

    def scripted_call(
        self, called: Any, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Make a call of TorchScript, which is followed as one operation."""
        self.call_sites.scripted_call(called)
        result, _ = self.tracker.call("scripted", function, args, kwargs)
        return result

    def _kernel(
        self, kernel: Kernel, reader: Reader, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self._in_kernel = True  # its custom operators are part of the call
        try:
            result = kernel(*args, **kwargs)
        finally:
            self._in_kernel = False
        if not self._is_open:  # the block has ended, in another thread
            return result
        call = kernel.read(reader, args, kwargs)
        output, *rest = result if isinstance(result, tuple) else (result,)
        if not isinstance(output, Tensor):
            kind = type(output).__name__
            raise CaptureError(
                f"{kernel.function.__name__} returned {kind}; expected a tensor as its output"
            )
        has_axes = output.dim() == call.query.dim()  # none for the batch, or for heads
        shape = (*call.query.shape[:-1], output.shape[-1])
        raw_output, site = output if has_axes else output.reshape(shape), self.call_sites.here()
        changed = self._emit(kernel_record(call, raw_output, site), raw_output, site)
        output = output if changed is raw_output else changed.reshape(output.shape)
        return (output, *rest) if isinstance(result, tuple) else output

    def _fused(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        call, state = read_call(args, kwargs)
        if call.query.is_nested:
            raise CaptureError(NESTED)
        output = func(*args, **kwargs)
        site = self.call_sites.here()
        return self._emit(fused_record(call, output, site, func, state), output, site)

    def _emit(self, record: AttentionRecord | None, output: Tensor, site: CallSite) -> Tensor:
        if record is None:
            self.call_sites.not_intercepted[site.path] = UNKNOWN_HEADS
            return output
        if is_batched(record.query):
            raise CaptureError(BATCHED)
        with self._lock:
            return self._numbered(record, output, site) if self._is_open else output

    def _numbered(self, record: AttentionRecord, output: Tensor, site: CallSite) -> Tensor:
        path = record.name
        numbers = self._numbers.of_call(path, site.running.checkpoints)
        names = (f"{path}#{x}" if x > 1 else path for x in numbers)
        record, *others = (with_fields(record, name=name) for name in names)
        noted = self._parts.add(site.running.call, site.module, record)
        with DisableInterception():
            if ACTIVE.in_graph:  # which uses the memory again
                record, *others = (map_tensors(x, Tensor.clone) for x in (record, *others))
            replacement = self._on_attention(record)
            if not all(_same(self._on_attention(other), replacement) for other in others):
                raise CaptureError(REPEATED.format(path, len(numbers)))
        if replacement is not None:
            _check_replacement(replacement, record)
            output = record.layout.original(replacement, output).to(output)
        self.tracker.outputs.put(output, noted)
        return output


REPEATED = (
    "{}: a backward pass computes one of its {} calls again, and which one is not known; use "
    "torch.utils.checkpoint, or change all of these calls in the same way"
)


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and one.equal(other))


def _check_replacement(replacement: Any, record: AttentionRecord) -> None:
    expected = tuple(record.output.shape)
    if not isinstance(replacement, Tensor) or tuple(replacement.shape) != expected:
        shape = getattr(replacement, "shape", None)
        got = type(replacement).__name__ if shape is None else tuple(shape)
        raise InputError(
            f"{record.name}: the replacement of attention's output must have its shape {expected}, "
            f"got {got}"
        )


def _name(function: Callable[..., Any]) -> str:
    """A function's name, without the overload that operators carry."""
    name = getattr(function, "__name__", "")
    return name.partition(".")[0] if isinstance(function, OperatorOverload) else name
