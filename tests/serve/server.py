"""A server in a thread of the test process, a client for it, and bodies to send."""

import asyncio
import http.client
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any, Self

import numpy as np
from PIL import Image, ImageDraw

from clearhead.models.pretrained import ImageModel
from clearhead.serve._pool import Pool
from clearhead.serve._run import DrainingServer, listen
from clearhead.serve.app import make_app
from clearhead.serve.config import ServeConfig

MODEL = "/v2/models/digits"


class Client:
    """Requests to one port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> "Response":
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            return Response(connection.getresponse())
        finally:
            connection.close()

    def predict(self, body: bytes) -> "Response":
        return self.request("POST", "/v1/predict", body)

    def metrics(self) -> dict[str, float]:
        """Every line of /metrics by its name and labels."""
        lines = self.request("GET", "/metrics").body.decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


class Response:
    """A response that was read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        """The body as strict JSON, without NaN and infinity."""

        def fail(name: str) -> None:
            raise AssertionError(name)

        return json.loads(self.body, parse_constant=fail)


LONG = 9000.0  # seconds, so that no request on a slow machine exceeds the server's limits
USUAL = {"port": 0, "model_processes": 1, "deadline": LONG, "client_timeout": LONG}


class ServerThread(Client):
    """`with ServerThread(model, **settings) as server`."""

    def __init__(self, model: ImageModel, **settings: Any) -> None:
        config = ServeConfig(**USUAL | settings)
        self.app = make_app(model, config)
        self.server = DrainingServer(self.app, config)
        self.listener = listen(config)
        super().__init__(self.listener.getsockname()[1])
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],), daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        wait_until(lambda: self.server.started or not self.thread.is_alive())
        assert self.server.started
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()
        logging.getLogger("clearhead").propagate = True  # the server's log configuration ends it


class ClockedServer(ServerThread):
    """A server with a clock that tests can move forward."""

    def __init__(self, model: ImageModel, **settings: Any) -> None:
        super().__init__(model, **settings)
        self.server.config.loop = "asyncio"  # the clock of uvloop cannot be changed

    def advance(self, seconds: float) -> None:
        advance(self.server.loop, seconds)


def advance(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """Move the clock of an event loop forward."""
    now = loop.time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]
    loop.call_soon_threadsafe(lambda: None)  # it may sleep until its next timer


@contextmanager
def stopped(pool: Pool) -> Iterator[None]:
    """The pool's processes are stopped until the end of the block."""
    pids = [worker.pid for worker in pool.workers]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Copy:
    """In place of a model: what a model process does in place of unpickling it."""

    def __init__(self, function: Callable[..., object], argument: object) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> Any:
        return self.call


def wait_until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.01)


def run_async(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run in a thread of its own: an open browser keeps an event loop in the main one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, coroutine).result()


def status_of(connection: socket.socket) -> int:
    """The status of the next response, which is read to its end."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Response(response).status


def post(body: bytes, path: str = "/v1/predict", *headers: str) -> bytes:
    """A whole request as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def drawn(number: int) -> Image.Image:
    """Three strokes on grey paper, different for every number."""
    random = np.random.default_rng(number)
    image = Image.new("L", (61, 53), 240)
    points = random.integers(8, 45, (4, 2))
    ImageDraw.Draw(image).line([(int(x), int(y)) for x, y in points], fill=15, width=5)
    return image


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


def png(number: int) -> bytes:
    return encoded(drawn(number))


BLANK = encoded(Image.new("L", (50, 40), 200))


def tensor(rows: int, seed: int = 0) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Random model inputs."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (rows, 1, 28, 28), dtype=np.uint8)


def tensor_request(rows: int, seed: int = 0, **more: Any) -> bytes:
    """An inference request with random model inputs."""
    pixels = tensor(rows, seed)
    images = {"name": "images", "shape": pixels.shape, "datatype": "UINT8"}
    return json.dumps({"inputs": [images | {"data": pixels.ravel().tolist()}], **more}).encode()
