"""What every request passes first: is the host ours, is the house full; and all are counted.

Plain ASGI, before any framework: a refusal must cost next to nothing when there are thousands.
"""

import json
from collections.abc import Collection

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearhead.serve.service import Service

OTHER = "other"
SAFE = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


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
        self.draining = False

    def drain(self) -> None:
        """From now on not ready, and every answer is the last one of its connection."""
        self.service.is_ready = False
        self.draining = True

    def count_bad_request(self) -> None:
        """Count what was not HTTP, and so never came to the door."""
        self.service.metrics.requests.labels(OTHER, 400).inc()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        route = path if path in self.routes else OTHER

        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.service.metrics.requests.labels(route, message["status"]).inc()
                headers = [*message.get("headers", ()), *SAFE]
                if self.draining:
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, count_and_send)
        else:
            await _answer(refusal, count_and_send)

    def _refusal(self, scope: Scope) -> HTTPException | None:
        named = [value for name, value in scope["headers"] if name == b"host"]
        if len(named) != 1 or _without_port(named[0]) not in self.hosts:
            return HTTPException(400, "this server is not called so; see --allow-host")
        if (
            scope["path"] in self.limited
            and scope["method"] == "POST"
            and self.service.admission.is_full
        ):
            return self.service.admission.refusal()
        return None


def _without_port(host: bytes) -> str:
    """The name in a Host header: `[::1]:8000` is `::1`."""
    name = host.decode("latin-1").strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


async def _answer(refusal: HTTPException, send: Send) -> None:
    body = json.dumps({"error": refusal.detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in (refusal.headers or {}).items()),
    ]
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
