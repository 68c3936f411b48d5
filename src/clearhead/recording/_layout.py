"""The axis order of a model's tensors, and back."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn


class Heads(NamedTuple):
    """Where the heads are, if not on the third axis from the end.

    `merged` of them share the first of three axes with the batch, as where models use `torch.bmm`.
    `before_windows`: of five axes theirs is the second, and the third is that of the windows.
    """

    merged: int = 1
    before_windows: bool = False

    def apart(self, x: Tensor) -> Tensor:
        """At least four axes: three become (batch, heads, rows, columns), two (1, 1, …)."""
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

    def joined(self, x: Tensor, dims: int) -> Tensor:
        """Back to the model's number of axes."""
        match dims:
            case 2:
                return x[0, 0]
            case 3:
                return x.flatten(0, 1)
            case 5 if self.before_windows:
                return x.transpose(1, 2)
        return x


HEADS_THIRD_LAST = Heads()


@dataclass(frozen=True)
class Layout:
    """A permutation of the axes (None: as they are), and then heads as an axis of their own.

    `order` gives, for each axis wanted, the model's axis.
    """

    order: tuple[int, ...] | None = None
    heads: Heads = HEADS_THIRD_LAST

    def canonical(self, x: Tensor) -> Tensor:
        """From the model's layout."""
        return self.heads.apart(x if self.order is None else x.permute(self.order))

    def original(self, x: Tensor, like: Tensor) -> Tensor:
        """Back to the model's layout, with the shape of `like`."""
        x = self.heads.joined(x, like.dim())
        if self.order is not None:
            x = x.permute([self.order.index(axis) for axis in range(like.dim())])
        return x.reshape(like.shape)


def mask_apart(heads: Heads, mask: Tensor, dims: int) -> Tensor:
    """A mask over attention of `dims` axes, so that it broadcasts over the heads set apart."""
    return heads.apart(mask) if dims < 4 or mask.dim() == dims else mask


# How modules of the libraries in use call the number of their heads.
HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")


def find_heads(module: nn.Module | None, x: Tensor) -> Heads:
    """Where the heads of these queries are, as far as the module says.

    It says so by its number of heads; where they share an axis with the batch, also by its widths:
    the last axis must then be one head's share.
    """
    count = next((n for n in (_number(module, name) for name in HEADS) if n), None)
    if count is not None and x.dim() == 5:
        return Heads(before_windows=x.shape[-3] != count == x.shape[1])
    if count is None or x.dim() != 3 or x.shape[0] % count:
        return Heads()
    width = _number(module, "embed_dim") or _number(module, "hidden_size")
    head_dim = _number(module, "head_dim") or (width and width // count)
    return Heads(count) if head_dim is None or head_dim == x.shape[-1] else Heads()


def _number(module: Any, name: str) -> int | None:
    number = getattr(module, name, None)
    return number if isinstance(number, int) and not isinstance(number, bool) else None
