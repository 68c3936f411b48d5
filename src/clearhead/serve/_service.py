"""From a request to the model's results: read, decode, compute, within the deadline."""

import asyncio
from contextlib import AsyncExitStack
from typing import Self

import torch
from fastapi import Request

from clearhead.inference import ModelInput, load_engine
from clearhead.models.pretrained import ImageModel
from clearhead.serve._batcher import Batcher, Result, Work, compute
from clearhead.serve._decoders import Decoded, Decoders, Kind
from clearhead.serve._limits import read_body, within_deadline
from clearhead.serve.config import ServeConfig
from clearhead.serve.metrics import Metrics


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
        self.metrics = Metrics()
        self.decoders = Decoders(
            model.config,
            self.metrics,
            processes=config.decoders,
            max_images=config.max_batch,
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

    async def process(
        self, request: Request, kind: Kind, *, explain: bool = False
    ) -> tuple[Decoded, Result]:
        """A request's decoded body, and the model's results for it."""
        config = self.config
        body = await read_body(request, limit=config.body_limit, seconds=config.client_timeout)
        content_type = request.headers.get("content-type", "")
        work = self._compute(kind, body, content_type, explain=explain)
        return await within_deadline(request, work, seconds=config.deadline)

    async def _compute(
        self, kind: Kind, body: bytes, content_type: str, *, explain: bool
    ) -> tuple[Decoded, Result]:
        try:
            decoded = await self.decoders.decode(kind, body, content_type)
        except BaseException:
            self.batcher.notify()  # a batch may be waiting for this request
            raise
        return decoded, await self.batcher.submit(Work(inputs=decoded.inputs, explain=explain))
