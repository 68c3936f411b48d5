"""Attention functions of other packages, which are wrapped while a capture is active."""

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clearhead.attention.stages import default_scale
from clearhead.errors import CaptureError
from clearhead.recording._compiled import ACTIVE
from clearhead.recording._torch_internals import DisableInterception


class KernelCall(NamedTuple):
    """One call, with all tensors in the layout of the package: tokens before heads, or after."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None
    is_causal: bool
    scale: float
    tokens_first: bool


def _flash(q: Tensor, k: Tensor, v: Tensor, causal: bool, **options: Any) -> KernelCall:
    """`flash_attn_func`: (batch, tokens, heads, head_dim); causal from the last query backwards."""
    queries, keys = q.shape[1], k.shape[1]
    mask = None
    if causal and queries != keys:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
    scale = options.pop("softmax_scale") or default_scale(q.shape[-1])
    return KernelCall(q, k, v, mask, causal and mask is None, scale, True)


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
    scale = scale or default_scale(query.shape[-1])
    return KernelCall(query, key, value, attn_bias, False, scale, True)


def _flex(
    query: Tensor, key: Tensor, value: Tensor, block_mask: Any, scale: float | None, **_: Any
) -> KernelCall:
    """`flex_attention`: (batch, heads, tokens, head_dim)."""
    from torch.nn.attention.flex_attention import create_mask

    mask = None
    if block_mask is not None:
        batch, heads = (block_mask.shape[0], block_mask.shape[1])
        sizes = (query.shape[-2], key.shape[-2])
        mask = create_mask(block_mask.mask_mod, batch, heads, *sizes, device=str(query.device))
    scale = scale or default_scale(query.shape[-1])
    return KernelCall(query, key, value, mask, False, scale, False)


class _Kernel(NamedTuple):
    read: Callable[..., KernelCall]
    unsupported: tuple[str, ...]


# Module and name of each function, how to read it, and arguments that must have their defaults.
KERNELS = {
    ("flash_attn", "flash_attn_func"): _Kernel(
        _flash, ("dropout_p", "window_size", "softcap", "alibi_slopes")
    ),
    ("xformers.ops", "memory_efficient_attention"): _Kernel(_xformers, ("p",)),
    ("torch.nn.attention.flex_attention", "flex_attention"): _Kernel(_flex, ("score_mod",)),
}


class _Wrappers:
    """Replaces the functions in all modules that imported them, while any capture is active."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._replaced: list[tuple[dict[str, Any], str, Any]] = []

    def install(self) -> None:
        with self._lock:
            self._count += 1
            if self._count > 1:
                return
            for (package, name), kernel in KERNELS.items():
                function = getattr(sys.modules.get(package), name, None)
                if function is not None:
                    self._replace(name, function, _wrapped(function, name, kernel))

    def remove(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                for namespace, name, function in self._replaced:
                    namespace[name] = function
                self._replaced.clear()

    def _replace(self, name: str, function: Any, wrapper: Any) -> None:
        for module in list(sys.modules.values()):
            namespace = getattr(module, "__dict__", {})
            if namespace.get(name) is function:
                self._replaced.append((namespace, name, function))
                namespace[name] = wrapper


WRAPPERS = _Wrappers()


def _wrapped(function: Callable[..., Any], name: str, kernel: _Kernel) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not ACTIVE.recorders or torch.compiler.is_compiling():
            return function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for option in kernel.unsupported:
            parameter = signature.parameters.get(option)
            if parameter is not None and bound.arguments[option] != parameter.default:
                raise CaptureError(f"{name} is not recorded with {option}; leave it out")
        with DisableInterception():
            result = function(*args, **kwargs)
            call = kernel.read(**bound.arguments)
        output = result[0] if isinstance(result, tuple) else result
        for recorder in reversed(ACTIVE.recorders):
            output = recorder.kernel_call(call, output)
        return (output, *result[1:]) if isinstance(result, tuple) else output

    return wrapper
