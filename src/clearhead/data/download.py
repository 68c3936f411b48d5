"""One file over HTTPS: never more than was announced, and never a wait without an end.

The transfer runs in a thread of its own, because nothing else bounds all of it: name lookup, a
server that sends its headers letter by letter, a body that trickles. The caller waits with
`Patience`, and what is late is left behind.
"""

import re
import time
import zlib
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread

import httpx

CONNECT_SECONDS = 3.0
SLOWEST = 32 * 1024  # bytes a second; slower than this for long counts as a stall
MAX_REDIRECTS = 5
GZIP = b"\x1f\x8b"
TOO_SLOW = "no answer, or too slow"
FAILURES = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError)

Report = Callable[[str, int], None]
"""Told what is being fetched, and how many bytes of it have come so far."""


class UnavailableError(Exception):
    """A source does not give what it should; the message is the reason, in a few words."""


class Patience:
    """Seconds left to wait: they run down with the clock, and bytes that arrive earn them back."""

    def __init__(self, seconds: float) -> None:
        self.limit = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until waiting has no use any more; 0 when it is over."""
        return max(0.0, self._end - time.monotonic())

    def earn(self, count: int) -> None:
        """Lengthen the wait by what `count` bytes may take, up to the first limit."""
        self._end = min(self._end + count / SLOWEST, time.monotonic() + self.limit)


def download(
    url: str, limit: int, patience: Patience, report: Callable[[int], None] | None = None
) -> bytes:
    """The bytes behind `url`, at most `limit`; raises `UnavailableError`."""
    chunks: SimpleQueue[bytes | UnavailableError | None] = SimpleQueue()
    stop = Event()
    Thread(target=_transfer, args=(url, patience.limit, chunks, stop), daemon=True).start()
    content = bytearray()
    try:
        for chunk in _arriving(chunks, patience):
            content += chunk
            if len(content) > limit:
                raise UnavailableError(f"sent more than the {limit} bytes expected")
            if report is not None:
                report(len(content))
    finally:
        stop.set()
    return bytes(content)


def unpack(content: bytes, size: int) -> bytes:
    """The gzip file's content, or `content` itself if it is none; at most `size` bytes.

    Raises `UnavailableError` for anything that is not exactly one whole gzip stream, and before
    more than `size` bytes are made of it.
    """
    if not content.startswith(GZIP):
        return content
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = stream.decompress(content, size + 1)
    except zlib.error as error:
        raise UnavailableError(f"damaged gzip file ({error})") from error
    if len(plain) > size:
        raise UnavailableError(f"unpacks to more than the {size} bytes expected")
    if not stream.eof or stream.unused_data:
        raise UnavailableError("gzip file is cut or has a tail")
    return plain


def _arriving(
    chunks: "SimpleQueue[bytes | UnavailableError | None]", patience: Patience
) -> Iterator[bytes]:
    while True:
        try:
            chunk = chunks.get(timeout=patience.left())
        except Empty:
            raise UnavailableError(TOO_SLOW) from None
        if chunk is None:
            return
        if isinstance(chunk, UnavailableError):
            raise chunk
        patience.earn(len(chunk))
        yield chunk


def _transfer(
    url: str,
    seconds: float,
    chunks: "SimpleQueue[bytes | UnavailableError | None]",
    stop: Event,
) -> None:
    """Runs in the thread: everything it has to say goes into `chunks`."""
    timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
    try:
        with httpx.Client(timeout=timeout, headers={"Accept-Encoding": "identity"}) as client:
            for chunk in _body(client, url):
                if stop.is_set():
                    return
                chunks.put(chunk)
        chunks.put(None)
    except UnavailableError as error:
        chunks.put(error)
    except httpx.TimeoutException:  # whose clock is first is chance
        chunks.put(UnavailableError(TOO_SLOW))
    except FAILURES as error:
        chunks.put(UnavailableError(_in_one_line(error)))


def _body(client: httpx.Client, url: str) -> Iterator[bytes]:
    """The body's bytes as they were sent; a redirect is followed to an https address only."""
    for _ in range(MAX_REDIRECTS):
        with client.stream("GET", url) as response:
            if response.next_request is None:
                if response.status_code != httpx.codes.OK:
                    raise UnavailableError(f"answered {response.status_code}")
                yield from response.iter_raw()
                return
            target = response.next_request.url
        if target.scheme != "https":
            raise UnavailableError(f"redirects to {target.scheme}, not https")
        url = str(target)
    raise UnavailableError("redirects without end")


def _in_one_line(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"\[Errno -?\d+\] ", "", words)
