"""Processes that decode, so that no picture blocks the event loop or takes the server down."""

import asyncio
import logging
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Self

import torch
from fastapi import HTTPException

from clearhead.inference import ModelInput
from clearhead.models.config import ImageModelConfig
from clearhead.serve.decoder import settings_of
from clearhead.serve.decoder_process import DecoderProcess
from clearhead.serve.frames import frame
from clearhead.serve.metrics import Metrics

logger = logging.getLogger(__name__)

Kind = Literal["picture", "tensor"]

UNREADABLE = "this picture cannot be decoded"
WATCH_SECONDS = 0.25


@dataclass(frozen=True, eq=False)
class Decoded:
    """The pictures of a request; of a tensor also its id and the outputs it asks for."""

    pictures: tuple[ModelInput, ...]
    request_id: str | None = None
    outputs: tuple[str, ...] = ()


@dataclass(eq=False)
class _Job:
    message: bytes
    decoded: asyncio.Future[Decoded]


@dataclass(eq=False)
class _Seat:
    """One decoder: its process, if it has one now, and since when that has been busy."""

    started: asyncio.Future[None]
    process: DecoderProcess | None = None
    busy_since: float = field(default=float("inf"))


class Decoders:
    """`async with Decoders(...) as decoders`: started, and warm.

    Each process has a thread that feeds it. Were it the event loop, the processes would idle
    while that is busy with turning others away.
    """

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
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.seats: list[_Seat] = []

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self.seats = [_Seat(self.loop.create_future()) for _ in range(self.processes)]
        for seat in self.seats:
            threading.Thread(target=self._feed, args=(seat,), name="decoder", daemon=True).start()
        try:
            await asyncio.gather(*(seat.started for seat in self.seats))
        except BaseException:
            self._end()
            raise
        self.watch = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.watch.cancel()
        with suppress(asyncio.CancelledError):
            await self.watch
        self._end()

    async def decode(self, kind: Kind, body: bytes, content_type: str) -> Decoded:
        """The pictures in a body; if the caller is cancelled before its turn, nothing is done.

        Raises `HTTPException` if there are none.
        """
        started = time.monotonic()
        message = frame({"kind": kind, "content_type": content_type}, body)
        job = _Job(message, self.loop.create_future())
        self.pending += 1
        try:
            self.jobs.put(job)
            return await job.decoded
        finally:
            self.pending -= 1
            self.metrics.decode_seconds.observe(time.monotonic() - started)

    def _end(self) -> None:
        for seat in self.seats:
            self.jobs.put(None)
            if seat.process is not None:
                seat.process.kill()

    async def _watch(self) -> None:
        """Kill what hangs; its thread then starts another."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for seat in self.seats:
                if time.monotonic() - seat.busy_since > self.seconds and seat.process is not None:
                    seat.process.kill()

    def _feed(self, seat: _Seat) -> None:
        """In a thread: job after job, until there is None; a process that dies is replaced."""
        try:
            seat.process = DecoderProcess(self.setup)
        except (OSError, EOFError) as error:
            self._tell(_fail, seat.started, error)
            return
        self._tell(_succeed, seat.started, None)
        while (job := self.jobs.get()) is not None:
            if not job.decoded.done():
                self._do(seat, job)
        if seat.process is not None:
            seat.process.kill()

    def _do(self, seat: _Seat, job: _Job) -> None:
        try:
            if seat.process is None:
                seat.process = DecoderProcess(self.setup)
            seat.busy_since = time.monotonic()
            header, pixels = seat.process.ask(job.message)
        except (OSError, EOFError) as error:  # it died over this picture, or was killed
            logger.warning("a decoder ended: %r", error)
            if seat.process is not None:
                seat.process.kill()
            seat.process = None
            self._tell(_fail, job.decoded, HTTPException(422, UNREADABLE))
            return
        finally:
            seat.busy_since = float("inf")
        if "error" in header:
            self._tell(_fail, job.decoded, HTTPException(header["status"], header["error"]))
        else:
            self._tell(_succeed, job.decoded, _decoded(header, pixels))

    def _tell(self, settle: Any, future: asyncio.Future[Any], outcome: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(partial(settle, future, outcome))


def _succeed(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _decoded(header: dict[str, Any], pixels: bytes) -> Decoded:
    rows = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).reshape(header["shape"])
    return Decoded(
        tuple(
            ModelInput(row, tuple(said["warnings"]), said["found"])
            for row, said in zip(rows, header["pictures"], strict=True)
        ),
        header.get("id"),
        tuple(header.get("outputs", ())),
    )
