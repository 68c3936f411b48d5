"""What is known of tracked tensors: their operations so far, and their softmax."""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clearhead.recording._factors import DIVIDE, Factor
from clearhead.recording._layout import SELECTIONS, Step, run
from clearhead.recording._operation import Operation
from clearhead.recording._products import Product
from clearhead.recording._torch_internals import (
    DisableInterception,
    Versions,
    graph_task,
    versions_of,
)

SOFTMAX = frozenset(["special_softmax", "softmax", "_softmax", "_safe_softmax", "_sparse_softmax"])
LOG_SOFTMAX = frozenset(["log_softmax", "_log_softmax", "special_log_softmax"])
EXPONENTIAL = frozenset(["exp", "exp_", "special_exp"])
OTHER_EXPONENTIAL = frozenset(
    "exp2 exp2_ special_exp2 expm1 expm1_ special_expm1 __rpow__".split()
)  # not followed
SUBTRACT = frozenset("sub sub_ subtract subtract_ __sub__ __isub__".split())
LOGSUMEXP = frozenset(["logsumexp", "special_logsumexp"])

# Operations that may change the number of elements between product and softmax or values.
RESIZING = SELECTIONS | frozenset("cat concat concatenate pad add __add__ __radd__".split())


@dataclass(eq=False, kw_only=True)
class Softmax:
    """One softmax over axis `dim` of `dims` axes, which has `keys` entries.

    Attributes:
        module: The module that computed it; None outside modules.
        scored: Whether its input comes from a product of two tensors.
        operand_dims: The smaller number of axes of these; weights that a classifier computes from
            its parameters have two.
        origin: The function that its input comes from, if that is not followed; else empty.
        products: How many products it was recognised in as the weights of values.
        refusal: Why it is not recorded although it was recognised.
        is_used: Whether its result is used in another way than a change of layout.
        multiplied: Whether its result, not recognised as weights, was multiplied with a tensor.
        is_safe: Whether rows whose keys are all masked are zero, and not NaN.
    """

    module: nn.Module | None
    dim: int
    dims: int
    keys: int
    scored: bool
    operand_dims: int = 0
    origin: str = ""
    products: int = 0
    refusal: str = ""
    is_used: bool = True
    multiplied: bool = False
    is_safe: bool = False

    def use(self, others: Iterable[Tensor]) -> None:
        """Note that its result is multiplied with other tensors."""
        # otherwise a vector may hold one value for each class, and not for each token
        axes = 1 if self.scored or self.origin else 2
        self.multiplied |= any(not isinstance(y, nn.Parameter) and y.dim() >= axes for y in others)

    def why_unrecorded(self) -> str | None:
        """Why attention with this softmax is not recorded, or only a part of it; else None."""
        if self.refusal:
            return self.refusal
        if self.products:
            several = f"the record has the first of {self.products} products of its weights"
            return several if self.products > 1 else None
        is_large = min(self.dims, self.operand_dims) > 2
        if self.scored and (self.multiplied or (self.is_used and is_large)):
            return "no product of its weights with values was recognised"
        if not self.multiplied:
            return None
        known = f"its scores come from {self.origin}, which is not followed"
        return known if self.origin else "no product of queries and keys was recognised"


@dataclass(eq=False, kw_only=True)
class Normaliser:
    """The sum of exponentials over one axis, or its logarithm."""

    source: weakref.ref[Tensor]
    dim: int
    logarithm: bool

    @property
    def removed_by(self) -> frozenset[str]:
        """The operations that normalise with it."""
        return SUBTRACT if self.logarithm else DIVIDE


def normaliser_of_call(call: Operation) -> Normaliser | None:
    """The sum over one axis that a call computes; None for other calls."""
    if call.name != "sum" and call.name not in LOGSUMEXP:
        return None
    x, dim = call.first, call.argument(1, "dim")
    if isinstance(dim, list | tuple) and len(dim) == 1:
        dim = dim[0]
    if not isinstance(dim, int) or not isinstance(x, Tensor):
        return None
    is_logarithm = call.name in LOGSUMEXP
    return Normaliser(source=weakref.ref(x), dim=dim % x.dim(), logarithm=is_logarithm)


@dataclass(frozen=True, kw_only=True)
class History:
    """The operations applied to a product, before and after a softmax.

    Between both, scores may be exponentials without their sum, or logarithms of weights.
    """

    product: Product
    factors: tuple[Factor, Factor]
    pre_softmax: tuple[Step, ...] = ()
    post_softmax: tuple[Step, ...] = ()
    precision: torch.dtype
    form: Literal["scores", "exponentials", "logarithms", "weights"] = "scores"
    softmax: Softmax | None = None
    versions: Versions = ()  # of the operands, and of tensors in the steps

    @property
    def is_scored(self) -> bool:
        """Whether the product is one of activations, as scores are."""
        return not any(isinstance(x, nn.Parameter) for x in self.product[:2])

    @property
    def is_weights(self) -> bool:
        """Whether a softmax has been applied."""
        return self.form == "weights"

    @property
    def dim(self) -> int:
        """The axis of the softmax."""
        return -1 if self.softmax is None else self.softmax.dim

    @property
    def dims(self) -> int:
        """The number of axes of the softmax."""
        return 0 if self.softmax is None else self.softmax.dims

    def is_completed_by(self, product: Product) -> bool:
        """Whether a product with the weights as first operand sums over the keys."""
        if not self.is_weights or self.softmax is None:
            return False
        if not any(step.is_layout_only for step in self.post_softmax):  # axes in their places
            order = product.first_order
            return (product.dims - 1 if order is None else order[-1]) == self.dim
        resized = any(step.name in RESIZING for step in self.post_softmax)
        return resized or product.left.shape[-1] == self.softmax.keys

    def axes(self) -> Tensor | None:
        """`Product.axes` after the changes of layout before the softmax; None where not known."""
        moves = [replace(x, dtype=None) for x in self.pre_softmax if x.rearranges]
        with DisableInterception():
            try:
                return run(moves, self.product.axes())
            except RuntimeError:  # some are merged after a permutation
                return None

    def is_mixed_by(self, product: Product) -> bool:
        """Whether a product of the scores sums over another axis than theirs, such as heads."""
        axes = self.axes() if self.form == "scores" else None
        if axes is None or axes.dim() != product.first.dim():
            return False
        summed = axes.dim() - 1 if product.first_order is None else product.first_order[-1]
        return summed is not None and axes.stride(summed) >= self.product.strides()[1]

    def then(self, step: Step) -> "History":
        """The history with one more operation."""
        return self.with_step(step, len(self.steps))

    def with_step(self, step: Step, place: int) -> "History":
        """The history with a step inserted into its `steps` at this place."""
        steps = (*self.steps[:place], step, *self.steps[place:])
        versions = (*self.versions, *versions_of(step.tensors()))
        name = "post_softmax" if self.form in ("weights", "logarithms") else "pre_softmax"
        changed: Any = {name: steps, "versions": versions}
        return replace(self, **changed)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The operations since the softmax, or before it since the product."""
        return self.post_softmax if self.form in ("weights", "logarithms") else self.pre_softmax


class Softmaxes(list[Softmax]):
    """The softmaxes that modules have computed; `innermost` returns the innermost running one."""

    def __init__(self, innermost: Callable[[], nn.Module | None]) -> None:
        super().__init__()
        self._innermost = innermost

    def new(self, dim: int, like: Tensor, history: History | None = None) -> Softmax:
        """A softmax over an axis of a tensor, or the one that its history has already."""
        axis: Any = {"dim": dim, "dims": like.dim(), "keys": like.shape[dim]}
        if history is not None and history.softmax is not None:  # known from its exponentials
            vars(history.softmax).update(axis)
            return history.softmax
        operands = history.product[:2] if history is not None and history.is_scored else ()
        softmax = Softmax(
            module=self._innermost(),
            scored=bool(operands),
            operand_dims=min((x.dim() for x in operands), default=0),
            **axis,
        )
        if graph_task() is None or all(x.module is not softmax.module for x in self):
            self.append(softmax)  # checkpointing may stop before the product with values
        return softmax


@dataclass(frozen=True, kw_only=True)
class TrackedAttention:
    """A completed attention: the history of its weights, and the product with the values."""

    history: History
    values: Product

    def refuse(self, reason: str) -> None:
        """Set why it is not recorded, unless that is known."""
        if self.history.softmax is not None:
            self.history.softmax.refusal = self.history.softmax.refusal or reason
