"""The calls of a module: numbers, also of repeated calls, and parts of one attention."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from clearhead.recording._record import AttentionRecord
from clearhead.recording._torch_internals import graph_task


class Checkpoints(NamedTuple):
    """The checkpointed segments that a call is part of, as objects that live as long as they do.

    Attributes:
        running: Those whose forward pass makes the call, also within a segment computed again.
        repeated: The one that a backward pass computes again, if any.
    """

    running: tuple[Any, ...] = ()
    repeated: Any = None


@dataclass(eq=False)
class _Segment:
    """The numbers of the calls in a segment, and how many were made again in each backward pass."""

    numbers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    repeated: Counter[tuple[str, int | None]] = field(default_factory=Counter)

    def next_repeated(self, name: str) -> int | None:
        """The number of the call that is computed again now."""
        key = name, graph_task()
        position, self.repeated[key] = self.repeated[key], self.repeated[key] + 1
        return next(iter(self.numbers[name][position:]), None)


class CallNumbers:
    """Numbers the calls of each name from 1.

    A call that a backward pass computes again has the number of the original. Checkpointing with
    torch.utils.checkpoint repeats the calls of a segment in their order, but may leave out the last
    ones.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._segments: WeakKeyDictionary[Any, _Segment] = WeakKeyDictionary()

    def of_call(self, name: str, checkpoints: Checkpoints) -> tuple[int, ...]:
        """The number of a call; if it may be any of several calls, the likeliest first."""
        running, repeated = checkpoints
        original = None if repeated is None else self._segment(repeated).next_repeated(name)
        earlier = range(1, self._counts[name] + 1)
        if original is not None:
            numbers: tuple[int, ...] = (original,)
        elif repeated is None and graph_task() is not None and earlier:
            numbers = tuple(earlier)
        else:
            self._counts[name] += 1
            numbers = (self._counts[name],)
            if repeated is not None:  # its forward pass was before the block, or is not known
                numbers, running = (*numbers, *earlier), (*running, repeated)
        for segment in running:
            self._segment(segment).numbers[name].append(numbers[0])
        return numbers

    def _segment(self, key: Any) -> _Segment:
        return self._segments.setdefault(key, _Segment())


ATTENTION_LAYER = re.compile("attention|attn", re.IGNORECASE)


class Part(NamedTuple):
    """A record that may be a part of an attention: the sizes of its matrix, query and value."""

    name: str
    queries: int
    keys: int
    query: Tensor
    key: Tensor
    value: Tensor

    def is_beside(self, other: "Part") -> bool:
        """Whether both queries are different parts of one tensor, such as single heads.

        Not the two halves of differential attention: all heads and tokens, other keys, the same
        values.
        """
        one, two = self.query, other.query
        try:
            same = one.untyped_storage()._cdata == two.untyped_storage()._cdata
            same_values = self.value.data_ptr() == other.value.data_ptr()
            same_keys = self.key.data_ptr() == other.key.data_ptr()
        except (RuntimeError, NotImplementedError):  # tensors without a storage
            return False
        is_whole = one.shape[-3] > 1 and self.queries == other.queries == self.keys
        if same_values and not same_keys and is_whole:
            return False
        return same and one.storage_offset() != two.storage_offset()


class PartsOfCalls:
    """Finds records that are parts of one attention: single heads, blocks of tokens, or landmarks.

    One call of a layer computes them, from parts of one tensor of queries. Or the layer is named as
    attention, and they have different numbers of queries, or more than two numbers of keys (two are
    self-attention and cross-attention).
    """

    def __init__(self) -> None:
        self._call: FrameType | None = None  # kept, so that no other call is taken for it
        self._module: nn.Module | None = None
        self._records: list[Part] = []
        self._parts: dict[str, list[str]] = {}

    def add(
        self, call: FrameType | None, module: nn.Module | None, record: AttentionRecord
    ) -> None:
        """Note a record, and the call of a module that computed it."""
        if call is None:
            return
        if call is not self._call or module is not self._module:  # graphs call several modules
            self._call, self._module, self._records = call, module, []
        query, key, value = record.query, record.key, record.value
        part = Part(record.name, query.shape[-2], value.shape[-2], query, key, value)
        is_beside = any(map(part.is_beside, self._records))
        self._records.append(part)
        queries, sizes = {x.queries for x in self._records}, {x[1:3] for x in self._records}
        is_named = ATTENTION_LAYER.search(type(module).__name__) is not None
        if is_beside or (is_named and (len(sizes) > 2 or len(queries) > 1)):
            self._parts[self._records[0].name] = []
        if (names := self._parts.get(self._records[0].name)) is not None:
            names[:] = [x.name for x in self._records]

    def by_path(self) -> dict[str, tuple[str, ...]]:
        """The names of the parts, by the path of the module."""
        return {path: tuple(names) for path, names in self._parts.items()}

    def clear(self) -> None:
        """Release the call."""
        self._call = self._module = None
        self._records = []
