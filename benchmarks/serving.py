"""Requests per second and latency of servers with the same weights, measured in one run.

Each server gets the same PNG files over loopback from a client in a process of its own, at equal
concurrency, in turn and in several rounds; the table has medians. All of them decode with
`clearhead.inference.prepare` and compute with `clearhead.inference.predict_inputs`:

- plain: FastAPI, one forward pass per request, in its thread pool
- litserve, bentoml, mlserver: as in their manuals, with their own batching, if installed
- clearhead: `clearhead serve`

Then, with `--full`, overload, ten times the maximum concurrency, and leaks: memory, descriptors and
threads over many requests, a tenth of them invalid. Run it on an idle machine; the comparison takes
about four minutes:

    python benchmarks/serving.py [--full] [--peers-python /path/to/python]

The other servers pin other versions of their dependencies; `--peers-python` names the interpreter
of an environment with them and Clearhead.
"""

import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import httpx2
import numpy as np
import tyro
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

PORT = int(os.environ.get("PORT", "8790"))
ROUNDS = 3
WARM_UP = 1.5  # seconds
LIMITS = (8, 64)  # maximum concurrency of the overloaded server; 64 is the default
# There are more processes than cores: with threads of its own, NumPy is three times slower.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
PEERS = Path(__file__).parent / "peers"
PATHS = {
    "plain": "/predict",
    "litserve": "/predict",
    "bentoml": "/predict",
    "mlserver": "/v2/models/digits/infer",
    "clearhead": "/v1/predict",
}


@dataclass(frozen=True)
class Load:
    """The client's measurements: seconds of each request by status."""

    seconds: float
    durations: dict[int, list[float]]

    def rate(self, status: int = 200) -> float:
        """Requests with this status, a second."""
        return len(self.durations.get(status, ())) / self.seconds

    def quantile(self, share: float, status: int = 200) -> float:
        """This quantile of their duration in milliseconds."""
        taken = sorted(self.durations.get(status, [float("nan")]))
        return 1e3 * taken[min(len(taken) - 1, int(share * len(taken)))]


def digits(count: int = 64) -> list[bytes]:
    """Drawings on grey paper, as PNG."""
    files = []
    for number in range(count):
        random = np.random.default_rng(number)
        image = Image.new("L", (61, 53), 240)
        points = random.integers(8, 45, (4, 2))
        ImageDraw.Draw(image).line([(int(x), int(y)) for x, y in points], fill=15, width=5)
        file = BytesIO()
        image.save(file, "PNG")
        files.append(file.getvalue())
    return files


def body_for(server: str, picture: bytes) -> tuple[bytes, str]:
    """A picture in the request format of the server."""
    text = base64.b64encode(picture).decode()
    if server == "litserve":
        return json.dumps({"image": text}).encode(), "application/json"
    if server == "bentoml":
        return json.dumps({"images": [text]}).encode(), "application/json"
    if server != "mlserver":
        return picture, "image/png"
    data = {"name": "image", "shape": [len(picture)], "datatype": "UINT8", "data": list(picture)}
    return json.dumps({"inputs": [data]}).encode(), "application/json"


async def _client(
    requests: list[bytes],
    until: float,
    start: int,
    max_requests: int,
    taken: dict[int, list[float]],
    *,
    waits: bool,
) -> None:
    """One connection, request after request; if it `waits`, it obeys Retry-After."""
    reader = writer = None
    for number in range(start, start + max_requests):
        began = time.perf_counter()
        if began >= until:
            break
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            assert reader is not None
            writer.write(requests[number % len(requests)])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            status = int(head[9:12])
            await reader.readexactly(_number(head, b"content-length"))
        except (OSError, EOFError):
            status, writer = 0, None
        taken.setdefault(status, []).append(time.perf_counter() - began)
        if waits and status == 429:
            # Spread over a second, as the clients of many people are.
            pause = _number(head, b"retry-after") + start % 97 / 97
            await asyncio.sleep(min(pause, max(0.0, until - time.perf_counter())))
    if writer is not None:
        writer.close()


def _number(head: bytes, name: bytes) -> int:
    """A header's number."""
    return int(head.split(name + b":")[1].split(b"\r\n")[0])


def _drive(
    server: str,
    connections: int,
    seconds: float,
    max_requests: int,
    bad_every: int,
    waits: bool,
    result: Any,
) -> None:
    """In the client's process."""
    requests = []
    for place, picture in enumerate(digits()):
        bad = bad_every and place % bad_every == bad_every - 1
        body, kind = body_for(server, picture[:-5] if bad else picture)
        head = (
            f"POST {PATHS[server]} HTTP/1.1\r\nhost: 127.0.0.1:{PORT}\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        requests.append(head.encode() + body)
    taken: dict[int, list[float]] = {}

    async def main() -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(
            *(
                _client(requests, until, 7 * one, max_requests, taken, waits=waits)
                for one in range(connections)
            )
        )

    began = time.perf_counter()
    asyncio.run(main())
    result.send(Load(time.perf_counter() - began, taken))


def drive(
    server: str,
    connections: int,
    seconds: float,
    *,
    max_requests: int = 10**9,
    bad_every: int = 0,
    waits: bool = False,
) -> Load:
    """Load from another process; at most `max_requests` per connection."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    client = context.Process(
        target=_drive, args=(server, connections, seconds, max_requests, bad_every, waits, sender)
    )
    client.start()
    load: Load = receiver.recv()
    client.join()
    return load


@contextmanager
def running(server: str, python: str, *options: str) -> Iterator[int]:
    """A server, ready; its process id."""
    command = [sys.executable, "-m", "clearhead", "serve", "--port", str(PORT), *options]
    if server != "clearhead":
        command = [python, str(PEERS / f"with_{server}.py"), str(PORT)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=os.environ | ONE_THREAD
        )
        try:
            body, kind = body_for(server, digits(1)[0])
            for _ in range(600):
                with suppress(httpx2.HTTPError):
                    url = f"http://127.0.0.1:{PORT}{PATHS[server]}"
                    response = httpx2.post(url, content=body, headers={"content-type": kind})
                    if response.status_code == 200:
                        break
                if process.poll() is not None:
                    raise SystemExit(f"{server} ended: {os.pread(log.fileno(), 1 << 16, 0)!r}")
                time.sleep(0.1)
            else:
                raise SystemExit(f"{server} does not respond")
            yield process.pid
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def compare(servers: list[str], python: str, connections: tuple[int, ...], seconds: float) -> None:
    """The table of all servers."""
    loads: dict[tuple[str, int], list[Load]] = {}
    for _ in range(ROUNDS):
        for server in servers:
            with running(server, python):
                drive(server, max(connections), WARM_UP)
                for count in connections:
                    loads.setdefault((server, count), []).append(drive(server, count, seconds))
    table = Table("server", "connections", "requests/s", "p50 ms", "p99 ms", "other statuses")
    for (server, count), rounds in loads.items():
        other = Counter(s for load in rounds for s, taken in load.durations.items() for _ in taken)
        table.add_row(
            server,
            str(count),
            f"{statistics.median(load.rate() for load in rounds):.0f}",
            f"{statistics.median(load.quantile(0.5) for load in rounds):.1f}",
            f"{statistics.median(load.quantile(0.99) for load in rounds):.0f}",
            str({status: n for status, n in other.items() if status != 200} or ""),
        )
    Console().print(table)


def overload(limit: int, seconds: float) -> None:
    """Ten times the maximum concurrency: clients that obey Retry-After, and that retry at once."""
    many = 10 * limit
    with running("clearhead", "", "--max-concurrency", str(limit)):
        drive("clearhead", limit, 2.0)
        loads = {
            f"{limit} connections": drive("clearhead", limit, seconds),
            f"{many}, obeying Retry-After": drive("clearhead", many, seconds, waits=True),
            f"{many}, retrying at once": drive("clearhead", many, seconds),
            f"{limit} afterwards": drive("clearhead", limit, seconds),
        }
    table = Table("clients", "responses/s", "of peak", "refusals/s", "p50 ms", "p99 ms", "statuses")
    peak = loads[f"{limit} connections"].rate()
    for name, load in loads.items():
        refused = 429 in load.durations
        table.add_row(
            name,
            f"{load.rate():.0f}",
            f"{load.rate() / peak:.0%}",
            f"{load.rate(429):.0f}" if refused else "",
            f"{load.quantile(0.5, 429):.0f}" if refused else "",
            f"{load.quantile(0.99, 429):.0f}" if refused else "",
            str({status: len(taken) for status, taken in load.durations.items()}),
        )
    Console().print(table)


def leaks(requests: int) -> None:
    """Memory, descriptors and threads over many requests, a tenth of them invalid."""
    with running("clearhead", "") as process:
        drive("clearhead", 40, 1e6, max_requests=max(1, requests // 400), bad_every=10)
        for _ in range(5):
            load = drive("clearhead", 40, 1e6, max_requests=max(1, requests // 200), bad_every=10)
            text = httpx2.get(f"http://127.0.0.1:{PORT}/metrics").text
            lines = (line.split() for line in text.splitlines() if line.startswith("process_"))
            values = {line[0]: float(line[1]) for line in lines}
            Console().print(
                f"{ {status: len(taken) for status, taken in load.durations.items()} } "
                f"{values['process_resident_memory_bytes'] / 1e6:.1f} MB, "
                f"{values['process_open_fds']:.0f} descriptors, "
                f"{len(list(Path(f'/proc/{process}/task').iterdir()))} threads"
            )


def main(
    seconds: Annotated[float, tyro.conf.arg(help="each measurement")] = 3.0,
    connections: tuple[int, ...] = (1, 8, 60),
    full: Annotated[bool, tyro.conf.arg(help="also overload and leaks")] = False,
    requests: Annotated[int, tyro.conf.arg(help="for the leaks")] = 200_000,
    servers: tuple[str, ...] = ("plain", "litserve", "bentoml", "mlserver", "clearhead"),
    peers_python: str = sys.executable,
) -> None:
    """Measure all of it."""
    installed = [name for name in servers if _is_installed(name, peers_python)]
    compare(installed, peers_python, connections, seconds)
    if full:
        for limit in LIMITS:
            overload(limit, 10.0)
        leaks(requests)


def _is_installed(server: str, python: str) -> bool:
    if server in ("plain", "clearhead"):
        return True
    there = subprocess.run([python, "-c", f"import {server}"], capture_output=True, check=False)
    if there.returncode:
        Console().print(f"{server} is not installed and is left out")
    return there.returncode == 0


if __name__ == "__main__":
    tyro.cli(main)
