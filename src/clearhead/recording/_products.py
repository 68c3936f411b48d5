"""Matrix products and constant factors, however a model calls them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

Factor = float | Tensor

MULTIPLY = frozenset("mul mul_ __mul__ __rmul__ __imul__ multiply".split())
DIVIDE = frozenset("div div_ __truediv__ __itruediv__ __div__ true_divide divide".split())


def factor_of_call(name: str, args: Sequence[Any], x: Tensor) -> Factor | None:
    """The factor that a call multiplies `x` by, if it is one number per matrix; else None."""
    if (name not in MULTIPLY and name not in DIVIDE) or len(args) != 2:
        return None
    other = args[1] if args[0] is x else args[0]
    if name in DIVIDE and args[0] is not x:
        return None
    if isinstance(other, Tensor):
        if other.dim() and (other.dim() < 3 or other.shape[-2:] != (1, 1) or other.dim() > x.dim()):
            return None
        return 1.0 / other if name in DIVIDE else other
    if isinstance(other, bool) or not isinstance(other, int | float) or not math.isfinite(other):
        return None
    if name in DIVIDE:
        return 1.0 / other if other else None
    return float(other)


def divided(x: Tensor, factor: Factor) -> Tensor:
    """`x` before the multiplication by `factor`."""
    if not isinstance(factor, Tensor) and factor in (0.0, 1.0):
        return x
    precise = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return precise / factor


Order = tuple[int | None, ...] | None
Axis = TypeVar("Axis", int, int | None)

FUNCTIONS = frozenset(
    "mm matmul __matmul__ __rmatmul__ bmm baddbmm addmm einsum linear tensordot".split()
)


class Product(NamedTuple):
    """left (*batch, rows, inner) · right (*batch, columns, inner) ᵀ.

    The operands permuted by their orders are left and right; the result permuted by `order` is
    (*batch, rows, columns). None: no permutation.
    """

    first: Tensor
    second: Tensor
    first_order: Order = None
    second_order: Order = None
    order: tuple[int, ...] | None = None

    @property
    def left(self) -> Tensor:
        """(*batch, rows, inner)."""
        return permuted(self.first, self.first_order)

    @property
    def right(self) -> Tensor:
        """(*batch, columns, inner)."""
        return permuted(self.second, self.second_order)

    @property
    def dims(self) -> int:
        """The number of axes of the result."""
        return max(self.first.dim(), self.second.dim())

    def transposed(self) -> "Product":
        """The product with rows and columns exchanged."""
        order = list(self.order or range(self.dims))
        order[-1], order[-2] = order[-2], order[-1]
        return Product(
            self.second, self.first, self.second_order, self.first_order, _or_none(order)
        )


def _or_none(order: Sequence[Axis]) -> tuple[Axis, ...] | None:
    return None if list(order) == list(range(len(order))) else tuple(order)


def read_product(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Product | None:
    """The product of two tensors that a call computes; None for other calls."""
    if name == "linear" and len(args) > 1 and isinstance(args[1], nn.Parameter):
        return None
    if name == "einsum":
        return _read_einsum(args)
    if name == "tensordot":
        return _read_tensordot(args, kwargs)
    names = ("input", "other", "mat2", "weight")
    if name in ("baddbmm", "addmm"):
        args, names = args[1:], ("batch1", "batch2", "mat1", "mat2")
    operands = [*args, *(kwargs[key] for key in names if key in kwargs)]
    if name == "linear":
        match operands[:2]:
            case [Tensor() as left, Tensor() as right] if not isinstance(right, nn.Parameter):
                return Product(left, right) if min(left.dim(), right.dim()) > 1 else None
        return None
    if name == "__rmatmul__":
        operands = operands[::-1]
    match operands[:2]:
        case [Tensor() as left, Tensor() as right] if left.dim() >= 2 and right.dim() >= 2:
            swapped = (*range(right.dim() - 2), right.dim() - 1, right.dim() - 2)
            return Product(left, right, None, swapped)
    return None


def _read_einsum(args: Sequence[Any]) -> Product | None:
    match args:
        case [str() as equation, Tensor() as left, Tensor() as right]:
            pass
        case [str() as equation, [Tensor() as left, Tensor() as right]]:
            pass
        case _:
            return None
    letters = _letters(equation, left.dim(), right.dim())
    return None if letters is None else _arrange(left, right, *letters)


def _read_tensordot(args: Sequence[Any], kwargs: dict[str, Any]) -> Product | None:
    operands = [*args[:2], *(kwargs[key] for key in ("a", "b") if key in kwargs)]
    dims = kwargs.get("dims", args[2] if len(args) > 2 else 2)
    match operands, dims:
        case [Tensor() as left, Tensor() as right], [[int() as first], [int() as second]]:
            pass
        case [Tensor() as left, Tensor() as right], 1:
            first, second = -1, 0
        case _:
            return None
    letters = "abcdefghijklmnopqrstuvwxyz"
    left_axes, rest = letters[: left.dim()], letters[left.dim() :]
    inner = left_axes[first]
    free = rest[: right.dim() - 1]
    second %= right.dim()
    right_axes = free[:second] + inner + free[second:]
    return _arrange(left, right, left_axes, right_axes, left_axes.replace(inner, "") + free)


def _letters(equation: str, left_dim: int, right_dim: int) -> tuple[str, str, str] | None:
    """The axes of both operands and of the result, one letter each, ellipsis expanded."""
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    first, _, second = inputs.partition(",")
    if not arrow:
        joined = inputs.replace(",", "").replace("...", "")
        unrepeated = "".join(sorted(x for x in set(joined) if joined.count(x) == 1))
        out = ("..." if "..." in inputs else "") + unrepeated
    spare = [x for x in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if x not in equation]
    batch_dims = max(
        left_dim - len(first.replace("...", "")), right_dim - len(second.replace("...", ""))
    )
    if batch_dims > len(spare):
        return None
    batch = "".join(spare[: max(batch_dims, 0)])

    def spell(axes: str, dim: int | None) -> str:
        count = len(batch) if dim is None else dim - len(axes.replace("...", ""))
        return axes.replace("...", batch[len(batch) - count :] if count else "")

    left, right = spell(first, left_dim), spell(second, right_dim)
    repeated = len(set(left)) < len(left) or len(set(right)) < len(right)
    return None if repeated else (left, right, spell(out, None))


def _arrange(
    left: Tensor, right: Tensor, left_axes: str, right_axes: str, out: str
) -> Product | None:
    inner = [x for x in left_axes if x in right_axes and x not in out]
    rows = [x for x in out if x in left_axes and x not in right_axes]
    columns = [x for x in out if x in right_axes and x not in left_axes]
    if len(inner) != 1 or not rows or not columns or set(left_axes + right_axes) != {*out, *inner}:
        return None
    row, column = rows[-1], columns[-1]
    batch = [x for x in out if x not in (row, column)]  # one operand may lack some of them
    return Product(
        left,
        right,
        _or_none([_index(x, left_axes) for x in [*batch, row, *inner]]),
        _or_none([_index(x, right_axes) for x in [*batch, column, *inner]]),
        _or_none([out.index(x) for x in [*batch, row, column]]),
    )


def _index(letter: str, axes: str) -> int | None:
    return axes.index(letter) if letter in axes else None


def permuted(x: Tensor, order: "Order") -> Tensor:
    """`x` with its axes in that order; None is a new axis of size 1."""
    if order is None:
        return x
    x = x.permute([axis for axis in order if axis is not None])
    for position, axis in enumerate(order):
        if axis is None:
            x = x.unsqueeze(position)
    return x


def affine_of_call(
    name: str, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Any, float, float] | None:
    """Base, beta and alpha of a call that computes beta · base + alpha · product; else None."""
    if name == "linear":
        base = kwargs.get("bias", args[2] if len(args) > 2 else None)
        return None if base is None else (base, 1, 1)
    if name not in ("baddbmm", "addmm"):
        return None
    beta, alpha = kwargs.get("beta", 1), kwargs.get("alpha", 1)
    base = args[0] if args else kwargs.get("input")
    return None if (beta, alpha) == (0, 1) else (base, beta, alpha)
