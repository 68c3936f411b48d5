"""Requests that arrive together share a forward pass, in one compute thread.

While a batch computes, the next one accumulates: the busier the server, the larger the batches.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.data import normalize
from clearhead.errors import InputError, NothingCapturedError
from clearhead.inference import EngineModel, ModelInput, ModelLike, Prediction, predict_inputs
from clearhead.recording import capture
from clearhead.serve.metrics import Metrics


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """The model inputs of one request, and whether their attention is wanted too."""

    inputs: tuple[ModelInput, ...]
    explain: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The predictions for one request, and the attention weights in float64."""

    predictions: tuple[Prediction, ...]
    attention: Float[Tensor, "images layers heads queries keys"] | None = None


@dataclass(eq=False)
class _Item:
    work: Work
    result: asyncio.Future[Result]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """`async with Batcher(...) as batcher`: a queue in front of one model."""

    def __init__(
        self,
        model: ModelLike,
        metrics: Metrics,
        *,
        max_batch: int,
        batch_wait: float = 0.0,
        num_upcoming: Callable[[], int] = lambda: 0,
    ) -> None:
        """A batch waits up to `batch_wait` seconds for upcoming requests, for as many as it has."""
        self.model = model
        self.metrics = metrics
        self.max_batch = max_batch
        self.batch_wait = batch_wait
        self.num_upcoming = num_upcoming
        self.queue: dict[_Item, None] = {}  # in order; any item can leave at once
        self.changed = asyncio.Event()
        self.computing = False

    async def __aenter__(self) -> Self:
        self.thread = ThreadPoolExecutor(1, "compute")
        self.task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        self.thread.shutdown(wait=False, cancel_futures=True)

    @property
    def is_idle(self) -> bool:
        """Whether no request waits or is computed."""
        return not self.queue and not self.computing

    async def submit(self, work: Work) -> Result:
        """The result of some work; a call that is cancelled while it waits is never computed."""
        item = _Item(work, asyncio.get_running_loop().create_future())
        self.queue[item] = None
        self.notify()
        try:
            return await item.result
        finally:
            self.queue.pop(item, None)
            self.metrics.queue_depth.set(len(self.queue))

    def notify(self) -> None:
        """Reconsider whether to wait: the queue, or the number of upcoming requests, changed."""
        self.changed.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_for_batch()
            batch = self._take()
            self.computing = True
            started = time.monotonic()
            for item in batch:
                self.metrics.queue_seconds.observe(started - item.since)
            self.metrics.batch_size.observe(sum(len(item.work.inputs) for item in batch))
            self.metrics.queue_depth.set(len(self.queue))
            works = [item.work for item in batch]
            results = await loop.run_in_executor(self.thread, compute, self.model, works)
            self.metrics.compute_seconds.observe(time.monotonic() - started)
            self.computing = False
            for item, result in zip(batch, results, strict=True):
                if item.result.done():
                    continue
                if isinstance(result, Exception):
                    item.result.set_exception(result)
                else:
                    item.result.set_result(result)

    async def _wait_for_batch(self) -> None:
        """Until a batch is full, or nothing more is worth waiting for."""
        while True:
            self.changed.clear()
            wait = None
            if self.queue:
                wait = next(iter(self.queue)).since + self.batch_wait - time.monotonic()
                enough = min(self.max_batch, self.num_upcoming() + 1)
                if wait <= 0 or sum(len(item.work.inputs) for item in self.queue) >= enough:
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self.changed.wait()

    def _take(self) -> list[_Item]:
        """As many as fit, at least one, oldest first."""
        batch: list[_Item] = []
        images = 0
        for item in self.queue:
            images += len(item.work.inputs)
            if batch and images > self.max_batch:
                break
            batch.append(item)
        for item in batch:
            del self.queue[item]
        return batch


def compute(model: ModelLike, batch: Sequence[Work]) -> list[Result | Exception]:
    """Results of a batch in one forward pass; after a failure, of each request alone.

    An image that makes the forward pass fail thus fails only its own request.
    """
    try:
        return list(_forward(model, batch))
    except Exception as error:  # noqa: BLE001 - raised in the request that it belongs to
        if len(batch) == 1:
            return [error]
        return [result for work in batch for result in compute(model, [work])]


def _forward(model: ModelLike, batch: Sequence[Work]) -> list[Result]:
    predictions = iter(predict_inputs(model, [item for work in batch for item in work.inputs]))
    explained = [item.pixels for work in batch if work.explain for item in work.inputs]
    attention = iter(attention_weights(model, torch.stack(explained)) if explained else ())
    results = []
    for work in batch:
        count = range(len(work.inputs))
        weights = torch.stack([next(attention) for _ in count]) if work.explain else None
        results.append(
            Result(predictions=tuple(next(predictions) for _ in count), attention=weights)
        )
    return results


def attention_weights(
    model: ModelLike, images: UInt8[Tensor, "images channels height width"]
) -> Float[Tensor, "images layers heads queries keys"]:
    """The attention weights of all layers and heads, in float64 on the CPU; by torch."""
    model = model.model if isinstance(model, EngineModel) else model
    like = next(model.parameters())
    try:
        with torch.inference_mode(), capture() as recording:
            model(normalize(images.to(like.device), model.config).to(like.dtype))
    except NothingCapturedError as error:
        raise InputError(f"a {type(model).__name__} has no attention to explain") from error
    return torch.stack([weights.double().cpu() for weights in recording.to_hf()], dim=1)
