"""From a request's body to the model's answer: read, admitted, decoded, computed, in time."""

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from typing import Self

import torch
from fastapi import HTTPException, Request

from clearhead.inference import ModelInput
from clearhead.models.pretrained import ImageModel
from clearhead.serve.admission import Admission
from clearhead.serve.attention import AttentionOf
from clearhead.serve.batcher import Batcher
from clearhead.serve.bodies import ClientGoneError, gone, whole_body
from clearhead.serve.config import ServeConfig
from clearhead.serve.decoders import Decoded, Decoders, Kind
from clearhead.serve.metrics import Metrics
from clearhead.serve.work import Done, Work, worker

BODIES_HELD = 16  # as many of the largest allowed may be in memory at once


class Service:
    """All that one server shares between requests: `async with Service(...) as service`."""

    def __init__(self, model: ImageModel, config: ServeConfig, attention_of: AttentionOf) -> None:
        self.model = model
        self.config = config
        self.metrics = Metrics()
        self.admission = Admission(
            self.metrics,
            capacity=config.capacity,
            max_bytes=BODIES_HELD * config.body_limit,
        )
        self.decoders = Decoders(
            model.config,
            self.metrics,
            processes=config.decoders,
            most=config.max_batch,
            seconds=config.deadline,
        )
        self.batcher = Batcher(
            worker(model, attention_of),
            self.metrics,
            max_batch=config.max_batch,
            gather=config.gather,
            on_the_way=lambda: self.decoders.pending,
        )
        self.is_ready = False

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.decoders)
            await stack.enter_async_context(self.batcher)
            await self._warm_up()
            self._stack = stack.pop_all()
        self.is_ready = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_ready = False
        await self._stack.aclose()

    async def _warm_up(self) -> None:
        """The first forward pass is much the slowest, so nobody shall wait for it."""
        config = self.model.config
        blank = ModelInput(torch.zeros(config.in_channels, *config.image_shape, dtype=torch.uint8))
        await asyncio.to_thread(self.batcher.run, [Work(pictures=(blank,))])

    async def ask(
        self, request: Request, kind: Kind, *, explain: bool = False
    ) -> tuple[Decoded, Done]:
        """What was in the request, and the model's answer to it.

        Raises `HTTPException` for what is refused, and `ClientGoneError`.
        """
        limit, seconds = self.config.body_limit, self.config.patience
        async with whole_body(request, self.admission, limit=limit, seconds=seconds) as body:
            with self.admission.place():
                started = time.monotonic()
                try:
                    return await self._answer_in_time(request, kind, body, explain=explain)
                finally:
                    self.admission.last_seconds = time.monotonic() - started

    async def _answer_in_time(
        self, request: Request, kind: Kind, body: bytes, *, explain: bool
    ) -> tuple[Decoded, Done]:
        """The answer, given up at the deadline, or as soon as the client leaves."""
        leaving = asyncio.ensure_future(gone(request))
        try:
            async with asyncio.timeout(self.config.deadline) as limit:
                leaving.add_done_callback(lambda _: _end_now(limit))
                content_type = request.headers.get("content-type", "")
                return await self._answer(kind, body, content_type, explain=explain)
        except TimeoutError as error:
            if leaving.done():
                raise ClientGoneError from error
            text = f"no answer within {self.config.deadline:g} seconds; try again later"
            raise HTTPException(504, text) from error
        finally:
            leaving.cancel()

    async def _answer(
        self, kind: Kind, body: bytes, content_type: str, *, explain: bool
    ) -> tuple[Decoded, Done]:
        try:
            decoded = await self.decoders.decode(kind, body, content_type)
        except BaseException:
            self.batcher.consider()  # it need not wait for this one
            raise
        return decoded, await self.batcher.submit(Work(pictures=decoded.pictures, explain=explain))


def _end_now(limit: asyncio.Timeout) -> None:
    with suppress(RuntimeError):  # it has ended by itself
        limit.reschedule(0)
