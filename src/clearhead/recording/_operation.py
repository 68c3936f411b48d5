"""One intercepted call of a function of torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import Tensor, nn


@dataclass(eq=False)
class Operation:
    """A call of a function of torch; `result` is set when it has been made."""

    name: str
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: dict[str, Any]
    result: Any = None

    def __call__(self) -> Any:
        """Make the call, and return its result."""
        self.result = self.function(*self.args, **self.kwargs)
        return self.result

    @property
    def first(self) -> Any:
        """The first argument."""
        return self.argument(0, "input")

    @property
    def target(self) -> Any:
        """The tensor that the call writes into; None for other calls."""
        return self.kwargs.get("out", self.first if is_in_place(self.name) else None)

    @property
    def writes_whole(self) -> bool:
        """Whether it overwrites all elements of its first argument, in their order."""
        if self.name != "__setitem__":
            return self.name == "copy_"
        target, index, source = self.args
        slices = index if isinstance(index, tuple) else (index,)
        is_in_order = all(isinstance(part, slice) or part is ... for part in slices)
        return is_in_order and isinstance(source, Tensor) and target.shape == source.shape

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument that is given by its place or by its name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments, and in lists."""
        return list(chain.from_iterable(map(parts, (*self.args, *self.kwargs.values()))))

    def activations(self) -> list[Tensor]:
        """The tensors that are not parameters."""
        return [x for x in self.tensors() if not isinstance(x, nn.Parameter)]


def parts(x: Any) -> list[Tensor]:
    """A tensor, or those of a list."""
    return [y for y in (x if isinstance(x, list | tuple) else (x,)) if isinstance(y, Tensor)]


def is_in_place(name: str) -> bool:
    """Whether a function changes its first argument."""
    if name.startswith("__"):
        return name == "__setitem__" or name.startswith("__i")
    return name.endswith("_")
