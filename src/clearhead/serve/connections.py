"""Connections that clients cannot hold open by sending, or reading, ever so slowly.

uvicorn limits the time between two requests alone. Here a request's head must be there within
`patience` of the connection or of the last answer, and an answer must be taken within it; the body
is watched by `bodies`, which can still answer 408.
"""

import asyncio
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from clearhead.serve.door import Door

ARRIVING = 1.0  # seconds, while draining, for requests that are on their way


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits."""

    def __init__(self, *, patience: float, door: Door, **settings: Any) -> None:
        super().__init__(**settings)
        self.patience = patience
        self.door = door
        self.receiving: asyncio.TimerHandle | None = None
        self.writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request must come soon."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer outlives the connection."""
        self._stop(self.receiving)
        self._stop(self.writing)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._expect_request()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._stop(self.receiving)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The last byte of an answer, which still has to leave."""
        super().on_response_complete()
        self._expect_request()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._stop(self.writing)
        self.writing = self.loop.call_later(self.patience, self.transport.abort)

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
        if self.flow.write_paused or self.door.refusal(dict(cycle.scope)) is None:
            super()._start_asgi_task(cycle, app)
            return
        refusing = cycle.run_asgi(app)
        with suppress(StopIteration):
            refusing.send(None)
            self.transport.abort()  # never: it has nothing to wait for

    def shutdown(self) -> None:
        """Stop after the requests that are here or on their way; half-sent ones are cut."""
        self.loop.call_later(ARRIVING, self._end)
        if self._is_answering():
            self.cycle.keep_alive = False

    def _end(self) -> None:
        if self._is_answering():
            self.cycle.keep_alive = False
        else:
            self._close()

    def _is_answering(self) -> bool:
        """Whether a whole request is here that has no whole answer yet."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def _expect_request(self) -> None:
        self._stop(self.receiving)
        self.receiving = self.loop.call_later(self.patience, self._lose_patience)

    def _lose_patience(self) -> None:
        if self.cycle is None or self.cycle.response_complete or self.transport.is_closing():
            self._close()

    def _close(self) -> None:
        self.transport.close()
        # Bytes that nobody takes would keep a closed connection for ever.
        self.loop.call_later(self.patience, self.transport.abort)

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
