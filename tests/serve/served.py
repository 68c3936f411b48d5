"""A server in a process of its own: started by tests, talked to over a loopback socket.

As a script: `served.py MODEL_FOLDER SETTINGS_JSON SECONDS`, where every forward pass takes SECONDS
longer than it needs to.
"""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


class Served:
    """A running server."""

    def __init__(self, folder: str, settings: dict[str, Any], *, seconds: float = 0.0) -> None:
        # a file, not a pipe: nobody has to read it for the server to go on
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `kill`
        command = [__file__, folder, json.dumps(settings), str(seconds)]
        self.process = subprocess.Popen(
            [sys.executable, *command], stderr=self.log, stdout=self.log, start_new_session=True
        )
        self._port: int | None = None

    @property
    def port(self) -> int:
        """Known once the server is up."""
        end = time.monotonic() + 60
        while self._port is None:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", self.said())
            if found:
                self._port = int(found.group(1))
            elif self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(self.said())
            else:
                time.sleep(0.02)
        return self._port

    def said(self) -> str:
        """All that it printed so far."""
        self.log.flush()
        return os.pread(self.log.fileno(), 1 << 20, 0).decode()

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> "Reply":
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """Every line of /metrics by its name and labels."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """A signal, and the exit code."""
        self.process.send_signal(by)
        return self.process.wait(30)

    def kill(self) -> None:
        """Whatever it does."""
        self.process.kill()
        self.process.wait()
        self.log.close()


class Reply:
    """An answer that was read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        """NaN and infinity are no JSON."""

        def fail(name: str) -> None:
            raise AssertionError(name)

        return json.loads(self.body, parse_constant=fail)


def status_of(connection: socket.socket) -> int | None:
    """The status of the answer that comes next; None if the connection ends without one."""
    reply = b""
    while b"\r\n" not in reply:
        try:
            more = connection.recv(4096)
        except ConnectionResetError:
            return None
        if not more:
            return None
        reply += more
    return int(reply.split(b" ", 2)[1])


def post(body: bytes, path: str = "/v1/predict", *headers: str) -> bytes:
    """A whole request as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def served(folder: str, settings: dict[str, Any], *, seconds: float = 0.0) -> Iterator[Served]:
    """A server that is gone afterwards."""
    server = Served(folder, settings, seconds=seconds)
    try:
        yield server
    finally:
        server.kill()


def tensor(rows: int, seed: int = 0) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Random pixels for the model."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (rows, 1, 28, 28), dtype=np.uint8)


def tensor_request(rows: int, seed: int = 0, **more: Any) -> bytes:
    """An inference request for random pixels."""
    pixels = tensor(rows, seed)
    images = {"name": "images", "shape": pixels.shape, "datatype": "UINT8"}
    return json.dumps({"inputs": [images | {"data": pixels.ravel().tolist()}], **more}).encode()


def _serve() -> None:
    from clearhead.models.build import load
    from clearhead.serve.app import make_app
    from clearhead.serve.config import ServeConfig
    from clearhead.serve.run import run

    folder, settings, seconds = sys.argv[1:]
    config = ServeConfig(**{"port": 0, "decoders": 1, **json.loads(settings)})
    model = load(folder)
    model.register_forward_pre_hook(lambda *_: time.sleep(float(seconds)))

    def say(text: str) -> None:
        os.write(1, text.encode())

    run(make_app(model, config), config, announce=say, on_stop=lambda: say("stopping"))


if __name__ == "__main__":
    sys.path = [place for place in sys.path if Path(place) != Path(__file__).parent]
    _serve()
