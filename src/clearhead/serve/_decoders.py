"""Processes that decode request bodies into model inputs, or into the response of a lone request.

Decoding takes longer than a forward pass and holds the GIL: threads would not run in parallel. And
a picture that crashes or blocks its decoder ends a process, not the server. Each process also has a
copy of the model: a single picture is decoded and classified there at once, without the
compute thread.
"""

import asyncio
import atexit
import json
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time
import traceback
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple, Self

import torch
from fastapi import HTTPException
from PIL import Image

from clearhead.inference import (
    EngineModel,
    ModelCopy,
    ModelLike,
    Prediction,
    predict_inputs,
    prepare,
)
from clearhead.serve._bodies import BodyDecoder, BodyHeaders, Decoded, Kind
from clearhead.serve.metrics import Metrics

logger = logging.getLogger(__name__)

LENGTH = 8  # bytes of the number in front of each message


class Predicted(NamedTuple):
    """The response to a picture, and the seconds of its two parts."""

    response: bytes
    decode_seconds: float
    compute_seconds: float


def response_of(prediction: Prediction) -> bytes:
    """A prediction in JSON."""
    return json.dumps(prediction.to_dict(), ensure_ascii=False, allow_nan=False).encode()


class Decoders:
    """A pool of processes: `async with Decoders(...) as decoders`."""

    def __init__(
        self,
        model: ModelLike,
        metrics: Metrics,
        *,
        processes: int,
        max_images: int,
        body_limit: int,
        seconds: float,
    ) -> None:
        """A tensor has up to `max_images`; a process that takes over `seconds` is replaced."""
        decode = BodyDecoder(model.config, max_images, body_limit)
        copy = (
            ModelCopy(model.model, model.name)
            if isinstance(model, EngineModel)
            else ModelCopy(model)
        )
        self.start = partial(_Worker, decode, copy)
        self.metrics = metrics
        self.processes = processes
        self.seconds = seconds
        self.pending = 0
        self.workers: set[_Worker] = set()
        self.starting: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self.free: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()  # the warmest cache first
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

    async def decode(self, kind: Kind, body: bytes, headers: BodyHeaders) -> Decoded:
        """Decode a body; raises the errors of `BodyDecoder`.

        A call that is cancelled while it waits for a process is never started.
        """
        started = time.monotonic()
        self.pending += 1
        try:
            decoded: Decoded = await self._run(_decode, kind, body, headers)
            return decoded
        finally:
            self.pending -= 1
            self.metrics.decode_seconds.observe(time.monotonic() - started)

    @property
    def is_free(self) -> bool:
        """Whether a process has nothing to do."""
        return not self.free.empty()

    async def predict(self, body: bytes, headers: BodyHeaders) -> bytes:
        """The response to a picture, as JSON."""
        predicted: Predicted = await self._run(_predict, body, headers)
        metrics = self.metrics
        metrics.decode_seconds.observe(predicted.decode_seconds)
        metrics.compute_seconds.observe(predicted.compute_seconds)
        metrics.queue_seconds.observe(0)
        metrics.batch_size.observe(1)
        return predicted.response

    async def _run(self, *call: Any) -> Any:
        """Call a function in a process, with its decoder and model in front of the arguments."""
        message = pickle.dumps(call)
        try:
            worker = await self.free.get()
            while worker.has_ended:  # while it was idle
                self._replace(worker)
                worker = await self.free.get()
            reply = worker.call(message)
            timer = self.loop.call_later(self.seconds, worker.kill)
            reply.add_done_callback(partial(self._release, worker, timer))
            # It goes on if this call is cancelled: the process is not free before.
            result = await asyncio.shield(reply)
        except EOFError as error:
            raise HTTPException(422, "this picture cannot be decoded") from error
        if isinstance(result, Exception):
            raise result
        return result

    def _release(
        self, worker: "_Worker", timer: asyncio.TimerHandle, reply: "asyncio.Future[Any]"
    ) -> None:
        timer.cancel()
        if not reply.cancelled() and reply.exception() is None:
            self.free.put_nowait(worker)
        else:
            self._replace(worker)

    def _replace(self, worker: "_Worker") -> None:
        logger.warning("decoder process %d ended; starting another", worker.pid)
        self.workers.discard(worker)
        worker.kill()
        starting = self.loop.create_task(self._start_worker())
        self.starting.add(starting)
        starting.add_done_callback(self.starting.discard)

    async def _start_worker(self) -> None:
        worker = self.start()
        self.workers.add(worker)
        await worker.connect()
        self.free.put_nowait(worker)


class _Worker(asyncio.Protocol):
    """A process at the other end of a socket pair, which replies to one call after the other."""

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

    def call(self, message: bytes) -> "asyncio.Future[Any]":
        """The result of a pickled call, or its exception; `EOFError` if the process ends."""
        self.reply = self.loop.create_future()
        self.transport.write(len(message).to_bytes(LENGTH) + message)
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
    """In a new process: call after call, until the server ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # signals are for the server
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)  # there is a process for each core
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it logs damaged forms
    threading.Thread(target=_exit_with_server, daemon=True).start()
    model = copy.load()
    _warm_up(model)
    with connection, connection.makefile("rwb") as file:
        _send(file, None)
        while size := int.from_bytes(file.read(LENGTH)):
            function, *arguments = pickle.loads(file.read(size))  # noqa: S301 - the server's
            _send(file, _outcome(function, decode, model, *arguments))


def _outcome(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except HTTPException as error:
        return error
    except Exception as error:  # noqa: BLE001 - raised in the server
        return RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")


def _send(file: Any, result: Any) -> None:
    message = pickle.dumps(result)
    file.write(len(message).to_bytes(LENGTH) + message)
    file.flush()


def _decode(
    decode: BodyDecoder, _: ModelLike, kind: Kind, body: bytes, headers: BodyHeaders
) -> Decoded:
    return decode(kind, body, headers)


def _predict(decode: BodyDecoder, model: ModelLike, body: bytes, headers: BodyHeaders) -> Predicted:
    started = time.monotonic()
    inputs = decode("picture", body, headers).inputs
    decoded = time.monotonic()
    (prediction,) = predict_inputs(model, inputs)
    response = response_of(prediction)
    return Predicted(response, decoded - started, time.monotonic() - decoded)


def _exit_with_server() -> None:
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
    os._exit(1)


def _warm_up(model: ModelLike) -> None:
    """Classify a blank picture, which is slow the first time."""
    blank = BytesIO()
    Image.new("L", (40, 40), 255).save(blank, "PNG")
    with suppress(Exception):  # a broken model fails in requests
        predict_inputs(model, [prepare(blank.getvalue(), model.config)])
