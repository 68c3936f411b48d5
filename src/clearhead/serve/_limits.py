"""Limits of concurrency, size and time."""

import asyncio
import time
from collections.abc import Coroutine
from math import ceil
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from clearhead.serve.telemetry import Metrics

T = TypeVar("T")

BUSY = "the server is busy; try again after the seconds in Retry-After"
MAX_RETRY_AFTER = 30
UNWATCHED = 0.01
"""Seconds of a request before the server begins to check for a disconnected client"""


class ConcurrencyLimit:
    """ASGI middleware: above `max_concurrency` POST requests in progress, respond 429 at once."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, max_concurrency: int) -> None:
        self.app = app
        self.metrics = metrics
        self.max_concurrency = max_concurrency
        self.active = 0
        self.last_seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self.active >= self.max_concurrency:
            retry_after = min(max(1, ceil(self.last_seconds)), MAX_RETRY_AFTER)
            refusal = JSONResponse({"error": BUSY}, 429, {"retry-after": str(retry_after)})
            await refusal(scope, receive, send)
            return
        started = time.monotonic()
        self._add(1)
        try:
            await self.app(scope, receive, send)
        finally:
            self._add(-1)
            self.last_seconds = time.monotonic() - started

    def _add(self, count: int) -> None:
        self.active += count
        self.metrics.in_progress.set(self.active)


async def read_body(request: Request, *, limit: int, seconds: float) -> bytes:
    """The whole body; `HTTPException` 413 above `limit` bytes, 408 if incomplete in time."""
    too_large = HTTPException(413, f"the body exceeds {limit:,} bytes; send a smaller one")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise too_large
    except TimeoutError as error:
        text = f"the request was incomplete after {seconds:g} seconds; send it faster"
        raise HTTPException(408, text, {"connection": "close"}) from error
    return bytes(body)


async def within_deadline(request: Request, work: Coroutine[Any, Any, T], *, seconds: float) -> T:
    """Await some work; cancel it at the deadline (504), or when the client disconnects.

    The request's body must have been read.
    """
    task = asyncio.current_task()
    watches: list[asyncio.Task[None]] = []

    def watch() -> None:
        watches.append(asyncio.create_task(_cancel_if_disconnected(request, task)))

    # Most requests are complete by then; a task for each would take longer than parsing it.
    timer = asyncio.get_running_loop().call_later(UNWATCHED, watch)
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        text = f"no response within {seconds:g} seconds; try again later"
        raise HTTPException(504, text) from error
    except asyncio.CancelledError:
        if any(one.done() and not one.cancelled() for one in watches) and task is not None:
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        for one in watches:
            one.cancel()


async def _cancel_if_disconnected(request: Request, task: "asyncio.Task[Any] | None") -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    if task is not None:
        task.cancel()
