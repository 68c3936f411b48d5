"""Processes that decode request bodies and classify what they contain, in batches.

Decoding takes longer than a forward pass and holds the GIL: threads would not run in parallel. And
a picture that crashes or blocks its decoder ends a process, not the server. A process that has
finished its batch takes its share of all requests that wait: the busier the server, the larger the
batches.
"""

import asyncio
import atexit
import logging
import multiprocessing
import pickle
import signal
import socket
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from math import ceil
from typing import Any, Self

import torch
from fastapi import HTTPException

from clearhead._processes import exit_with_parent
from clearhead.inference import ModelCopy
from clearhead.serve._bodies import BodyDecoder, Job
from clearhead.serve._compute import Outcomes, process, warm_up
from clearhead.serve.telemetry import Metrics

logger = logging.getLogger(__name__)

LENGTH = 8  # bytes of the number in front of each message


@dataclass(eq=False)
class _Call:
    job: Job
    result: asyncio.Future[Any]
    since: float = field(default_factory=time.monotonic)
    is_retried: bool = False


class Pool:
    """`async with Pool(...) as pool`: processes, and a queue in front of them."""

    def __init__(
        self,
        copy: ModelCopy,
        metrics: Metrics,
        *,
        processes: int,
        max_batch: int,
        body_limit: int,
        seconds: float,
    ) -> None:
        """`max_batch` limits the jobs of a batch and the images of a tensor.

        A process that takes over `seconds` for one job, or half of them for several, is replaced.
        """
        self.start = partial(_Worker, BodyDecoder(copy.config, max_batch, body_limit), copy)
        self.metrics = metrics
        self.processes = processes
        self.max_batch = max_batch
        self.seconds = seconds
        self.waiting: dict[_Call, None] = {}  # in order; any call can leave at once
        self.free: list[_Worker] = []  # the last one has the warmest cache
        self.workers: set[_Worker] = set()
        self.starting: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        atexit.register(self.kill)  # for a server that is stopped at once
        await asyncio.gather(*(self._start_worker() for _ in range(self.processes)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.starting:
            task.cancel()
        self.kill()
        atexit.unregister(self.kill)
        for worker in self.workers:
            await asyncio.to_thread(worker.process.join)

    def kill(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.kill()

    async def run(self, job: Job) -> Any:
        """The result of a job; one that is cancelled while it waits is never started.

        Returns:
            The response in JSON for a picture; for other kinds the decoded body and its `Result`.

        Raises:
            HTTPException: As `BodyDecoder`; 422 if the process ends, or takes too long.
            RuntimeError: The forward pass failed.
        """
        call = _Call(job, self.loop.create_future())
        self.waiting[call] = None
        self._assign()
        try:
            return await call.result
        finally:
            self.waiting.pop(call, None)
            self.metrics.queue_depth.set(len(self.waiting))

    def _assign(self) -> None:
        """Give waiting calls to processes that are free."""
        while self.waiting and self.free:
            worker = self.free.pop()
            if worker.has_ended:  # while it was idle
                self._replace(worker)
                continue
            batch = self._take()
            reply = worker.call([call.job for call in batch])
            limit = self.seconds if len(batch) == 1 else self.seconds / 2
            timer = self.loop.call_later(limit, worker.kill)
            reply.add_done_callback(partial(self._finish, worker, timer, batch))
        self.metrics.queue_depth.set(len(self.waiting))

    def _take(self) -> list[_Call]:
        """A process's share of the waiting calls, oldest first; one that is retried alone."""
        share = min(self.max_batch, ceil(len(self.waiting) / self.processes))
        batch = list(islice(self.waiting, share))
        batch = [call for call in batch if call.is_retried][:1] or batch
        now = time.monotonic()
        for call in batch:
            del self.waiting[call]
            self.metrics.queue_seconds.observe(now - call.since)
        return batch

    def _finish(
        self,
        worker: "_Worker",
        timer: asyncio.TimerHandle,
        batch: list[_Call],
        reply: "asyncio.Future[Outcomes]",
    ) -> None:
        timer.cancel()
        if reply.exception() is None:
            self.free.append(worker)
            self._deliver(batch, reply.result())
        else:
            self._replace(worker)
            if len(batch) == 1:
                _complete(batch[0], HTTPException(422, "this picture cannot be decoded"))
            else:  # which of them ended the process is unknown
                left = [call for call in batch if not call.result.done()]
                for call in left:
                    call.is_retried = True
                self.waiting = dict.fromkeys([*left, *self.waiting])
        self._assign()

    def _deliver(self, batch: list[_Call], outcomes: Outcomes) -> None:
        for call, result in zip(batch, outcomes.results, strict=True):
            _complete(call, result)
        for seconds in outcomes.decode_seconds:
            self.metrics.decode_seconds.observe(seconds)
        if outcomes.num_images:
            self.metrics.compute_seconds.observe(outcomes.compute_seconds)
            self.metrics.batch_size.observe(outcomes.num_images)

    def _replace(self, worker: "_Worker") -> None:
        logger.warning("model process %d ended; starting another", worker.pid)
        self.workers.discard(worker)
        worker.kill()
        starting = self.loop.create_task(self._start_worker())
        self.starting.add(starting)
        starting.add_done_callback(self.starting.discard)

    async def _start_worker(self) -> None:
        worker = self.start()
        self.workers.add(worker)
        await worker.connect()
        self.free.append(worker)
        self._assign()


def _complete(call: _Call, result: Any) -> None:
    if call.result.done():  # cancelled
        return
    if isinstance(result, Exception):
        call.result.set_exception(result)
    else:
        call.result.set_result(result)


class _Worker(asyncio.Protocol):
    """A process at the other end of a socket pair, which processes one batch after the other."""

    def __init__(self, decode: BodyDecoder, copy: ModelCopy) -> None:
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context(
            "forkserver" if "forkserver" in methods else "spawn"
        )
        context.set_forkserver_preload([__name__])
        self.socket, self.remote = socket.socketpair()
        self.process = context.Process(target=_work, args=(self.remote, decode, copy), daemon=True)
        self.received = bytearray()
        self.has_ended = False

    @property
    def pid(self) -> int:
        """The process's id."""
        return int(self.process.pid)

    async def connect(self) -> None:
        """Start the process, and wait until it is ready."""
        await asyncio.to_thread(self.process.start)
        self.remote.close()
        self.loop = asyncio.get_running_loop()
        self.reply = self.loop.create_future()
        self.transport, _ = await self.loop.create_connection(lambda: self, sock=self.socket)
        await self.reply

    def call(self, jobs: list[Job]) -> "asyncio.Future[Any]":
        """The outcomes of a batch; `EOFError` if the process ends."""
        self.reply = self.loop.create_future()
        self.transport.write(_message(jobs))
        return self.reply

    def data_received(self, data: bytes) -> None:
        """A part of a reply."""
        self.received += data
        if len(self.received) < LENGTH:
            return
        end = LENGTH + int.from_bytes(self.received[:LENGTH])
        if len(self.received) >= end:
            reply = pickle.loads(self.received[LENGTH:end])  # noqa: S301 - of our own process
            self.received.clear()
            self.reply.set_result(reply)

    def connection_lost(self, _: Exception | None) -> None:
        """The process has ended."""
        self.has_ended = True
        if not self.reply.done():
            self.reply.set_exception(EOFError("the process has ended"))

    def kill(self) -> None:
        """End the process."""
        if self.process.pid is not None:
            self.process.kill()


def _work(connection: socket.socket, decode: BodyDecoder, copy: ModelCopy) -> None:
    """In a new process: batch after batch, until the server ends."""
    exit_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # signals are for the server
    torch.set_num_threads(1)  # there is a process for each core
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it logs damaged forms
    model = copy.load()
    warm_up(model)
    with connection, connection.makefile("rb") as requests:
        connection.sendall(_message(None))
        while size := int.from_bytes(requests.read(LENGTH)):
            jobs = pickle.loads(requests.read(size))  # noqa: S301 - the server's
            connection.sendall(_message(process(decode, model, jobs)))


def _message(content: Any) -> bytes:
    """Pickled content, with its length in front."""
    pickled = pickle.dumps(content)
    return len(pickled).to_bytes(LENGTH) + pickled
