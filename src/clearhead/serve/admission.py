"""How much may be at work at once: a count of requests, and the bytes they hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

from fastapi import HTTPException

from clearhead.serve.metrics import Metrics

BUSY = "the server is busy; try again after the seconds in Retry-After"
MAX_RETRY_AFTER = 30


class Admission:
    """Refuses, at once and with 429, what would only wait for too long.

    A request takes its place when it is there in whole, so that slow clients hold none.
    """

    def __init__(self, metrics: Metrics, *, capacity: int, max_bytes: int) -> None:
        self.metrics = metrics
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.taken = 0
        self.bytes = 0
        self.last_seconds = 0.0
        self.when_free: Callable[[], None] = lambda: None

    @property
    def is_full(self) -> bool:
        """Whether the next one is refused."""
        return self.taken >= self.capacity

    @property
    def retry_after(self) -> int:
        """Whole seconds after which it is worth trying again: what the last one took."""
        return min(max(1, ceil(self.last_seconds)), MAX_RETRY_AFTER)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take one of the places; raises 429 if there is none."""
        if self.is_full:
            raise self.refusal()
        self._take(1)
        try:
            yield
        finally:
            self._take(-1)
            self.when_free()

    def hold(self, count: int) -> None:
        """Count bytes that are in memory now (negative: no longer); raises 429 if too many."""
        if count > 0 and self.bytes + count > self.max_bytes:
            raise self.refusal()
        self.bytes += count

    def refusal(self) -> HTTPException:
        """429 with the header that says when to come back."""
        return HTTPException(429, BUSY, {"retry-after": str(self.retry_after)})

    def _take(self, count: int) -> None:
        self.taken += count
        self.metrics.in_progress.set(self.taken)
