"""Processes that decode, so that no picture blocks the event loop or takes the server down."""

import asyncio
import logging
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from fastapi import HTTPException

from clearhead.models.config import ImageModelConfig
from clearhead.prediction.prepare import Prepared
from clearhead.serve.decoder import settings_of
from clearhead.serve.frames import frame, receive_frame
from clearhead.serve.metrics import Metrics

logger = logging.getLogger(__name__)

Kind = Literal["picture", "tensor"]

# -P: a file in the current folder must not stand in for a module.
COMMAND = (sys.executable, "-P", "-m", "clearhead.serve.decoder")
START_SECONDS = 120.0
UNREADABLE = "this picture cannot be decoded"


@dataclass(frozen=True, eq=False)
class Decoded:
    """The pictures of a request; of a tensor also its id and the outputs it asks for."""

    pictures: tuple[Prepared, ...]
    request_id: str | None = None
    outputs: tuple[str, ...] = ()


@dataclass(eq=False)
class _Job:
    message: bytes
    decoded: asyncio.Future[Decoded]


class Decoders:
    """`async with Decoders(...) as decoders`: started, and warm."""

    def __init__(
        self,
        config: ImageModelConfig,
        metrics: Metrics,
        *,
        processes: int,
        most: int,
        seconds: float,
    ) -> None:
        """`most` pictures in a tensor; what takes more than `seconds` is given up."""
        self.setup = frame({"config": settings_of(config), "most": most})
        self.metrics = metrics
        self.processes = processes
        self.seconds = seconds
        self.pending = 0
        self.jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        started = await asyncio.gather(*(self._start() for _ in range(self.processes)))
        self.tasks = [asyncio.create_task(self._serve(process)) for process in started]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def decode(self, kind: Kind, body: bytes, content_type: str) -> Decoded:
        """The pictures in a body; if the caller is cancelled before its turn, nothing is done.

        Raises `HTTPException` if there are none.
        """
        started = time.monotonic()
        message = frame({"kind": kind, "content_type": content_type}, body)
        job = _Job(message, asyncio.get_running_loop().create_future())
        self.pending += 1
        try:
            self.jobs.put_nowait(job)
            return await job.decoded
        finally:
            self.pending -= 1
            self.metrics.decode_seconds.observe(time.monotonic() - started)

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the server, which tells its decoders
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                await _exchange(process, self.setup)
        except BaseException:
            await _end(process)
            raise
        return process

    async def _serve(self, process: asyncio.subprocess.Process) -> None:
        """Job after job; a process that dies or hangs is replaced."""
        try:
            while True:
                job = await self._next_job()
                if not await self._do(process, job):
                    await _end(process)
                    process = await self._start_again()
        finally:
            await _end(process)

    async def _start_again(self) -> asyncio.subprocess.Process:
        while True:
            try:
                return await self._start()
            except (OSError, EOFError, TimeoutError) as error:  # no memory, say: it may come back
                logger.error("a decoder did not start: %r", error)
                await asyncio.sleep(1)

    async def _next_job(self) -> _Job:
        while (job := await self.jobs.get()).decoded.done():
            pass
        return job

    async def _do(self, process: asyncio.subprocess.Process, job: _Job) -> bool:
        """Whether the process can go on."""
        try:
            async with asyncio.timeout(self.seconds):
                header, pixels = await _exchange(process, job.message)
        except (OSError, EOFError, TimeoutError):  # also BrokenPipeError, IncompleteReadError
            if not job.decoded.done():
                job.decoded.set_exception(HTTPException(422, UNREADABLE))
            return False
        if not job.decoded.done():
            if "error" in header:
                job.decoded.set_exception(HTTPException(header["status"], header["error"]))
            else:
                job.decoded.set_result(_decoded(header, pixels))
        return True


async def _exchange(
    process: asyncio.subprocess.Process, message: bytes
) -> tuple[dict[str, Any], bytes]:
    if process.stdin is None or process.stdout is None:  # never: both are pipes
        raise EOFError
    process.stdin.write(message)
    await process.stdin.drain()
    return await receive_frame(process.stdout)


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _decoded(header: dict[str, Any], pixels: bytes) -> Decoded:
    rows = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).reshape(header["shape"])
    return Decoded(
        tuple(
            Prepared(row, tuple(said["warnings"]), said["found"])
            for row, said in zip(rows, header["pictures"], strict=True)
        ),
        header.get("id"),
        tuple(header.get("outputs", ())),
    )
