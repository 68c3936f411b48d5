"""The calls of a module: numbers, also of repeated calls, and parts of one attention."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import nn

from clearhead.recording._record import AttentionRecord
from clearhead.recording._torch_internals import graph_task, storage_of


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


class Output(NamedTuple):
    """An output of attention: its record, the number of the call, and the first related record."""

    name: str
    call: int
    related_to: str


ATTENTION_LAYER = re.compile("attention|attn", re.IGNORECASE)


class PartsOfCalls:
    """Finds records that are parts of one attention: single heads, blocks of tokens, or landmarks.

    One call of a layer computes them, from parts of one tensor of queries. Or the layer is named as
    attention, and they have different numbers of queries, or more than two numbers of keys (two are
    self-attention and cross-attention).
    """

    def __init__(self) -> None:
        self._call: FrameType | None = None  # kept, so that no other call is taken for it
        self._module: nn.Module | None = None
        self._records: list[AttentionRecord] = []
        self._parts: dict[str, tuple[str, ...]] = {}
        self._num_calls = 0
        self.joined: dict[str, tuple[str, ...]] = {}  # from several calls

    def add(
        self, call: FrameType | None, module: nn.Module | None, record: AttentionRecord
    ) -> Output:
        """Note a record, and the call of a module that computed it."""
        if call is None:
            return Output(record.name, 0, record.name)
        if call is not self._call or module is not self._module:  # graphs call several modules
            self._call, self._module, self._records = call, module, []
            self._num_calls += 1
        first = self._records[0].name if self._records else record.name
        linked = [record]
        for one in linked:
            linked += [x for x in self._records if x not in linked and _are_linked(one, x)]
        is_part = first in self._parts or self._is_part(record, linked)
        related = (x for x in self._records if x in linked or _has_same(record, x, "query"))
        first_related = next(related, record).name
        self._records.append(record)
        if is_part:
            self._parts[first] = tuple(x.name for x in self._records)
        return Output(record.name, self._num_calls, first_related)

    def join(self, outputs: Sequence[Output]) -> None:
        """Note that outputs are joined in one tensor, as those of single heads."""
        names = tuple(x.name for x in outputs)
        if len({x.related_to for x in outputs}) > 1:
            is_one_call = outputs[0].call and len({x.call for x in outputs}) == 1
            (self._parts if is_one_call else self.joined)[names[0]] = names

    def _is_part(self, record: AttentionRecord, linked: Sequence[AttentionRecord]) -> bool:
        others = self._records
        if not others:
            return False
        if any(_have_parts_of_query(record, x) for x in others if x not in linked):
            return True
        sizes = {(x.query.shape[-2], x.value.shape[-2]) for x in (record, *others)}
        is_named = ATTENTION_LAYER.search(type(self._module).__name__) is not None
        return is_named and (len(sizes) > 2 or len({queries for queries, _ in sizes}) > 1)

    def by_path(self) -> dict[str, tuple[str, ...]]:
        """The names of the parts, by the path of the module."""
        return dict(self._parts)

    def clear(self) -> None:
        """Release the call."""
        self._call = self._module = None
        self._records = []


def _has_same(one: AttentionRecord, other: AttentionRecord, name: str) -> bool:
    """Whether a tensor of both begins at the same place in memory."""
    try:
        same: bool = getattr(one, name).data_ptr() == getattr(other, name).data_ptr()
    except (RuntimeError, NotImplementedError):  # tensors without a storage
        return False
    return same


def _are_linked(one: AttentionRecord, other: AttentionRecord) -> bool:
    """Whether both have one query and key, or one value as the halves of differential attention."""
    same_keys = _has_same(one, other, "key")
    return _has_same(one, other, "query" if same_keys else "value")


def _have_parts_of_query(one: AttentionRecord, other: AttentionRecord) -> bool:
    """Whether both queries are different parts of one tensor, such as single heads."""
    x, y = one.query, other.query
    storage = storage_of(x)
    is_same = storage is not None and storage == storage_of(y)
    return is_same and x.storage_offset() != y.storage_offset()
