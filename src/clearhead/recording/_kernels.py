"""Attention functions of other packages, which are wrapped while a capture is active."""

import inspect
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as futures_thread
from contextlib import ExitStack
from functools import cached_property, lru_cache, partial, update_wrapper
from threading import Lock, Thread
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, jit
from torch.backends import mha
from torch.overrides import handle_torch_function, has_torch_function

from clearhead.errors import CaptureError
from clearhead.recording._call_site import is_opaque
from clearhead.recording._compiled import ACTIVE, recording_compiler, without_recorders
from clearhead.recording._kernel_calls import IRRELEVANT, KERNELS, KernelCall, Reader
from clearhead.recording._torch_internals import (
    CUSTOM_OPERATORS,
    OPERATORS,
    SCRIPT_METHOD,
    DisableInterception,
    call_while_compiling,
    copied,
    custom_operator_bodies,
    inductor_graph,
    is_compiler_running,
    packaged_call,
    traced_output,
)


class Kernel:
    """A function of another package, which modes intercept as they do torch's own functions."""

    def __init__(self, function: FunctionType, reader: Reader | None) -> None:
        self._original, self.function = function, copied(function)
        update_wrapper(self, self.function)
        vars(self.function).update(vars(function))
        self.reader, self._entry = reader, _entry_with(function.__code__.co_freevars)
        self._call: Callable[..., Any] = self
        if hasattr(function, "_torchdynamo_disable"):
            self._call = torch.compiler.disable(self.__call__)

    def install(self) -> None:
        """Let the function call this object, wherever else it is referred to, by any name."""
        vars(self._original).setdefault("__wrapped__", self.function)  # has its signature
        defaults = self.function.__kwdefaults__ or {}  # other threads may call it meanwhile
        self._original.__kwdefaults__ = {**defaults, "_clearhead_kernel": self._call}
        self._original.__code__ = self._entry

    def remove(self) -> None:
        """Restore the function."""
        self._original.__code__ = self.function.__code__
        self._original.__kwdefaults__ = self.function.__kwdefaults__
        if vars(self._original)["__wrapped__"] is self.function:
            del vars(self._original)["__wrapped__"]

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
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


def _entry_with(variables: tuple[str, ...]) -> CodeType:
    """Code to replace that of a function with these closure variables; it calls the wrapper.

    A function's code can only be replaced by one with the same free variables.
    """
    names, call = ", ".join(variables), "_clearhead_kernel(*args, **kwargs)"
    entry = f"lambda *args, _clearhead_kernel, **kwargs: {call} if True else ({names})"
    source = f"lambda {names}: {entry}"
    function: FunctionType = eval(compile(source, __file__, "eval"))(*variables)  # noqa: S307
    return function.__code__.replace(co_freevars=variables)


@lru_cache  # compiled code is found by the entry's code again
def _kernel(function: FunctionType, _code: CodeType, reader: Reader | None) -> Kernel:
    return Kernel(function, reader)


def _loaded_kernels() -> Iterator[Kernel]:
    """Functions of the modules that are imported, each once, if they are not wrapped yet."""
    readers: dict[FunctionType, Reader | None] = {}
    loaded = (
        (sys.modules[package], known)
        for package, known in KERNELS.items()
        if sys.modules.get(package)
    )
    for package, known in loaded:
        for name, function in list(vars(package).items()):
            if is_opaque(name) and isinstance(function, FunctionType) and name[0] != "_":
                readers.setdefault(function, known.get(name))
    if (call := packaged_call()) is not None:
        readers[call] = None
    for function, reader in readers.items():
        if "_clearhead_kernel" not in (function.__kwdefaults__ or {}):
            yield _kernel(function, function.__code__, reader)


def _noted(original: Callable[..., Any]) -> Callable[..., Any]:
    """The call of a scripted object, intercepted by the active modes of the thread."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        function = partial(original, self)
        for recorder in () if torch.compiler.is_compiling() else ACTIVE.recorders:
            function = partial(recorder.scripted_call, self, function)
        return function(*args, **kwargs)

    return call


class _InterceptedBody:
    """The function of a custom operator, with interception of the calls inside it."""

    def __init__(self, body: Callable[..., Any]) -> None:
        self._body = body

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not ACTIVE.recorders:
            return self._body(*args, **kwargs)
        with ExitStack() as stack:
            for recorder in ACTIVE.recorders:
                stack.enter_context(recorder.resumed())
            return self._body(*args, **kwargs)


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


def compiler_functions() -> Iterator[tuple[type, str, Callable[..., Any]]]:
    """The methods of the compiler's classes to be replaced, as far as it is loaded."""
    if (traced := traced_output()) is not None:
        yield traced, "call_user_compiler", recording_compiler
    if (graph := inductor_graph()) is not None:  # also of the backward pass
        yield graph, "__call__", without_recorders


class _Wrappers:
    """Replaces the code of the functions, while any capture is active.

    The same with calls of TorchScript, in the classes of scripted functions and methods, with the
    start of threads, with the Python functions of custom operators, and with compiled graphs.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._removals = ExitStack()
        self._num_modules = 0
        self._operators: list[Any] = []

    def install(self) -> None:
        with self._lock:
            self._count += 1
            if self._count > 1:
                return
            self._install_functions()
            # else graphs call a kernel for whole layers, which they do not pass to modes
            self._removals.callback(mha.set_fastpath_enabled, mha.get_fastpath_enabled())
            mha.set_fastpath_enabled(False)
            for scripted, call in SCRIPTED_CALLS.items():
                self._replace(scripted, "__call__", call, _noted(call))
            self._replace(Thread, "start", START, _start)
            self._replace(ThreadPoolExecutor, "submit", SUBMIT, _submit)

    def update(self, called: Callable[..., Any]) -> None:
        """Find functions of packages, and custom operators, that are new inside the block."""
        is_new = isinstance(called, OPERATORS) and self._operators != CUSTOM_OPERATORS.valuerefs()
        if is_new or self._num_modules != len(sys.modules):
            with self._lock:
                if self._count:
                    self._install_functions()

    def remove(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                self._removals.close()

    def _install_functions(self) -> None:
        self._num_modules, self._operators = len(sys.modules), CUSTOM_OPERATORS.valuerefs()
        for owner, name, wrapper in compiler_functions():
            original = getattr(owner, name)
            if original.__module__ != wrapper.__module__:
                self._replace(owner, name, original, wrapper(original))
        for kernel in _loaded_kernels():
            kernel.install()
            self._removals.callback(kernel.remove)
        for bodies in custom_operator_bodies():
            new = {x: body for x, body in bodies.items() if not isinstance(body, _InterceptedBody)}
            self._removals.callback(bodies.update, new)
            bodies.update({device: _InterceptedBody(body) for device, body in new.items()})

    def _replace(self, owner: type, name: str, old: Any, new: Any) -> None:
        self._removals.callback(setattr, owner, name, old)
        setattr(owner, name, new)


SCRIPTED_CALLS = {scripted: scripted.__call__ for scripted in (jit.ScriptFunction, SCRIPT_METHOD)}
START, SUBMIT = Thread.start, ThreadPoolExecutor.submit
WRAPPERS = _Wrappers()


@call_while_compiling
def install_in_compiler() -> None:
    """Find the compiler if it was loaded inside the block."""
    WRAPPERS.update(install_in_compiler)
