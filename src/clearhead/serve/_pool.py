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
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from math import ceil
from typing import Any, Self

import torch
from fastapi import HTTPException, Response

from clearhead._processes import exit_with_parent
from clearhead.inference import ModelCopy
from clearhead.serve._compute import Job, Outcomes, Processor
from clearhead.serve.config import ServeConfig
from clearhead.serve.telemetry import Metrics

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_STARTS = 1.0
LENGTH = 8  # bytes of the number before each message


@dataclass(eq=False)
class _Call:
    job: Job
    result: asyncio.Future[Response]
    since: float = field(default_factory=time.monotonic)
    is_retried: bool = False


class Pool:
    """Model processes and a queue of jobs for them: `async with Pool(...) as pool`."""

    def __init__(self, copy: ModelCopy, config: ServeConfig, metrics: Metrics) -> None:
        """A process that exceeds the deadline, or half of it for several jobs, is replaced."""
        self.start = partial(_Worker, copy, config)
        self.metrics = metrics
        self.processes = ceil(config.model_processes / config.workers)
        self.max_batch = config.max_batch
        self.seconds = config.deadline
        self.waiting: dict[_Call, None] = {}  # in order; any call can leave at once
        self.free: list[_Worker] = []  # the last one has the warmest cache
        self.workers: set[_Worker] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_stopping = False

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        atexit.register(self.stop)  # for a server that is stopped at once
        await asyncio.gather(*(self._start_worker() for _ in range(self.processes)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        atexit.unregister(self.stop)
        while self.tasks:  # one may start another
            await asyncio.gather(*self.tasks)
        for worker in self.workers:
            worker.close()
            await asyncio.to_thread(worker.process.join)

    def stop(self) -> None:
        """End all processes, also those that are still starting."""
        self.is_stopping = True
        for worker in self.workers:
            worker.kill()

    async def run(self, job: Job) -> Response:
        """The response to a job; one that is cancelled while it waits is never started.

        Raises `HTTPException` as `Processor.decode`, and with status 422 if the process ends or
        takes too long; `RuntimeError` if the forward pass failed.
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
        """Assign waiting calls to processes that are free."""
        while self.waiting and self.free:
            worker = self.free.pop()
            if worker.has_ended:  # while it was idle
                self._start_task(self._replace(worker))
            else:
                self._start_task(self._process(worker, self._take()))
        self.metrics.queue_depth.set(len(self.waiting))

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _take(self) -> list[_Call]:
        """A process's share of the waiting calls, oldest first; or one call, to be retried."""
        share = min(self.max_batch, ceil(len(self.waiting) / self.processes))
        batch = list(islice(self.waiting, share))
        batch = [call for call in batch if call.is_retried][:1] or batch
        now = time.monotonic()
        for call in batch:
            del self.waiting[call]
            self.metrics.queue_seconds.observe(now - call.since)
        return batch

    async def _process(self, worker: "_Worker", batch: list[_Call]) -> None:
        limit = self.seconds if len(batch) == 1 else self.seconds / 2
        try:
            async with asyncio.timeout(limit):
                outcomes = await worker.call([call.job for call in batch])
        except (EOFError, OSError):  # OSError includes TimeoutError
            if len(batch) == 1:
                reason = f"its process ended, or took more than {limit:g} s for it alone"
                _complete(batch[0], HTTPException(422, f"this request was not processed: {reason}"))
            else:  # which of them ended the process is unknown
                left = [call for call in batch if not call.result.done()]
                for call in left:
                    call.is_retried = True
                self.waiting = dict.fromkeys([*left, *self.waiting])
            await self._replace(worker)
        else:
            self.free.append(worker)
            self._deliver(batch, outcomes)
            self._assign()

    def _deliver(self, batch: list[_Call], outcomes: Outcomes) -> None:
        for call, result in zip(batch, outcomes.results, strict=True):
            _complete(call, result)
        for seconds in outcomes.decode_seconds:
            self.metrics.decode_seconds.observe(seconds)
        if outcomes.num_images:
            self.metrics.compute_seconds.observe(outcomes.compute_seconds)
            self.metrics.batch_size.observe(outcomes.num_images)

    async def _replace(self, worker: "_Worker") -> None:
        self._remove(worker)
        self._assign()  # to others that are free
        while not self.is_stopping:
            logger.warning("model process %d ended; starting another", worker.pid)
            try:
                await self._start_worker()
                break
            except EOFError:  # the pause prevents a busy loop of processes that end at once
                await asyncio.sleep(SECONDS_BETWEEN_STARTS)

    async def _start_worker(self) -> None:
        """Start a process; `EOFError` if it ends before it is ready, unless the pool is stopped."""
        worker = self.start()
        self.workers.add(worker)
        try:
            await worker.connect()
            if self.is_stopping:
                worker.kill()
            await worker.reply()
        except (EOFError, OSError) as error:
            if not self.is_stopping:
                self._remove(worker)
                raise EOFError("a model process ended before it was ready") from error
        else:
            self.free.append(worker)
            self._assign()

    def _remove(self, worker: "_Worker") -> None:
        self.workers.discard(worker)
        worker.kill()
        worker.close()


def _complete(call: _Call, result: Response | Exception) -> None:
    if call.result.done():  # cancelled
        return
    if isinstance(result, Exception):
        call.result.set_exception(result)
    else:
        call.result.set_result(result)


class _Worker:
    """A model process at the other end of a socket pair; it computes one batch after another."""

    def __init__(self, copy: ModelCopy, config: ServeConfig) -> None:
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context(
            "forkserver" if "forkserver" in methods else "spawn"
        )
        context.set_forkserver_preload([__name__])
        self.socket, self.remote = socket.socketpair()
        self.process = context.Process(target=_work, args=(self.remote, copy, config), daemon=True)

    @property
    def pid(self) -> int:
        """The process's id."""
        return int(self.process.pid)

    @property
    def has_ended(self) -> bool:
        """Whether the process has closed its end of the connection."""
        return self.reader.at_eof() or self.writer.is_closing()

    async def connect(self) -> None:
        """Start the process; its first reply comes when it is ready."""
        self.reader, self.writer = await asyncio.open_connection(sock=self.socket)
        with self.remote:
            await asyncio.to_thread(self.process.start)

    async def call(self, jobs: list[Job]) -> Any:
        """The outcomes of a batch; raises `EOFError` or `OSError` if the process ends."""
        self.writer.write(_message(jobs))
        return await self.reply()

    async def reply(self) -> Any:
        """The next message from the process."""
        size = int.from_bytes(await self.reader.readexactly(LENGTH))
        return pickle.loads(await self.reader.readexactly(size))  # noqa: S301 - of our own process

    def kill(self) -> None:
        """End the process, if it was started."""
        if self.process.pid is not None:
            self.process.kill()

    def close(self) -> None:
        """Close this end of the connection."""
        self.writer.close()


def _work(connection: socket.socket, copy: ModelCopy, config: ServeConfig) -> None:
    """Process batches in a new process, until the server ends."""
    exit_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # signals are for the server
    torch.set_num_threads(1)  # there is a process for each core
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it logs damaged forms
    processor = Processor(copy.load(), config)
    processor.warm_up()
    with connection, connection.makefile("rb") as requests:
        connection.sendall(_message(None))
        while size := int.from_bytes(requests.read(LENGTH)):
            jobs = pickle.loads(requests.read(size))  # noqa: S301 - the server's
            connection.sendall(_message(processor.process(jobs)))


def _message(content: Any) -> bytes:
    """The length of the pickled content, and the pickled content."""
    pickled = pickle.dumps(content)
    return len(pickled).to_bytes(LENGTH) + pickled
