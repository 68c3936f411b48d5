"""Is batching worth it? Requests per second and p99 of servers with the same weights, in one run.

Each server gets the same PNG files over loopback from a client in a process of its own, at equal
concurrency, in turn and in several rounds; the table has medians. All of them decode with
`clearhead.inference.prepare` and answer with `clearhead.inference._predict.answer`:

- plain: FastAPI, one forward pass a request, in its thread pool
- litserve, mlserver: as their manuals have it, with their own batching, where installed
- clearhead: `clearhead serve`

Then the full size of what the tests show in small: 10 × the capacity, and many requests, a tenth
of them invalid, for leaks. Run it on a machine with nothing else to do:

    python benchmarks/serving.py [--requests 200000] [--peers-python /path/to/python]

The other servers pin versions that differ from ours; `--peers-python` names the interpreter of an
environment that has them, and Clearhead.
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

import httpx
import numpy as np
import tyro
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

PORT = int(os.environ.get("PORT", "8790"))
ROUNDS = 3
CAPACITIES = (8, 64)  # of the server under too much load; 64 is the default
# Two cores, several processes: with threads of its own, NumPy is three times slower in all of them.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
PEERS = Path(__file__).parent / "peers"
PATHS = {
    "plain": "/predict",
    "litserve": "/predict",
    "mlserver": "/v2/models/digits/infer",
    "clearhead": "/v1/predict",
}


@dataclass(frozen=True)
class Load:
    """What a client saw: statuses, and seconds of each request by status."""

    seconds: float
    taken: dict[int, list[float]]

    def rate(self, status: int = 200) -> float:
        """Requests with this status, a second."""
        return len(self.taken.get(status, ())) / self.seconds

    def quantile(self, share: float, status: int = 200) -> float:
        """Milliseconds that this share of them stayed below."""
        taken = sorted(self.taken.get(status, [float("nan")]))
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
    """The same picture in the form that the server takes."""
    if server == "litserve":
        text = base64.b64encode(picture).decode()
        return json.dumps({"image": text}).encode(), "application/json"
    if server != "mlserver":
        return picture, "image/png"
    data = {"name": "image", "shape": [len(picture)], "datatype": "UINT8", "data": list(picture)}
    return json.dumps({"inputs": [data]}).encode(), "application/json"


async def _client(
    requests: list[bytes],
    until: float,
    start: int,
    most: int,
    taken: dict[int, list[float]],
    *,
    waits: bool,
) -> None:
    """One connection, request after request; if it `waits`, as long as Retry-After says."""
    reader = writer = None
    for number in range(start, start + most):
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
    most: int,
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
                _client(requests, until, 7 * one, most, taken, waits=waits)
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
    most: int = 10**9,
    bad_every: int = 0,
    waits: bool = False,
) -> Load:
    """Load from another process; at most `most` requests a connection."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    client = context.Process(
        target=_drive, args=(server, connections, seconds, most, bad_every, waits, sender)
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
                with suppress(httpx.HTTPError):
                    url = f"http://127.0.0.1:{PORT}{PATHS[server]}"
                    asked = httpx.post(url, content=body, headers={"content-type": kind})
                    if asked.status_code == 200:
                        break
                if process.poll() is not None:
                    raise SystemExit(f"{server} ended: {os.pread(log.fileno(), 1 << 16, 0)!r}")
                time.sleep(0.1)
            else:
                raise SystemExit(f"{server} does not answer")
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
                drive(server, max(connections), 2.0)  # warm
                for count in connections:
                    loads.setdefault((server, count), []).append(drive(server, count, seconds))
    table = Table("server", "connections", "requests/s", "p99 ms", "other statuses")
    for (server, count), rounds in loads.items():
        other = Counter(s for load in rounds for s, taken in load.taken.items() for _ in taken)
        table.add_row(
            server,
            str(count),
            f"{statistics.median(load.rate() for load in rounds):.0f}",
            f"{statistics.median(load.quantile(0.99) for load in rounds):.0f}",
            str({status: n for status, n in other.items() if status != 200} or ""),
        )
    Console().print(table)


def overload(capacity: int, seconds: float) -> None:
    """Ten times the capacity: clients that come again when told to, and at once."""
    many = 10 * capacity
    with running("clearhead", "", "--capacity", str(capacity)):
        drive("clearhead", capacity, 2.0)
        loads = {
            f"{capacity} connections": drive("clearhead", capacity, seconds),
            f"{many}, as Retry-After says": drive("clearhead", many, seconds, waits=True),
            f"{many}, at once again": drive("clearhead", many, seconds),
            f"{capacity} afterwards": drive("clearhead", capacity, seconds),
        }
    table = Table("clients", "answers/s", "of peak", "refusals/s", "p50 ms", "p99 ms", "statuses")
    peak = loads[f"{capacity} connections"].rate()
    for name, load in loads.items():
        refused = 429 in load.taken
        table.add_row(
            name,
            f"{load.rate():.0f}",
            f"{load.rate() / peak:.0%}",
            f"{load.rate(429):.0f}" if refused else "",
            f"{load.quantile(0.5, 429):.0f}" if refused else "",
            f"{load.quantile(0.99, 429):.0f}" if refused else "",
            str({status: len(taken) for status, taken in load.taken.items()}),
        )
    Console().print(table)


def leaks(requests: int) -> None:
    """Memory, descriptors and threads over many requests, a tenth of them invalid."""
    with running("clearhead", "") as process:
        drive("clearhead", 40, 1e6, most=max(1, requests // 400), bad_every=10)
        for _ in range(5):
            load = drive("clearhead", 40, 1e6, most=max(1, requests // 200), bad_every=10)
            text = httpx.get(f"http://127.0.0.1:{PORT}/metrics").text
            lines = (line.split() for line in text.splitlines() if line.startswith("process_"))
            said = {line[0]: float(line[1]) for line in lines}
            Console().print(
                f"{ {status: len(taken) for status, taken in load.taken.items()} } "
                f"{said['process_resident_memory_bytes'] / 1e6:.1f} MB, "
                f"{said['process_open_fds']:.0f} descriptors, "
                f"{len(list(Path(f'/proc/{process}/task').iterdir()))} threads"
            )


def main(
    seconds: Annotated[float, tyro.conf.arg(help="each measurement")] = 10.0,
    connections: tuple[int, ...] = (1, 8, 32, 60),
    requests: Annotated[int, tyro.conf.arg(help="for the leaks; 0 leaves them out")] = 200_000,
    servers: tuple[str, ...] = ("plain", "litserve", "mlserver", "clearhead"),
    peers_python: str = sys.executable,
) -> None:
    """Measure all of it."""
    found = [name for name in servers if _is_there(name, peers_python)]
    compare(found, peers_python, connections, seconds)
    for capacity in CAPACITIES:
        overload(capacity, seconds)
    if requests:
        leaks(requests)


def _is_there(server: str, python: str) -> bool:
    if server in ("plain", "clearhead"):
        return True
    there = subprocess.run([python, "-c", f"import {server}"], capture_output=True, check=False)
    if there.returncode:
        Console().print(f"{server} is not installed, so it is left out")
    return there.returncode == 0


if __name__ == "__main__":
    tyro.cli(main)
