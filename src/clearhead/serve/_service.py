"""From a request to the model's results: read, decode, compute, within the deadline."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from math import ceil
from typing import Any, Self, TypeVar

import torch
from fastapi import Request

from clearhead.inference import ModelInput, load_engine, uses_digit_preprocessing
from clearhead.models.pretrained import ImageModel
from clearhead.serve._batcher import Batcher, Result, Work, compute
from clearhead.serve._bodies import BodyHeaders, Decoded, Kind
from clearhead.serve._decoders import Decoders, response_of
from clearhead.serve._limits import read_body, within_deadline
from clearhead.serve.config import ServeConfig
from clearhead.serve.metrics import Metrics

T = TypeVar("T")


class Service:
    """One model with its decoders, batcher and metrics: `async with Service(...) as service`."""

    def __init__(self, model: ImageModel, config: ServeConfig) -> None:
        self.model = model
        self.ready_model = (
            model
            if config.engine == "torch"
            else load_engine(model, config.engine, batch_size=config.max_batch)
        )
        self.config = config
        self.name = config.name or ("digits" if uses_digit_preprocessing(model.config) else "model")
        self.metrics = Metrics()
        self.decoders = Decoders(
            self.ready_model,
            self.metrics,
            processes=ceil(config.decoders / config.workers),
            max_images=config.max_batch,
            body_limit=config.body_limit,
            seconds=config.deadline,
        )
        self.batcher = Batcher(
            self.ready_model,
            self.metrics,
            max_batch=config.max_batch,
            batch_wait=config.batch_wait,
            num_upcoming=lambda: self.decoders.pending,
        )
        self.is_ready = False

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.decoders)
            await stack.enter_async_context(self.batcher)
            config = self.model.config
            blank = torch.zeros(config.in_channels, *config.image_shape, dtype=torch.uint8)
            # The first forward pass is slow: no request has to wait for it.
            await asyncio.to_thread(compute, self.ready_model, [Work(inputs=(ModelInput(blank),))])
            self._stack = stack.pop_all()
        self.is_ready = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_ready = False
        await self._stack.aclose()

    def is_free(self) -> bool:
        """Whether a process is free and no batch is computed."""
        return self.decoders.is_free and self.batcher.is_idle

    async def predict(self, request: Request) -> bytes:
        """The response to a picture, as JSON."""
        body, headers = await self._read(request)
        return await self._within_deadline(request, self._predict(body, headers))

    async def process(
        self, request: Request, kind: Kind, *, explain: bool = False
    ) -> tuple[Decoded, Result]:
        """A request's decoded body, and the model's results for it."""
        body, headers = await self._read(request)
        work = self._compute(kind, body, headers, explain=explain)
        return await self._within_deadline(request, work)

    async def _read(self, request: Request) -> tuple[bytes, BodyHeaders]:
        config = self.config
        body = await read_body(request, limit=config.body_limit, seconds=config.client_timeout)
        return body, BodyHeaders.of(request)

    async def _within_deadline(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        return await within_deadline(request, work, seconds=self.config.deadline)

    async def _predict(self, body: bytes, headers: BodyHeaders) -> bytes:
        """If a process is free, it decodes and classifies the picture; else a batch does."""
        if self.is_free():
            return await self.decoders.predict(body, headers)
        _, result = await self._compute("picture", body, headers)
        return response_of(result.predictions[0])

    async def _compute(
        self, kind: Kind, body: bytes, headers: BodyHeaders, *, explain: bool = False
    ) -> tuple[Decoded, Result]:
        try:
            decoded = await self.decoders.decode(kind, body, headers)
        except BaseException:
            self.batcher.notify()  # a batch may be waiting for this request
            raise
        return decoded, await self.batcher.submit(Work(inputs=decoded.inputs, explain=explain))
