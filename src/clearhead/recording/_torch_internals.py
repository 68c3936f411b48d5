"""The private parts of torch that recording needs."""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from types import FrameType, FunctionType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import checkpoint

Function = TypeVar("Function", bound=Callable[..., Any])

OperatorOverload = torch._ops.OpOverload
OPERATORS = (torch._ops.OpOverload, torch._ops.OpOverloadPacket, torch._ops.HigherOrderOperator)
SCRIPT_METHOD = torch._C.ScriptMethod
DisableInterception = torch._C.DisableTorchFunction
"""A context manager in which calls do not reach `__torch_function__`."""


# Tensors with the numbers of changes in place that they had.
Versions = tuple[tuple[Tensor, int], ...]


def versions_of(tensors: Iterable[Tensor]) -> Versions:
    """Tensors with their versions; inference tensors have none."""
    return tuple((x, x._version) for x in tensors if not x.is_inference())


def is_modified(versions: Versions) -> bool:
    """Whether a tensor was changed in place since."""
    return any(x._version != version for x, version in versions)


def is_view_of_parameter(x: Tensor) -> bool:
    """Whether a tensor was made from a parameter as a view of it."""
    return isinstance(x._base, torch.nn.Parameter)


def storage_of(x: Tensor) -> int | None:
    """An identifier of a tensor's memory, the same for its views; None without a memory."""
    try:
        storage: int = x.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):
        return None
    return storage


def is_true(x: Tensor) -> bool:
    """Whether the only number of a tensor is not zero; False for meta, fake and traced tensors."""
    try:
        return bool(x)
    except RuntimeError:
        return False


def function_modes() -> list[Any]:
    """The modes that intercept calls of this thread now; not one that handles a call."""
    modes: list[Any] = torch.overrides._get_current_function_mode_stack()
    return modes


def set_modes(modes: Sequence[Any]) -> None:
    """Let these modes, and no others, intercept the calls of this thread."""
    for _ in function_modes():
        torch._C._pop_torch_function_stack()
    for mode in modes:
        torch._C._push_on_torch_function_stack(mode)


CUSTOM_OPERATORS = torch._library.custom_ops.OPDEFS  # those made by torch.library.custom_op


def custom_operator_bodies() -> list[dict[Any, Callable[..., Any]]]:
    """The Python functions of each operator made by `torch.library.custom_op`, by device.

    Those of torch, more than a hundred, are left out.
    """
    return _bodies(tuple(CUSTOM_OPERATORS.valuerefs()))


@lru_cache(maxsize=1)
def _bodies(operators: Sequence[Any]) -> list[dict[Any, Callable[..., Any]]]:
    existing = [operator for reference in operators if (operator := reference()) is not None]
    return [
        operator._backend_fns
        for operator in existing
        if not getattr(operator._init_fn, "__module__", "").startswith("torch.")
        or operator._init_fn.__module__ == "torch._library.triton"  # of any package
    ]


def packaged_call() -> FunctionType | None:
    """The function that calls a package of AOTInductor; None if none is loaded."""
    model = getattr(sys.modules.get("torch._inductor.package"), "AOTICompiledModel", None)
    return None if model is None else model.__call__


def graph_task() -> int | None:
    """The number of the backward pass that is running, as when checkpointed layers are repeated."""
    number: int = torch._C._current_graph_task_id()
    return None if number == -1 else number


CHECKPOINTING = checkpoint.__file__


def checkpoint_of(frame: FrameType) -> tuple[Any, bool]:
    """The segment that a function of torch's checkpointing runs, and whether again.

    Only its identity matters. It is None for other functions.
    """
    variables, name = frame.f_locals, frame.f_code.co_name
    match name:
        case "forward" | "backward":
            return variables.get("ctx"), name == "backward"
        case "checkpoint" if (generator := variables.get("gen")) is not None:
            return generator.gi_frame.f_locals.get("new_frame"), False
        case "unpack_hook" if "frame" in variables:
            return variables["frame"], True
    return None, False


def sequence_of(frame: FrameType) -> list[Any] | None:
    """The modules and functions of which `checkpoint_sequential` runs some; else None."""
    known = frame.f_code.co_name == "forward" and frame.f_code.co_filename == CHECKPOINTING
    functions: list[Any] | None = frame.f_locals.get("functions") if known else None
    return functions


def is_batched(x: Tensor) -> bool:
    """Whether a tensor is one entry of a batch of `torch.vmap`."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            return True
        x = functorch.get_unwrapped(x)
    return False


def is_wrapped(x: Tensor) -> bool:
    """Whether a tensor belongs to a function transformation, such as `torch.func.grad`."""
    return torch._C._functorch.is_functorch_wrapped_tensor(x)


def unwrapped(x: Tensor) -> Tensor:
    """The tensor outside of all function transformations."""
    return unwrapped(torch._C._functorch.get_unwrapped(x)) if is_wrapped(x) else x


def call_while_compiling(function: Function) -> Function:
    """A decorator: the compiler calls the function, where it only traces any other.

    The same as `torch.compiler.assume_constant_result`, without importing the compiler (2 s).
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def skip_while_compiling(function: Function) -> Function:
    """A decorator: the compiler neither compiles the function, nor what it calls, in eager mode.

    The same as `torch.compiler.disable`, without importing the compiler, which can still trace it.
    """
    skip = torch._C._dynamo.eval_frame._FrameAction.SKIP
    strategy = torch._C._dynamo.eval_frame._FrameExecStrategy(skip, skip)
    code = function.__code__
    torch._C._dynamo.eval_frame.set_code_exec_strategy(code, strategy)
    return function


def is_compiler_running() -> bool:
    """Whether the compiler is at work in this thread, and calls the model without data."""
    return torch._guards.TracingContext.try_get() is not None


def traced_output() -> type | None:
    """The class of what the compiler has traced; None while the compiler is not loaded."""
    return getattr(sys.modules.get("torch._dynamo.output_graph"), "OutputGraph", None)


def inductor_graph() -> type | None:
    """The class of the default compiler's graphs; None while the compiler is not loaded."""
    return getattr(sys.modules.get("torch._inductor.output_code"), "CompiledFxGraph", None)


def is_of_inductor(frame: FrameType) -> bool:
    """Whether a function is one that the default compiler has written."""
    name = frame.f_globals.get("__name__") or ""
    return name.startswith("torch._inductor.runtime.compile_tasks")


@lru_cache
def without_override_check(function: FunctionType) -> Callable[..., Any]:
    """The same Python function without its check for overrides.

    The calls inside it are then intercepted one by one, instead of the function as a whole.
    """
    checks = [name for name in function.__globals__ if name.startswith("has_torch_function")]
    namespace = {**function.__globals__, **dict.fromkeys(checks, lambda *_: False)}
    del namespace["__name__"]  # else the compiler would use the functions of that module
    return copied(function, namespace)


def copied(function: Any, namespace: dict[str, Any] | None = None) -> FunctionType:
    """A copy of a Python function, by default with the same global variables."""
    known = function.__globals__ if namespace is None else namespace
    parts = (function.__name__, function.__defaults__, function.__closure__)
    copy = FunctionType(function.__code__, known, *parts)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
