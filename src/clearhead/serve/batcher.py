"""Requests that arrive together run as one batch, in one compute thread.

While a batch computes, the next one gathers by itself; so nobody waits for a full batch, and the
busier the server, the larger the batches. All but the forward pass happens on the event loop,
which is why there are no locks here.
"""

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
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
        """`on_the_way` says how many requests are about to come; they are waited for a little."""
        self.run = run
        self.metrics = metrics
        self.max_batch = max_batch
        self.gather = gather
        self.on_the_way = on_the_way
        self.waiting: deque[_Waiting] = deque()
        self.changed = asyncio.Event()
        self.inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    async def __aenter__(self) -> Self:
        # A daemon: a forward pass that hangs must not hold up the end of the program.
        threading.Thread(target=self._compute, name="compute", daemon=True).start()
        self.task = asyncio.create_task(self._dispatch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        self.inbox.put(None)

    async def submit(self, work: Work) -> Done:
        """The answer to some work; if the caller is cancelled while it waits, it is never done."""
        waiting = _Waiting(work, asyncio.get_running_loop().create_future())
        self.waiting.append(waiting)
        self.metrics.queue_depth.set(len(self.waiting))
        self.changed.set()
        try:
            return await waiting.answered
        finally:
            with suppress(ValueError):
                self.waiting.remove(waiting)
                self.metrics.queue_depth.set(len(self.waiting))

    def expect_less(self) -> None:
        """Say that a request on the way will not come after all."""
        self.changed.set()

    async def _dispatch(self) -> None:
        while True:
            await self._gathered()
            batch = self._take()
            if batch:
                await self._run_batch(batch)

    async def _gathered(self) -> None:
        """Until there is work, and no more of it is worth waiting for."""
        while not self.waiting:
            self.changed.clear()
            await self.changed.wait()
        until = self.waiting[0].since + self.gather
        while 0 < self._rows() < self.max_batch and self.on_the_way():
            left = until - time.monotonic()
            if left <= 0:
                break
            self.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.changed.wait()

    def _rows(self) -> int:
        return sum(len(waiting.work.pictures) for waiting in self.waiting)

    def _take(self) -> list[_Waiting]:
        """As many as fit, at least one, oldest first."""
        batch: list[_Waiting] = []
        rows = 0
        while self.waiting:
            more = len(self.waiting[0].work.pictures)
            if batch and rows + more > self.max_batch:
                break
            batch.append(self.waiting.popleft())
            rows += more
        self.metrics.queue_depth.set(len(self.waiting))
        return batch

    async def _run_batch(self, batch: list[_Waiting]) -> None:
        started = time.monotonic()
        for waiting in batch:
            self.metrics.queue_seconds.observe(started - waiting.since)
        self.metrics.batch_size.observe(sum(len(waiting.work.pictures) for waiting in batch))
        results = await self._in_thread([waiting.work for waiting in batch])
        self.metrics.compute_seconds.observe(time.monotonic() - started)
        for waiting, result in zip(batch, results, strict=True):
            if waiting.answered.done():
                continue
            if isinstance(result, Exception):
                waiting.answered.set_exception(result)
            else:
                waiting.answered.set_result(result)

    async def _in_thread(self, work: list[Work]) -> list[Done | Exception]:
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[list[Done | Exception]] = loop.create_future()

        def set_result(results: list[Done | Exception]) -> None:
            if not finished.done():
                finished.set_result(results)

        def compute() -> None:
            results = self.run(work)
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(set_result, results)

        self.inbox.put(compute)
        return await finished

    def _compute(self) -> None:
        while (job := self.inbox.get()) is not None:
            job()
