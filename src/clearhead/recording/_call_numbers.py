"""The numbers of a module's calls, also of those that a backward pass computes again."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

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
