"""Attention written as separate operations: tracked from product to softmax to product.

The result of each product of two tensors carries a history of the operations applied to it. A
product whose history contains a softmax, multiplied by values, is an attention. Histories are
held by weak references and vanish with their tensors.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from clearhead.recording import _products as products
from clearhead.recording._products import Factor, Product, factor_of_call
from clearhead.recording._steps import (
    LAYOUT,
    PLACEHOLDER,
    Step,
    autocast_dtype,
    lowest_precision,
    random_state,
)

SOFTMAX = frozenset(["special_softmax", "softmax", "_softmax", "_safe_softmax", "softmax_"])
DROPOUT = frozenset(["dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d"])

# Operations that may change the number of elements between product and softmax or values.
RESIZING = frozenset("cat concat __getitem__ narrow pad add __add__ __radd__".split())
MAX_HISTORY = 64


@dataclass(frozen=True, kw_only=True)
class History:
    """The operations applied to a product, before and after a softmax.

    The softmax ran over axis `dim` of `dims` axes, which has `keys` entries.
    """

    product: Product
    factors: tuple[Factor, Factor]
    pre_softmax: tuple[Step, ...] = ()
    post_softmax: tuple[Step, ...] = ()
    precision: torch.dtype
    dim: int = -1
    dims: int = 0
    keys: int = 0

    @property
    def is_weights(self) -> bool:
        """Whether a softmax has been applied."""
        return self.dims > 0

    def is_completed_by(self, product: Product) -> bool:
        """Whether a product with the weights as first operand sums over the keys."""
        if not self.is_weights:
            return False
        if not any(step.is_layout_only for step in self.post_softmax):  # axes in their places
            order = product.first_order
            return (product.dims - 1 if order is None else order[-1]) == self.dim
        resized = any(step.name in RESIZING for step in self.post_softmax)
        return resized or product.left.shape[-1] == self.keys

    def then(self, step: Step) -> "History":
        """The history with one more operation."""
        if self.is_weights:
            return replace(self, post_softmax=(*self.post_softmax, step))
        return replace(self, pre_softmax=(*self.pre_softmax, step))


@dataclass(frozen=True, kw_only=True)
class TrackedAttention:
    """A completed attention: the history of its weights, and the product with the values."""

    history: History
    values: Product


class OperationTracker:
    """Tracks tensors from product to softmax to product."""

    def __init__(self) -> None:
        self._histories: dict[int, tuple[weakref.ref[Tensor], History]] = {}
        self._factors: dict[int, tuple[weakref.ref[Tensor], Factor]] = {}
        self.softmaxes = 0

    def factor(self, x: Tensor) -> Factor:
        """The constant factor that `x` was multiplied by."""
        known = self._factors.get(id(x))
        return known[1] if known is not None and known[0]() is x else 1.0

    def call(
        self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Any, TrackedAttention | None]:
        """Make the call; return its result, and the attention that it completes, if any."""
        if name in products.FUNCTIONS:
            product = products.read_product(name, args, kwargs)
            if product is not None and not self._is_mixing(product):
                result = function(*args, **kwargs)
                return result, self._multiplied(name, product, args, kwargs, result)
        if name in SOFTMAX:
            result = function(*args, **kwargs)
            self._softmax(args, kwargs, result)
            return result, None
        followed = next(self._followed(args, kwargs), None)
        if followed is None:
            result = function(*args, **kwargs)
            self._track_factor(name, args, result)
            return result, None
        step = self._step(name, function, args, kwargs, followed)
        result = function(*args, **kwargs)
        self._track(step, followed, args, result)
        return result, None

    def clear(self) -> None:
        """Release all tensors."""
        self._histories.clear()
        self._factors.clear()

    def _history(self, x: Any) -> History | None:
        known = self._histories.get(id(x))
        return known[1] if known is not None and known[0]() is x else None

    def _keep(self, x: Tensor, history: History) -> None:
        if len(history.pre_softmax) + len(history.post_softmax) <= MAX_HISTORY:
            self._histories[id(x)] = weakref.ref(x, self._drop(self._histories, id(x))), history

    @staticmethod
    def _drop(table: dict[int, Any], name: int) -> Callable[[Any], None]:
        def drop(reference: Any) -> None:
            if name in table and table[name][0] is reference:
                del table[name]

        return drop

    def _is_mixing(self, product: Product) -> bool:
        """Whether the product mixes scores or weights among heads, before the values."""
        for oriented in (product, product.transposed()):
            history = self._history(oriented.first)
            if history is None:
                continue
            if history.is_weights and not history.is_completed_by(oriented):
                return True
            if isinstance(oriented.second, nn.Parameter):
                return not any(isinstance(x, nn.Parameter) for x in history.product[:2])
        return False

    def _multiplied(
        self,
        name: str,
        product: Product,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        result: Tensor,
    ) -> TrackedAttention | None:
        for values, operand in ((product, product.first), (product.transposed(), product.second)):
            history = self._history(operand)
            if history is not None and history.is_completed_by(values):
                history = replace(
                    history, precision=lowest_precision(history.precision, result.dtype)
                )
                return TrackedAttention(history=history, values=values)
        history = History(
            product=product,
            factors=(self.factor(product.first), self.factor(product.second)),
            precision=result.dtype,
        )
        if name == "baddbmm":
            affine = products.affine_of_baddbmm(args, kwargs)
            if affine is None:
                return None
            base, beta, alpha = affine
            if alpha != 1:
                history = history.then(Step("mul", torch.mul, (PLACEHOLDER, alpha)))
            if beta != 0:
                history = history.then(Step("add", torch.add, (PLACEHOLDER, base * beta)))
        self._keep(result, history)
        return None

    def _softmax(self, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        self.softmaxes += 1
        x = args[0] if args else kwargs.get("input")
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        history = self._history(x)
        if history is None or history.is_weights or not isinstance(dim, int) or result.dim() < 2:
            return
        dim %= result.dim()
        self._keep(
            result,
            replace(
                history,
                dim=dim,
                dims=result.dim(),
                keys=result.shape[dim],
                precision=lowest_precision(history.precision, result.dtype),
            ),
        )

    def _followed(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Tensor]:
        if not self._histories:
            return
        for arg in (*args, *kwargs.values()):
            for x in arg if isinstance(arg, list | tuple) else (arg,):
                if isinstance(x, Tensor) and self._history(x) is not None:
                    yield x

    def _step(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        followed: Tensor,
    ) -> Step | None:
        """The call as a step; None if it leaves all elements unchanged."""
        drops = name in DROPOUT and _drops(args, kwargs)
        if name in DROPOUT and not drops:
            return None
        return Step(
            name=_property_name(function) if name == "__get__" else name,
            function=function,
            args=tuple(_with_placeholder(arg, followed) for arg in args),
            kwargs={key: _with_placeholder(arg, followed) for key, arg in kwargs.items()},
            dtype=followed.dtype,
            random_state=random_state(followed) if drops else None,
            autocast=autocast_dtype(followed),
        )

    def _track(self, step: Step | None, followed: Tensor, args: Sequence[Any], result: Any) -> None:
        history = self._history(followed)
        if history is None:
            return
        if step is not None and step.name == "__setitem__":
            if args[0] is followed:
                self._keep(followed, history.then(step))
            return
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return
        if step is None:
            self._keep(result, history)
        elif result.numel() == followed.numel() or step.name in RESIZING:
            history = replace(history, precision=lowest_precision(history.precision, result.dtype))
            self._keep(result, history.then(step))

    def _track_factor(self, name: str, args: Sequence[Any], result: Any) -> None:
        """Store constant factors, also through changes of layout."""
        if not isinstance(result, Tensor) or not args or not result.is_floating_point():
            return
        moves = name in LAYOUT or name in ("__getitem__", "to", "type_as", "__get__")
        for x in args[:2]:
            if isinstance(x, Tensor) and x.dim() >= 2:
                factor = self.factor(x)
                multiplier = factor_of_call(name, args, x)
                if multiplier is not None:
                    factor = factor * multiplier
                elif not moves or (isinstance(factor, Tensor) and factor.dim()):
                    if result is x:  # changed in place
                        self._factors.pop(id(x), None)
                    continue
                if isinstance(factor, Tensor) or factor != 1.0:
                    drop = self._drop(self._factors, id(result))
                    self._factors[id(result)] = weakref.ref(result, drop), factor
                return


def _drops(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether this dropout is active: `dropout(input, p=0.5, training=True)`."""
    p = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    training = kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True))
    return bool(training) and p > 0.0


def _with_placeholder(arg: Any, followed: Tensor) -> Any:
    if arg is followed:
        return PLACEHOLDER
    if isinstance(arg, list | tuple):
        parts = [PLACEHOLDER if part is followed else part for part in arg]
        return parts if isinstance(arg, list) else tuple(parts)
    return arg


def _property_name(function: Callable[..., Any]) -> str:
    """The name of the attribute that a `__get__` reads, such as `T` or `mT`."""
    return str(getattr(getattr(function, "__self__", None), "__name__", "__get__"))
