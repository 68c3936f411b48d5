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


def _flash_qkv(qkv: Tensor, **options: Any) -> KernelCall:
    """`flash_attn_qkvpacked_func`: (batch, tokens, 3, heads, head_dim)."""
    q, k, v = qkv.unbind(-3)
    return _flash(q, k, v, **options)


def _flash_kv(q: Tensor, kv: Tensor, **options: Any) -> KernelCall:
    """`flash_attn_kvpacked_func`: (batch, tokens, 2, heads, head_dim)."""
    k, v = kv.unbind(-3)
    return _flash(q, k, v, **options)


def _flash_varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    causal: bool,
    **options: Any,
) -> KernelCall:
    """`flash_attn_varlen_func`: sequences one after another, (tokens, heads, head_dim).

    They are recorded as one, with a mask: a token attends to its own sequence.
    """
    (own, left), (of, left_of) = (
        _sequences(x, len(tokens)) for x, tokens in ((cu_seqlens_q, q), (cu_seqlens_k, k))
    )
    mask = own[:, None] == of
    if causal:
        mask &= left[:, None] <= left_of
    scale = options.pop("softmax_scale") or default_scale(q.shape[-1])
    return KernelCall(q[None], k[None], v[None], mask, False, scale, True)


def _sequences(ends: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The number of each token's sequence, and how many of its tokens are left."""
    places = torch.arange(count, device=ends.device)
    number = torch.bucketize(places, ends[1:], right=True)
    return number, ends[1:][number] - places


def _flash_varlen_qkv(qkv: Tensor, cu_seqlens: Tensor, **options: Any) -> KernelCall:
    """`flash_attn_varlen_qkvpacked_func`: (tokens, 3, heads, head_dim)."""
    q, k, v = qkv.unbind(-3)
    return _flash_varlen(q, k, v, cu_seqlens, cu_seqlens, **options)


def _flash_varlen_kv(q: Tensor, kv: Tensor, **options: Any) -> KernelCall:
    """`flash_attn_varlen_kvpacked_func`: (tokens, 2, heads, head_dim)."""
    k, v = kv.unbind(-3)
    return _flash_varlen(q, k, v, **options)


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
FLASH = ("dropout_p", "window_size", "softcap", "alibi_slopes", "block_table")
KERNELS = {
    ("flash_attn", "flash_attn_func"): _Kernel(_flash, FLASH),
    ("flash_attn", "flash_attn_qkvpacked_func"): _Kernel(_flash_qkv, FLASH),
    ("flash_attn", "flash_attn_kvpacked_func"): _Kernel(_flash_kv, FLASH),
    ("flash_attn", "flash_attn_varlen_func"): _Kernel(_flash_varlen, FLASH),
    ("flash_attn", "flash_attn_varlen_qkvpacked_func"): _Kernel(_flash_varlen_qkv, FLASH),
    ("flash_attn", "flash_attn_varlen_kvpacked_func"): _Kernel(_flash_varlen_kv, FLASH),
    ("xformers.ops", "memory_efficient_attention"): _Kernel(_xformers, ("p",)),
    ("torch.nn.attention.flex_attention", "flex_attention"): _Kernel(_flex, ("score_mod",)),
}


class _Wrappers:
    """Replaces the functions in all modules that imported them, while any capture is active."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._replaced: list[tuple[dict[str, Any], str, Any]] = []
        self._num_modules = 0
        self._importers: dict[Any, list[dict[str, Any]]] = {}

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
        for namespace in (*self._find_importers(name, function), vars(sys.modules["__main__"])):
            if namespace.get(name) is function:
                self._replaced.append((namespace, name, function))
                namespace[name] = wrapper

    def _find_importers(self, name: str, function: Any) -> list[dict[str, Any]]:
        """The namespaces of modules that imported a function.

        A search of thousands of modules takes longer than many a forward pass, so it is repeated
        only after further imports.
        """
        if self._num_modules != len(sys.modules):
            self._num_modules = len(sys.modules)
            self._importers.clear()
        if function not in self._importers:
            modules = list(sys.modules.values())
            namespaces = [getattr(module, "__dict__", {}) for module in modules]
            self._importers[function] = [x for x in namespaces if x.get(name) is function]
        return self._importers[function]


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
            recorders, ACTIVE.recorders = ACTIVE.recorders, []  # one call, one record
            try:
                result = function(*args, **kwargs)
            finally:
                ACTIVE.recorders = recorders
            call = kernel.read(**bound.arguments)
        output = result[0] if isinstance(result, tuple) else result
        missing = call.query.dim() - output.dim()
        for recorder in reversed(ACTIVE.recorders):
            recorded = recorder.kernel_call(call, output[None] if missing else output)
            output = recorded[0] if missing else recorded
        return (output, *result[1:]) if isinstance(result, tuple) else output

    return wrapper
