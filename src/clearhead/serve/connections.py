"""Connections that clients cannot hold open by sending, or reading, ever so slowly.

uvicorn limits the time between two requests alone. Here a request's head must be there within
`patience` of the connection or of the last answer, and an answer must be taken within it; the body
is watched by `bodies`, which can still answer 408.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from clearhead.serve.door import Door, Refusal

ARRIVING = 1.0  # seconds, while draining, for requests that are on their way


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits."""

    def __init__(self, *, patience: float, door: Door, **settings: Any) -> None:
        super().__init__(**settings)
        self.patience = patience
        self.door = door
        self.running: RequestResponseCycle | None = None  # uvicorn's `cycle` is the last one read
        self.expected_by: float | None = None  # when the request must be there, if one is due
        self.receiving: asyncio.TimerHandle | None = None
        self.writing: asyncio.TimerHandle | None = None
        self.closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request must come soon."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer outlives the connection."""
        self._stop(self.receiving)
        self._stop(self.writing)
        self._stop(self.closing)
        if self.running is not None and not self.running.response_complete:
            self.running.disconnected = True
            self.running.message_event.set()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._expect_request()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self.expected_by = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The last byte of an answer, which still has to leave."""
        super().on_response_complete()
        self._expect_request()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._stop(self.writing)
        self.writing = self.loop.call_later(self.patience, self._abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._stop(self.writing)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is counted too."""
        self.door.count_bad_request()
        super().send_400_response(msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Refusals are sent at once, without a task: a flood of them must leave time for work."""
        self.running = cycle
        refusal = None if self.flow.write_paused else self.door.refusal(dict(cycle.scope))
        if refusal is None:
            super()._start_asgi_task(cycle, app)
        else:
            self._refuse(cycle, refusal)

    def _refuse(self, cycle: RequestResponseCycle, refusal: Refusal) -> None:
        """The whole answer in one write."""
        closes = not cycle.keep_alive or self.door.draining
        headers = [*self.server_state.default_headers, *refusal.headers, *self.door.headers]
        if closes and not self.door.draining:
            headers.append((b"connection", b"close"))
        lines = (b"%s: %s\r\n" % header for header in headers)
        body = b"" if cycle.scope["method"] == "HEAD" else refusal.body
        self.transport.write(b"".join((STATUS_LINE[refusal.status], *lines, b"\r\n", body)))
        self.door.count(cycle.scope["path"], refusal.status)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if closes:
            self.transport.close()
        cycle.on_response()

    def shutdown(self) -> None:
        """Stop after the requests that are here or on their way; half-sent ones are cut."""
        self.loop.call_later(ARRIVING, self._end)
        if self.running is not None:
            self.running.keep_alive = False

    def _end(self) -> None:
        running = self.running
        if running is None or running.response_complete or running.more_body:
            self._close()

    def _expect_request(self) -> None:
        self.expected_by = self.loop.time() + self.patience
        if self.receiving is None:  # one timer a connection: making one for each request costs more
            self.receiving = self.loop.call_later(self.patience, self._look_for_request)

    def _look_for_request(self) -> None:
        self.receiving = None
        if self.expected_by is None:
            return
        left = self.expected_by - self.loop.time()
        if left > 0:
            self.receiving = self.loop.call_later(left, self._look_for_request)
        else:
            self._lose_patience()

    def _lose_patience(self) -> None:
        """If a request's body is what is slow, `bodies` answers; all else ends here."""
        if self.running is None or self.running.response_complete or self.transport.is_closing():
            self._close()

    def _close(self) -> None:
        self.transport.close()
        # Bytes that nobody takes would keep a closed connection for ever.
        self._stop(self.closing)
        self.closing = self.loop.call_later(self.patience, self._abort)

    def _abort(self) -> None:
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            with suppress(
                OSError, ValueError
            ):  # no lingering: the system must not go on sending either
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
