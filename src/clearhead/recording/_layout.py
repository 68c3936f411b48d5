"""The axis order of a model's tensors, and back."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn


class HeadAxes(NamedTuple):
    """The axis of the heads, where it is not the third from the end.

    Attributes:
        merged: This many heads share the first of three axes with the batch, as in models that
            use `torch.bmm`.
        before_windows: Of five axes, the heads are on the second and windows on the third.
        packed: This many heads are the rows of one key head, each with its only query, as in the
            decoding steps of transformers. (Keys and values have no such axis.)
    """

    merged: int = 1
    before_windows: bool = False
    packed: int = 1

    def separate(self, x: Tensor) -> Tensor:
        """Give `x` at least four axes: (batch, heads, rows, columns)."""
        if self.packed > 1:
            return x if x.shape[-2] == 1 else x.flatten(1, 2).unsqueeze(2)
        match x.dim():
            case 2:
                return x[None, None]
            case 3 if x.shape[0] == 1:
                return x.unsqueeze(1)
            case 3:
                return x.reshape(x.shape[0] // self.merged, self.merged, *x.shape[1:])
            case 5 if self.before_windows:
                return x.transpose(1, 2)
        return x

    def restore(self, x: Tensor, dims: int) -> Tensor:
        """Back to the model's number of axes."""
        if self.packed > 1:
            return x.reshape(x.shape[0], -1, self.packed, x.shape[-1])
        match dims:
            case 2:
                return x[0, 0]
            case 3:
                return x.flatten(0, 1)
            case 5 if self.before_windows:
                return x.transpose(1, 2)
        return x


HEADS_THIRD_FROM_END = HeadAxes()


@dataclass(frozen=True)
class Layout:
    """A permutation of the axes (None: unchanged), followed by the separation of the heads.

    `order` gives the model's axis for each axis of the result.
    """

    order: tuple[int, ...] | None = None
    heads: HeadAxes = HEADS_THIRD_FROM_END

    def canonical(self, x: Tensor) -> Tensor:
        """From the model's layout."""
        return self.heads.separate(x if self.order is None else x.permute(self.order))

    def original(self, x: Tensor, like: Tensor) -> Tensor:
        """Back to the model's layout, with the shape of `like`."""
        x = self.heads.restore(x, like.dim())
        if self.order is not None:
            x = x.permute([self.order.index(axis) for axis in range(like.dim())])
        return x.reshape(like.shape)


def with_axes(x: Tensor, dims: int) -> Tensor:
    """`x` with at least `dims` axes: new ones in front, as broadcasting adds them."""
    return x[(None,) * (dims - x.dim())] if x.dim() < dims else x


def separate_mask(heads: HeadAxes, mask: Tensor, dims: int) -> Tensor:
    """A mask for attention of `dims` axes, in a shape that broadcasts over the separated heads."""
    if heads == HEADS_THIRD_FROM_END and dims > 3:
        return mask
    return heads.separate(with_axes(mask, dims))


# The attributes in which modules of common libraries store their number of heads.
HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")


def packed_groups(module: nn.Module | None, query: Tensor, key: Tensor) -> int:
    """How many query heads transformers has packed into the rows of each key head; else 1."""
    groups = 1 if module is None else module.__dict__.get("num_key_value_groups", 1)
    if groups == 1 or query.dim() != 4 or query.shape[1:3] != (key.shape[1], groups):
        return 1
    config = getattr(module, "config", None)
    counts = (_number(source, name) for source in (module, config) for name in HEADS)
    heads = next((n for n in counts if n), None)
    return int(groups) if query.shape[1] * groups == heads else 1


def find_heads(module: nn.Module | None, x: Tensor) -> HeadAxes:
    """The axis of the heads of these queries, derived from the module's attributes.

    Heads that share an axis with the batch are recognised by the number of heads, and by a last
    axis as wide as one head.
    """
    count = next((n for n in (_number(module, name) for name in HEADS) if n), None)
    if count is not None and x.dim() == 5:
        return HeadAxes(before_windows=x.shape[-3] != count == x.shape[1])
    if count is None or x.dim() != 3 or x.shape[0] % count:
        return HeadAxes()
    width = _number(module, "embed_dim") or _number(module, "hidden_size")
    head_dim = _number(module, "head_dim") or (width and width // count)
    return HeadAxes(count) if head_dim is None or head_dim == x.shape[-1] else HeadAxes()


def _number(module: Any, name: str) -> int | None:
    number = getattr(module, name, None)
    return number if isinstance(number, int) and not isinstance(number, bool) else None
