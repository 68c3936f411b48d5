"""Processes that decode request bodies into model inputs.

Decoding takes longer than a forward pass and holds the GIL: threads would not run in parallel. And
a picture that crashes or blocks its decoder ends a process, not the server.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from math import prod
from typing import Any, Literal, Self

import numpy as np
import torch
from fastapi import HTTPException
from PIL import Image
from pydantic import ValidationError

from clearhead.errors import ImageError, InputError
from clearhead.inference import ModelInput, prepare
from clearhead.models.config import ImageModelConfig
from clearhead.serve.metrics import Metrics
from clearhead.serve.schemas import INPUT_NAME, INPUT_TYPE, InferRequest

logger = logging.getLogger(__name__)

Kind = Literal["picture", "digit", "tensor"]


@dataclass(frozen=True, eq=False)
class Decoded:
    """The model inputs of a request: a picture, or the images of a tensor.

    Of a tensor also the request's id and the outputs that it wants.
    """

    inputs: tuple[ModelInput, ...]
    request_id: str | None = None
    outputs: tuple[str, ...] = ()


class Decoders:
    """A pool of processes: `async with Decoders(...) as decoders`."""

    def __init__(
        self,
        config: ImageModelConfig,
        metrics: Metrics,
        *,
        processes: int,
        max_images: int,
        seconds: float,
    ) -> None:
        """A tensor has up to `max_images`; a process that takes over `seconds` is replaced."""
        self.config = config
        self.metrics = metrics
        self.processes = processes
        self.max_images = max_images
        self.seconds = seconds
        self.pending = 0
        self.workers: set[_Worker] = set()
        self.starting: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self.free: asyncio.Queue[_Worker] = asyncio.Queue()
        await asyncio.gather(*(self._start_worker() for _ in range(self.processes)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.starting:
            task.cancel()
        for worker in self.workers:
            worker.kill()
            worker.executor.shutdown(cancel_futures=True)

    async def decode(self, kind: Kind, body: bytes, content_type: str) -> Decoded:
        """Decode a body; `HTTPException` 422 for an unreadable picture, 400 for a wrong tensor.

        A call that is cancelled while it waits for a process is never started.
        """
        started = time.monotonic()
        self.pending += 1
        try:
            job = partial(_decode, kind, body, content_type, self.config, self.max_images)
            return await asyncio.shield(await self._submit(job))
        except BrokenExecutor as error:
            raise HTTPException(422, "this picture cannot be decoded") from error
        finally:
            self.pending -= 1
            self.metrics.decode_seconds.observe(time.monotonic() - started)

    async def _submit(self, job: "partial[Decoded]") -> asyncio.Future[Decoded]:
        while True:
            worker = await self.free.get()
            try:
                future = self.loop.run_in_executor(worker.executor, job)
            except BrokenExecutor:  # it ended while it was idle
                self._replace(worker)
                continue
            timer = self.loop.call_later(self.seconds, worker.kill)
            future.add_done_callback(partial(self._release, worker, timer))
            return future

    def _release(
        self, worker: "_Worker", timer: asyncio.TimerHandle, future: asyncio.Future[Decoded]
    ) -> None:
        timer.cancel()
        if not future.cancelled() and isinstance(future.exception(), BrokenExecutor):
            self._replace(worker)
        else:
            self.free.put_nowait(worker)

    def _replace(self, worker: "_Worker") -> None:
        logger.warning("decoder process %d ended; starting another", worker.pid)
        worker.executor.shutdown(wait=False)
        self.workers.discard(worker)
        task = self.loop.create_task(self._start_worker())
        self.starting.add(task)
        task.add_done_callback(self.starting.discard)

    async def _start_worker(self) -> None:
        worker = _Worker()
        self.workers.add(worker)
        worker.pid = await self.loop.run_in_executor(worker.executor, _warm_up, self.config)
        self.free.put_nowait(worker)


class _Worker:
    """An executor of one process, so that a crash affects one request only."""

    def __init__(self) -> None:
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        context.set_forkserver_preload([__name__])
        self.executor = ProcessPoolExecutor(1, context, _initialize)
        self.pid = 0

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)


def _initialize() -> None:
    """In a new process: leave signals to the server, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)  # there is a process for each core
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it logs damaged forms
    threading.Thread(target=_exit_with_server, daemon=True).start()


def _exit_with_server() -> None:
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
    os._exit(1)


def _warm_up(config: ImageModelConfig) -> int:
    """Decode a blank picture, which is slow the first time; the process's id."""
    blank = BytesIO()
    Image.new("L", (40, 40), 255).save(blank, "PNG")
    prepare(blank.getvalue(), config)
    return os.getpid()


def _decode(
    kind: Kind, body: bytes, content_type: str, config: ImageModelConfig, max_images: int
) -> Decoded:
    """In a decoder process."""
    try:
        if kind == "tensor":
            return _decode_tensor(body, config, max_images)
        picture = _picture(body, content_type)
        return Decoded((prepare(picture, config, single=kind == "digit"),))
    except (ImageError, InputError) as error:
        raise HTTPException(400 if kind == "tensor" else 422, str(error)) from None


def _picture(body: bytes, content_type: str) -> bytes:
    """The body, or the one file in it if it is a form."""
    if content_type.lower().startswith("multipart/form-data"):
        body = _file_in_form(body, content_type)
    if not body:
        raise ImageError("the body is empty; send a picture as the body, or as a file in a form")
    return body


def _file_in_form(body: bytes, content_type: str) -> bytes:
    from python_multipart import create_form_parser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import File

    files: list[File] = []
    headers = {"Content-Type": content_type.encode("latin-1", "replace")}
    try:
        parser = create_form_parser(
            headers,
            lambda _: None,
            files.append,
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},  # never on a disk
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise ImageError(f"this form is damaged ({error})") from error
    if len(files) != 1:
        raise ImageError(f"a form must have one file, the picture; this one has {len(files)}")
    files[0].file_object.seek(0)
    return bytes(files[0].file_object.read())


def _decode_tensor(body: bytes, config: ImageModelConfig, max_images: int) -> Decoded:
    """The images of an inference request: model inputs already, one per row."""
    try:
        request = InferRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise InputError(f"{where}: {first['msg']}; see /openapi.json") from error
    names = [tensor.name for tensor in request.inputs]
    if names != [INPUT_NAME]:
        raise InputError(f'expected one input, "{INPUT_NAME}"; got {names}')
    (tensor,) = request.inputs
    shape, expected = tuple(tensor.shape), (config.in_channels, *config.image_shape)
    if tensor.datatype != INPUT_TYPE:
        raise InputError(f"{INPUT_NAME} must have datatype {INPUT_TYPE}, got {tensor.datatype}")
    if shape[1:] != expected or not 1 <= shape[0] <= max_images:
        wanted = [f"1 to {max_images}", *expected]
        raise InputError(f"{INPUT_NAME} must have shape {wanted}, got {list(shape)}")
    return Decoded(
        tuple(ModelInput(torch.from_numpy(row)) for row in _pixels(tensor.data, shape)),
        request_id=request.id if "id" in request.model_fields_set else None,
        outputs=tuple(output.name for output in request.outputs),
    )


def _pixels(data: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    try:
        np.asarray(data)
    except ValueError as error:
        raise InputError("data has rows of different lengths") from error
    values = np.asarray(data, dtype=object)
    if not all(map(_is_byte, values.flat)):
        raise InputError("data must be whole numbers from 0 to 255")
    if values.size != prod(shape) or (values.ndim > 1 and values.shape != shape):
        raise InputError(f"data has shape {list(values.shape)}, the tensor {list(shape)}")
    return values.astype(np.uint8).reshape(shape)


def _is_byte(value: object) -> bool:
    """Whether JSON Schema calls it an integer, which 81.0 is and `true` is not, from 0 to 255."""
    return type(value) in (int, float) and 0 <= value <= 255 and value == int(value)  # type: ignore[operator, call-overload]
