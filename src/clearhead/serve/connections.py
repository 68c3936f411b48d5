"""Connections that clients cannot hold open by sending, or reading, ever so slowly.

uvicorn limits the time between two requests alone. Here a request's head must be there within
`patience` of the connection or of the last answer, and an answer must be taken within it; the body
is watched by `bodies`, which can still answer 408.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from clearhead.serve.door import Door, Refusal
from clearhead.serve.plain import plain_post
from clearhead.serve.waiting import Waiting

NO_HTTP = Refusal(400, "this is not HTTP as it should be; the connection is closed")
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
        self.waiting: Waiting | None = None  # in the door's room
        self.is_arriving = False  # between the first and the last byte of a request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request must come soon."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer outlives the connection."""
        self._stop(self.receiving)
        self._stop(self.writing)
        self._stop(self.closing)
        if self.waiting is not None:
            self.door.room.leave(self.waiting)
        if self.running is not None and not self.running.response_complete:
            self.running.disconnected = True
            self.running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests; one that there is no place for is not parsed before there is.

        When there are thousands of those, parsing them would take most of the time there is.
        """
        scope = plain_post(data) if self.door.is_full and self._is_between() else None
        refusal = None if scope is None else self.door.refusal(scope)
        if scope is None or refusal is None:
            super().data_received(data)
            return
        self._unset_keepalive_if_required()
        self.expected_by = None
        self.flow.pause_reading()
        self._turn_away(
            refusal,
            partial(self._read_now, data),
            partial(self._refuse_unread, scope["path"], refusal),
        )

    def _read_now(self, data: bytes) -> None:
        """There is a place for what was not parsed."""
        self.flow.resume_reading()
        super().data_received(data)

    def _is_between(self) -> bool:
        """Whether the next byte is the first of a request, and nobody else's answer is due."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not (self.is_arriving or self.pipeline or self.flow.write_paused)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.is_arriving = True
        super().on_message_begin()
        self._expect_request()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self.is_arriving = False
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
        """What is not HTTP is refused as all else is, and counted."""
        self.door.count_bad_request()
        self._write_refusal(NO_HTTP, closes=True)
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Refusals get no task: a flood of them must leave time for work."""
        self.running = cycle
        refusal = None if self.flow.write_paused else self.door.refusal(dict(cycle.scope))
        if refusal is None:
            super()._start_asgi_task(cycle, app)
        else:
            start = partial(super()._start_asgi_task, cycle, app)
            self._turn_away(refusal, start, partial(self._refuse, cycle, refusal))

    def _turn_away(
        self, refusal: Refusal, admit: Callable[[], None], refuse: Callable[[], None]
    ) -> None:
        """Refuse; for want of a place, only if none becomes free in a moment."""
        if refusal.retry_after is None:
            refuse()
        else:
            self.waiting = self.door.room.enter(admit, refuse)

    def _refuse(self, cycle: RequestResponseCycle, refusal: Refusal) -> None:
        """The answer to a request that was parsed."""
        closes = not cycle.keep_alive or self.door.draining
        self._write_refusal(refusal, closes=closes, is_head=cycle.scope["method"] == "HEAD")
        self.door.count(cycle.scope["path"], refusal.status)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if closes:
            self.transport.close()
        cycle.on_response()

    def _refuse_unread(self, path: str, refusal: Refusal) -> None:
        """The answer to one that was not."""
        self._write_refusal(refusal, closes=self.door.draining)
        self.door.count(path, refusal.status)
        if self.door.draining:
            self.transport.close()
            return
        self.flow.resume_reading()
        self._expect_request()

    def _write_refusal(self, refusal: Refusal, *, closes: bool, is_head: bool = False) -> None:
        headers = [*self.server_state.default_headers, *refusal.headers, *self.door.headers]
        if closes and not self.door.draining:
            headers.append((b"connection", b"close"))
        body = b"" if is_head else refusal.body
        self.transport.write(_head(refusal.status, tuple(headers)) + body)

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


@lru_cache(maxsize=8)
def _head(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Status line and headers, which are the same for all refusals of a second."""
    lines = (b"%s: %s\r\n" % header for header in headers)
    return b"".join((STATUS_LINE[status], *lines, b"\r\n"))
