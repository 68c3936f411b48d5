"""What every request passes first: is the host ours, is the house full; and all are counted.

Plain ASGI, before any framework: a refusal must cost next to nothing when there are thousands.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearhead.serve.admission import BUSY, MAX_RETRY_AFTER
from clearhead.serve.service import Service
from clearhead.serve.waiting import WaitingRoom

Headers = list[tuple[bytes, bytes]]

OTHER = "other"
MOST_OF_HOST = 100  # characters of a wrong one that are said again
SAFE = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


@dataclass(frozen=True)
class Refusal:
    """An answer to those who are turned away before anything of theirs is looked at."""

    status: int
    text: str
    retry_after: int | None = None

    @cached_property
    def body(self) -> bytes:
        """As every error of this server."""
        return json.dumps({"error": self.text}, separators=(",", ":")).encode()

    @cached_property
    def headers(self) -> Headers:
        """What this answer has besides the headers of all answers."""
        length = (b"content-length", b"%d" % len(self.body))
        headers = [(b"content-type", b"application/json"), length]
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        return headers


class Door:
    """An ASGI application around another one."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: Service,
        routes: Collection[str],
        limited: Collection[str],
    ) -> None:
        """`routes` are counted by name, others as one; `limited` ones cost a forward pass."""
        self.app = app
        self.service = service
        self.routes = routes
        self.limited = limited
        self.hosts = service.config.allowed_hosts
        self.room = WaitingRoom(service.admission)
        self.draining = False

    @property
    def is_full(self) -> bool:
        """Whether requests that cost a forward pass are refused now."""
        return self.service.admission.is_full

    def drain(self) -> None:
        """From now on not ready, and every answer is the last one of its connection."""
        self.service.is_ready = False
        self.draining = True

    def count_bad_request(self) -> None:
        """Count what was not HTTP, and so never came to the door."""
        self.service.metrics.count(OTHER, 400)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self.refusal(scope)
        if scope["method"] == "HEAD":  # as GET; the server sends no body
            scope = {**scope, "method": "GET"}

        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.count(scope["path"], message["status"])
                message["headers"] = [*message["headers"], *self.headers]
            await send(message)

        if refusal is None:
            await self.app(scope, receive, count_and_send)
            return
        start = {"status": refusal.status, "headers": refusal.headers}
        await count_and_send({"type": "http.response.start", **start})
        await count_and_send({"type": "http.response.body", "body": refusal.body})

    def count(self, path: str, status: int) -> None:
        """One more request to `path` that got this status."""
        self.service.metrics.count(path if path in self.routes else OTHER, status)

    def refusal(self, scope: Scope) -> Refusal | None:
        """What to answer to those who are turned away; None for all others."""
        named = [value for name, value in scope["headers"] if name == b"host"]
        if not self._is_called(named):
            return Refusal(400, _wrong_host(named))
        if self.is_full and scope["path"] in self.limited and scope["method"] == "POST":
            return _busy(self.service.admission.retry_after)
        return None

    @property
    def headers(self) -> Headers:
        """What every answer has."""
        return [*SAFE, (b"connection", b"close")] if self.draining else SAFE

    def _is_called(self, named: list[bytes]) -> bool:
        """Whether the Host header names this server: a page elsewhere must not reach it.

        (DNS rebinding: a foreign name that suddenly points here.)
        """
        return len(named) == 1 and _without_port(named[0]) in self.hosts


@lru_cache(maxsize=MAX_RETRY_AFTER)
def _busy(retry_after: int) -> Refusal:
    """One for each number of seconds, with body and headers made once."""
    return Refusal(429, BUSY, retry_after)


def _wrong_host(named: list[bytes]) -> str:
    if len(named) != 1:
        return f"a request has one Host header, got {len(named)}"
    name = _without_port(named[0])[:MOST_OF_HOST]
    return f"this server does not answer to the Host {name!r}; start it with --allow-host {name}"


@lru_cache(maxsize=64)
def _without_port(host: bytes) -> str:
    """The name in a Host header: `[::1]:8000` is `::1`."""
    name = host.decode("latin-1").strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]
