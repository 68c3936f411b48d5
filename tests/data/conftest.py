"""A real web server that misbehaves in the way its path names."""

import gzip
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from typing import Any

import pytest

Behaviour = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server:
    """Serves /BEHAVIOUR/NAME.gz: the file NAME, gzipped."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.stalls = False  # whether the newest request waits for a response, or for its end
        self.stopped = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, behaviour, name = self.path.split("/")
                owner.requests[behaviour] += 1
                owner.stalls = behaviour.startswith(("stall", "trickle"))
                body = gzip.compress(owner.files[name.removesuffix(".gz")], mtime=0)
                try:
                    owner.behaviours[behaviour](self, body)
                except OSError:  # the client has disconnected
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class QuietServer(ThreadingHTTPServer):
            request_queue_size = 64
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self.http = QuietServer(("127.0.0.1", 0), Handler)
        self.behaviours: dict[str, Behaviour] = {
            "honest": lambda handler, body: self.send(handler, body),
            "cut": lambda handler, body: self.send(handler, body[:-7], announced=len(body)),
            "corrupt": lambda handler, body: self.send(handler, flipped(body)),
            "other": lambda handler, body: self.send(handler, b"<html>please log in</html>"),
            "short": lambda handler, body: self.send(handler, body[:-17]),
            "endless": self.endless,
            "bomb": lambda handler, body: self.send(handler, gzip.compress(bytes(10**7))),
            "stall": lambda handler, body: self.wait(),
            "stall_midway": self.stall_midway,
            "trickle": self.trickle,
            "trickle_headers": self.trickle_headers,
            "steady": self.steady,
            "missing": lambda handler, body: handler.send_error(404),
            "broken": lambda handler, body: handler.send_error(500),
            "garbage": lambda handler, body: self.garbage(handler),
            "redirect": lambda handler, body: self.redirect(handler, self.url("honest") + "/x.gz"),
        }
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, behaviour: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.http.server_address[1]}/{behaviour}"

    def close(self) -> None:
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()

    def wait(self, seconds: float | None = None) -> None:
        if self.stopped.wait(seconds):
            raise OSError("the test is over")

    def send(
        self, handler: BaseHTTPRequestHandler, body: bytes, announced: int | None = None
    ) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) if announced is None else announced))
        handler.end_headers()
        handler.wfile.write(body)

    def endless(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)
        while not self.stopped.is_set():
            handler.wfile.write(bytes(100_000))

    def stall_midway(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.send(handler, body[: len(body) // 2], announced=len(body))
        self.wait()

    def trickle(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.send(handler, b"", announced=len(body))
        for byte in body:
            handler.wfile.write(bytes([byte]))
            self.wait(0.02)

    def trickle_headers(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            handler.wfile.write(b"a")
            self.wait(0.02)

    def steady(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Slow, but not too slow: 10 parts in half a second."""
        self.send(handler, b"", announced=len(body))
        step = -(-len(body) // 10)
        for start in range(0, len(body), step):
            self.wait(0.05)
            handler.wfile.write(body[start : start + step])

    def garbage(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x00\x01 no known protocol\r\n\r\n")

    def redirect(self, handler: BaseHTTPRequestHandler, target: str) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


class StallQueue(SimpleQueue[Any]):
    """A queue whose time-outs take effect only while the server stalls, on slow machines too."""

    server: Server
    timeouts: list[float]  # all that were given

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        assert timeout is not None
        self.timeouts.append(timeout)
        while True:
            try:
                return super().get(timeout=timeout)
            except Empty:
                if self.server.stalls:
                    self.server.stalls = False
                    raise
                timeout = 0.01


def flipped(content: bytes, place: int = -30) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(content)
    changed[place] ^= 0x10
    return bytes(changed)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()
