"""Requests that arrive together run as one batch, in one compute thread.

While a batch computes, the next one gathers by itself; so the busier the server, the larger the
batches. Everything but the forward pass happens on the event loop, so nothing here needs a lock,
and by plain calls, so that a request goes round the loop as seldom as possible.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from clearhead.serve.metrics import Metrics
from clearhead.serve.work import Done, Run, Work


@dataclass(eq=False)
class _Waiting:
    work: Work
    answered: asyncio.Future[Done]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Asynchronous on the outside, one thread within: `async with Batcher(...) as batcher`."""

    def __init__(
        self,
        run: Run,
        metrics: Metrics,
        *,
        max_batch: int,
        gather: float = 0.0,
        on_the_way: Callable[[], int] = lambda: 0,
    ) -> None:
        """`on_the_way` says how many requests are about to come: a batch waits for them.

        At most until it is as large as what it waits for, and at most `gather` seconds.
        """
        self.run = run
        self.metrics = metrics
        self.max_batch = max_batch
        self.gather = gather
        self.on_the_way = on_the_way
        self.waiting: dict[_Waiting, None] = {}  # in order; any of them can leave at once
        self.is_computing = False
        self.timer: asyncio.TimerHandle | None = None
        self.inbox: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        # A daemon: a forward pass that hangs must not hold up the end of the program.
        threading.Thread(target=self._compute, name="compute", daemon=True).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_timer()
        self.inbox.put(None)

    async def submit(self, work: Work) -> Done:
        """The answer to some work; if the caller is cancelled while it waits, it is never done."""
        waiting = _Waiting(work, self.loop.create_future())
        self.waiting[waiting] = None
        self.consider()
        try:
            return await waiting.answered
        finally:
            self.waiting.pop(waiting, None)
            self.metrics.queue_depth.set(len(self.waiting))

    def consider(self) -> None:
        """Start a batch, unless one is computing or more is worth waiting for."""
        if self.is_computing or not self.waiting:
            return
        enough = min(self.max_batch, self.on_the_way() + 1)
        left = next(iter(self.waiting)).since + self.gather - time.monotonic()
        self._stop_timer()
        if left > 0 and sum(len(waiting.work.pictures) for waiting in self.waiting) < enough:
            self.timer = self.loop.call_later(left, self.consider)
        else:
            self._start(self._take())

    def _take(self) -> list[_Waiting]:
        """As many as fit, at least one, oldest first."""
        batch: list[_Waiting] = []
        rows = 0
        for waiting in self.waiting:
            rows += len(waiting.work.pictures)
            if batch and rows > self.max_batch:
                break
            batch.append(waiting)
        for waiting in batch:
            del self.waiting[waiting]
        return batch

    def _start(self, batch: list[_Waiting]) -> None:
        started = time.monotonic()
        for waiting in batch:
            self.metrics.queue_seconds.observe(started - waiting.since)
        self.metrics.batch_size.observe(sum(len(waiting.work.pictures) for waiting in batch))
        self.metrics.queue_depth.set(len(self.waiting))
        self.is_computing = True
        self.inbox.put(batch)

    def _compute(self) -> None:
        """In the thread: batch after batch, until there is None."""
        while (batch := self.inbox.get()) is not None:
            started = time.monotonic()
            results = self.run([waiting.work for waiting in batch])
            self.metrics.compute_seconds.observe(time.monotonic() - started)
            with suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(partial(self._finish, batch, results))

    def _finish(self, batch: list[_Waiting], results: list[Done | Exception]) -> None:
        self.is_computing = False
        for waiting, result in zip(batch, results, strict=True):
            if waiting.answered.done():
                continue
            if isinstance(result, Exception):
                waiting.answered.set_exception(result)
            else:
                waiting.answered.set_result(result)
        self.consider()

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
