"""Tables of what is known of tensors."""

import weakref
from typing import Any, Generic, TypeVar

from torch import Tensor

from clearhead.recording._operation import Operation, parts

Key = TypeVar("Key")
Value = TypeVar("Value")


class WeakTable(dict[int, tuple[weakref.ref[Key], Value]], Generic[Key, Value]):
    """Values by object, held by weak references: an entry vanishes with its object.

    Unlike WeakKeyDictionary it compares by identity, as tensors and modules may define equality.
    """

    def of(self, x: Any) -> Value | None:
        """The value of an object; None if it has none."""
        known = self.get(id(x))
        return known[1] if known is not None and known[0]() is x else None

    def put(self, x: Key, value: Value) -> None:
        """Set the value of an object."""
        key = id(x)
        self[key] = weakref.ref(x, lambda _: self.pop(key, None)), value

    def forget(self, x: Any) -> None:
        """Remove an object."""
        if self.of(x) is not None:
            del self[id(x)]


def clear_tables(owner: object) -> None:
    """Empty the tables that are attributes of an object."""
    for table in vars(owner).values():
        if isinstance(table, WeakTable):
            table.clear()


class Marks(WeakTable[Tensor, Value]):
    """Values of tensors, which some functions pass on from their first argument to their result."""

    def __init__(self, passed_by: frozenset[str]) -> None:
        super().__init__()
        self._passed_by = passed_by

    def pass_on(self, call: Operation) -> None:
        """Mark the results of a call as its first argument, or one in it, is marked."""
        if self and call.name in self._passed_by:
            known = [y for x in parts(call.first) if (y := self.of(x)) is not None]
            for x in parts(call.result) if known else ():
                self.put(x, known[0])
