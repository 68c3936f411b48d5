"""A request's body: read whole, within its limits of size and time, or refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from clearhead.serve.admission import Admission

LINGER_SECONDS = 2.0
CLOSE = {"connection": "close"}


class ClientGoneError(Exception):
    """The client has left: nobody reads an answer."""


@asynccontextmanager
async def whole_body(
    request: Request, admission: Admission, *, limit: int, seconds: float
) -> AsyncIterator[bytes]:
    """The body; as long as it is in use, its bytes count towards those held in memory.

    Raises 413 at the first byte too many (or at once, by Content-Length), 408 if it is not there
    in time, 429 if too many bytes are held already, and `ClientGoneError`.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        try:
            async with asyncio.timeout(seconds):
                await _read(request, body, admission, limit)
        except TimeoutError as error:
            text = f"the request was not there in whole after {seconds:g} seconds"
            raise HTTPException(408, text, CLOSE) from error
        yield bytes(body)
    finally:
        admission.hold(-len(body))


async def _read(request: Request, body: bytearray, admission: Admission, limit: int) -> None:
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        if len(body) + len(chunk) > limit:
            raise _too_large(limit)
        admission.hold(len(chunk))
        body += chunk
        more = message.get("more_body", False)


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"a body has at most {limit:,} bytes; send a smaller one", CLOSE)


async def gone(request: Request) -> None:
    """Return when the client has left; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class LastResponse(JSONResponse):
    """An answer to a client that may still be sending: the rest is read and thrown away a while.

    A connection that is closed with unread bytes is reset, and the client would lose the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, wait for the client to end, and only then close."""
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(self.body), "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (message := await receive())["type"] == "http.request":
                    if not message.get("more_body", False):
                        break
        await send({"type": "http.response.body", "body": b"", "more_body": False})
