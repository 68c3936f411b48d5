"""From a request to the model's results: read, decode, compute, within the deadline."""

from math import ceil
from typing import Any, Self

from fastapi import Request

from clearhead.inference import ModelCopy, load_engine, uses_digit_preprocessing
from clearhead.models.pretrained import ImageModel
from clearhead.serve._bodies import BodyHeaders, Kind
from clearhead.serve._limits import read_body, within_deadline
from clearhead.serve._pool import Job, Pool
from clearhead.serve.config import ServeConfig
from clearhead.serve.metrics import Metrics


class Service:
    """One model with its processes and metrics: `async with Service(...) as service`."""

    def __init__(self, model: ImageModel, config: ServeConfig) -> None:
        self.model = model
        self.config = config
        self.name = config.name or ("digits" if uses_digit_preprocessing(model.config) else "model")
        self.metrics = Metrics()
        # The engine is compiled and checked here; "auto" is decided once, for all processes.
        engine = config.engine
        if engine != "torch":
            engine = load_engine(model, engine, batch_size=config.max_batch).name
        self.pool = Pool(
            ModelCopy(model, engine),
            self.metrics,
            processes=ceil(config.model_processes / config.workers),
            max_batch=config.max_batch,
            body_limit=config.body_limit,
            seconds=config.deadline,
        )
        self.is_ready = False

    async def __aenter__(self) -> Self:
        await self.pool.__aenter__()
        self.is_ready = True
        return self

    async def __aexit__(self, *error: object) -> None:
        self.is_ready = False
        await self.pool.__aexit__(*error)

    async def process(self, request: Request, kind: Kind) -> Any:
        """The result of `Pool.run` for a request's body."""
        limit, seconds = self.config.body_limit, self.config.client_timeout
        body = await read_body(request, limit=limit, seconds=seconds)
        work = self.pool.run(Job(kind, body, BodyHeaders.of(request)))
        return await within_deadline(request, work, seconds=self.config.deadline)
