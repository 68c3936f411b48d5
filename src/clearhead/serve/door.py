"""What every request passes first: is the host ours, is the house full; and all are counted.

Plain ASGI, before any framework: a refusal must cost next to nothing when there are thousands.
"""

from collections.abc import Collection
from functools import lru_cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clearhead.serve.admission import BUSY
from clearhead.serve.service import Service

Headers = list[tuple[bytes, bytes]]

OTHER = "other"
WRONG_HOST = "this server does not answer to that Host; start it with --allow-host"
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
        self.service.metrics.count(OTHER, 400)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        route = path if path in self.routes else OTHER

        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.service.metrics.count(route, message["status"])
                message["headers"] = [*message["headers"], *SAFE]
                if self.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        refusal = self.refusal(scope)
        if refusal is None:
            await self.app(scope, receive, count_and_send)
        else:
            await _refuse(count_and_send, *refusal)

    def refusal(self, scope: Scope) -> tuple[int, str, Headers] | None:
        """Status, text and headers for who is turned away before anything else is looked at."""
        admission = self.service.admission
        if not self._is_called_so(scope):
            return 400, WRONG_HOST, []
        if admission.is_full and scope["path"] in self.limited and scope["method"] == "POST":
            return 429, BUSY, [(b"retry-after", str(admission.retry_after).encode())]
        return None

    def _is_called_so(self, scope: Scope) -> bool:
        """Whether the Host header names this server: a page elsewhere must not reach it.

        (DNS rebinding: a foreign name that suddenly points here.)
        """
        named = [value for name, value in scope["headers"] if name == b"host"]
        return len(named) == 1 and _without_port(named[0]) in self.hosts


@lru_cache(maxsize=64)
def _without_port(host: bytes) -> str:
    """The name in a Host header: `[::1]:8000` is `::1`."""
    name = host.decode("latin-1").strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


async def _refuse(send: Send, status: int, text: str, headers: Headers) -> None:
    body = b'{"error":"%s"}' % text.encode()
    length = (b"content-length", str(len(body)).encode())
    start = [(b"content-type", b"application/json"), length, *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
