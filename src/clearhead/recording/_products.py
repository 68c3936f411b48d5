"""Matrix products, however a model calls them."""

from collections.abc import Sequence
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from clearhead.recording._operation import Operation

Order = tuple[int | None, ...] | None
Axis = TypeVar("Axis", int, int | None)

# The axes of the operands and of the result, as in `torch.einsum`.
EQUATIONS = {
    **dict.fromkeys(
        "mm matmul __matmul__ __rmatmul__ linalg_matmul bmm baddbmm addmm linalg_multi_dot "
        "chain_matmul".split(),
        "...ij,...jk->...ik",
    ),
    "linear": "...ij,kj->...ik",
}
FUNCTIONS = frozenset([*EQUATIONS, "einsum", "tensordot", "inner"])

# Products, and other functions of pairs of vectors, that are not followed.
OTHER_FUNCTIONS = frozenset(
    "addbmm addbmm_ baddbmm_ addmm_ mv addmv addmv_ dot vdot outer ger kron cdist bilinear "
    "linalg_vecdot cosine_similarity pairwise_distance embedding_bag conv1d conv2d conv3d "
    "_sparse_mm sparse_sampled_addmm hspmm smm sspaddmm _int_mm _scaled_mm _grouped_mm "
    "grouped_mm".split()
)

# The names of operands given by keyword, in their order.
OPERANDS = ("input", "mat1", "batch1", "a", "other", "mat2", "batch2", "weight", "b")


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
        pairs = ((self.first, self.first_order), (self.second, self.second_order))
        return max(x.dim() if order is None else len(order) for x, order in pairs)

    def strides(self) -> tuple[int, int]:
        """The smallest strides of rows and of batch axes in `axes`; those of columns are less."""
        columns = max(2, self.right.shape[-2])
        return columns, columns * max(2, self.left.shape[-2])

    def axes(self) -> Tensor:
        """A tensor of the result's shape without data, whose strides identify the axes."""
        (*batch, rows, _), (*other, columns, _) = self.left.shape, self.right.shape
        row, size = self.strides()
        shape = (*torch.broadcast_shapes(batch, other), size // row, row)
        x = torch.empty(shape, device="meta")[..., :rows, :columns]
        return x if self.order is None else x.permute([*map(self.order.index, range(self.dims))])

    def is_of_first(self, axis: int) -> bool:
        """Whether an axis of the result comes from the first operand."""
        place = axis if self.order is None else self.order.index(axis)
        order = self.first_order or range(-self.dims, 0)
        return place < self.dims - 1 and order[place] is not None

    def places(self) -> tuple[int, ...]:
        """The axes of the result in the places that they have in the first; () if all have."""
        axes = range(self.dims)
        first, result = self.first_order or tuple(axes), self.order or tuple(axes)
        known = first != result and len(first) == len(result) and None not in first
        return tuple(result[first.index(i)] for i in axes) if known else ()

    def transposed(self) -> "Product":
        """The product with rows and columns exchanged."""
        order = list(self.order or range(self.dims))
        order[-1], order[-2] = order[-2], order[-1]
        return Product(
            self.second, self.first, self.second_order, self.first_order, _or_none(order)
        )


def _or_none(order: Sequence[Axis]) -> tuple[Axis, ...] | None:
    return None if list(order) == list(range(len(order))) else tuple(order)


def read_product(call: Operation) -> Product | None:
    """The product of two tensors that a call computes; None for other calls."""
    name = call.name
    operands = [*call.args, *(call.kwargs[key] for key in OPERANDS if key in call.kwargs)]
    equation = EQUATIONS.get(name)
    if name == "einsum":
        equation, *operands = operands
        operands = operands[0] if len(operands) == 1 else operands
    elif name == "linalg_multi_dot":
        operands = list(operands[0])
    elif name in ("baddbmm", "addmm"):
        operands = operands[1:]
    elif name == "__rmatmul__":
        operands = operands[::-1]
    match operands[:2]:
        case [Tensor() as left, Tensor() as right] if min(left.dim(), right.dim()) > 1:
            pass
        case _:
            return None
    if name != "linear" and any(isinstance(x, Tensor) for x in operands[2:]):
        return None
    if name == "inner":
        equation = _of_tensordot(left.dim(), right.dim(), ([-1], [-1]))
    if name == "tensordot":
        equation = _of_tensordot(left.dim(), right.dim(), call.kwargs.get("dims", operands[2:]))
    if equation is None or (name == "linear" and isinstance(right, nn.Parameter)):
        return None
    orders = _orders(equation, left.dim(), right.dim())
    return None if orders is None else Product(left, right, *orders)


def _of_tensordot(left_dim: int, right_dim: int, dims: Any) -> str | None:
    """The equation of a sum over one axis; None for several."""
    match dims:
        case [[int() as first], [int() as second]] | [[[int() as first], [int() as second]]]:
            pass
        case 1 | [1]:
            first, second = -1, 0
        case _:
            return None
    left, free = ascii_lowercase[:left_dim], ascii_lowercase[left_dim : left_dim + right_dim - 1]
    inner, second = left[first], second % right_dim
    return f"{left},{free[:second]}{inner}{free[second:]}->{left.replace(inner, '')}{free}"


@lru_cache
def _orders(
    equation: str, left_dim: int, right_dim: int
) -> tuple[Order, Order, tuple[int, ...] | None] | None:
    """The orders of a `Product`; None unless one axis is summed over, of rows and columns each."""
    left, right, out = _letters(equation, left_dim, right_dim)
    inner = [x for x in left if x in right and x not in out]
    rows = [x for x in out if x in left and x not in right]
    columns = [x for x in out if x in right and x not in left]
    repeated = len(set(left)) < len(left) or len(set(right)) < len(right)
    if repeated or len(inner) != 1 or not rows or not columns or {*left, *right} != {*out, *inner}:
        return None
    row, column = rows[-1], columns[-1]
    batch = [x for x in out if x not in (row, column)]  # one operand may lack some of them
    return (
        _or_none([_index(x, left) for x in [*batch, row, *inner]]),
        _or_none([_index(x, right) for x in [*batch, column, *inner]]),
        _or_none([out.index(x) for x in [*batch, row, column]]),
    )


def _letters(equation: str, left_dim: int, right_dim: int) -> tuple[str, str, str]:
    """The axes of both operands and of the result, one letter each, ellipsis expanded."""
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    left, _, right = inputs.partition(",")
    if not arrow:
        letters = inputs.replace(",", "").replace(".", "")
        unrepeated = sorted(x for x in letters if letters.count(x) == 1)
        out = "".join(["..." if "..." in inputs else "", *unrepeated])
    counts = [dim - len(x.replace("...", "")) for x, dim in ((left, left_dim), (right, right_dim))]
    spare = "".join(x for x in ascii_uppercase if x not in equation)[: max(0, *counts)]
    left, right, out = (
        x.replace("...", spare[len(spare) - count :])
        for x, count in ((left, counts[0]), (right, counts[1]), (out, len(spare)))
    )
    return left, right, out


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


def affine_of_call(call: Operation) -> tuple[Any, float, float] | None:
    """Base, beta and alpha of a call that computes beta · base + alpha · product; else None."""
    if call.name == "linear":
        base = call.argument(2, "bias")
        return None if base is None else (base, 1, 1)
    if call.name not in ("baddbmm", "addmm"):
        return None
    beta, alpha = call.kwargs.get("beta", 1), call.kwargs.get("alpha", 1)
    return None if (beta, alpha) == (0, 1) else (call.first, beta, alpha)
