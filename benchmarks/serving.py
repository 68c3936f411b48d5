"""Requests per second and latency of servers with the same weights, on one machine.

All servers run at the same time, each on its own port, and get the same PNG files over loopback
from a client in a process of its own: one server after the other, at the same number of
connections, in several rounds; the table has medians. All of them decode with
`clearhead.inference.prepare` and compute with `clearhead.inference.predict_inputs`:

- plain: FastAPI, one forward pass per request, in its thread pool
- litserve, bentoml: as in their manuals, with their own batching, if installed
- clearhead: `clearhead serve`

Every measurement is kept in `runs/serving`: a run that was interrupted, or has reached `--minutes`,
continues when it is started again; `--again` starts over. When all are complete, the table is
written to docs/serving.md, if no server is missing. On two idle cores it takes about 3 minutes:

    python -m benchmarks.serving --peers-python /path/to/python

`--peers-python` is the interpreter of an environment with the other servers and Clearhead: they pin
other versions of their dependencies. With `--full`, overload (ten times the maximum concurrency)
and leaks (memory, descriptors and threads over many requests, a tenth of them invalid) are measured
instead, and printed only.
"""

import asyncio
import base64
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import httpx2
import numpy as np
import tyro
from PIL import Image, ImageDraw

from benchmarks._document import ROOT, markdown_table, processor, write_between_markers

RESULTS = ROOT / "runs" / "serving"
PEERS = Path(__file__).parent / "peers"
PATHS = {
    "plain": "/predict",
    "litserve": "/predict",
    "bentoml": "/predict",
    "clearhead": "/v1/predict",
}
NAMES = {
    "plain": "FastAPI",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "clearhead": "`clearhead serve`",
}
PACKAGES = {"plain": "fastapi"}
PORTS = dict(zip(PATHS, range(8790, 9000, 10), strict=False))
LIMITS = (8, 64)  # maximum concurrency of the overloaded server; 64 is the default
# There are more processes than cores: with threads of its own, NumPy is three times slower.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SECONDS_TO_START, SECONDS_TO_END = 120, 15


@dataclass(frozen=True)
class Order:
    """One measurement: so many connections, until the time or number of requests is reached."""

    server: str
    connections: int
    seconds: float
    max_requests: int = 100_000
    """Of each connection"""
    bad_every: int = 0
    waits: bool = False
    """Whether clients obey Retry-After"""


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

    def counts(self) -> dict[int, int]:
        """The number of responses of each status; 0: the connection failed."""
        return {status: len(taken) for status, taken in self.durations.items()}


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
    return picture, "image/png"


async def _connection(
    order: Order, requests: list[bytes], until: float, start: int, taken: dict[int, list[float]]
) -> None:
    """One connection, request after request."""
    reader = writer = None
    for number in range(start, start + order.max_requests):
        began = time.perf_counter()
        if began >= until:
            break
        try:
            if writer is None:
                address = ("127.0.0.1", PORTS[order.server])
                reader, writer = await asyncio.open_connection(*address)
            assert reader is not None
            writer.write(requests[number % len(requests)])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            status = int(head[9:12])
            await reader.readexactly(_number(head, b"content-length"))
        except (OSError, EOFError):
            status, writer = 0, None
        taken.setdefault(status, []).append(time.perf_counter() - began)
        if order.waits and status == 429:
            # Spread over a second, as the clients of many people are.
            pause = _number(head, b"retry-after") + start % 97 / 97
            await asyncio.sleep(min(pause, max(0.0, until - time.perf_counter())))
    if writer is not None:
        writer.close()


def _number(head: bytes, name: bytes) -> int:
    """A header's number."""
    return int(head.split(name + b":")[1].split(b"\r\n")[0])


async def _measure(order: Order) -> Load:
    requests = []
    for place, picture in enumerate(digits()):
        bad = order.bad_every and place % order.bad_every == order.bad_every - 1
        body, kind = body_for(order.server, picture[:-5] if bad else picture)
        head = (
            f"POST {PATHS[order.server]} HTTP/1.1\r\nhost: 127.0.0.1:{PORTS[order.server]}\r\n"
            f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        requests.append(head.encode() + body)
    taken: dict[int, list[float]] = {}
    began = time.perf_counter()
    until = began + order.seconds
    starts = (7 * one for one in range(order.connections))
    await asyncio.gather(*(_connection(order, requests, until, s, taken) for s in starts))
    return Load(time.perf_counter() - began, taken)


def _work(orders: Connection) -> None:
    """In the client's process: measure; when the benchmark has ended, however, end the servers."""
    os.setsid()
    groups: list[int] = []
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            order = orders.recv()
            if isinstance(order, Order):
                orders.send(asyncio.run(_measure(order)))
            else:
                groups.append(order)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, number)
        until = time.monotonic() + SECONDS_TO_END
        while any(map(_exists, groups)) and time.monotonic() < until:
            time.sleep(0.1)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Client:
    """The process that sends requests and ends the servers: `with Client() as client`."""

    def __enter__(self) -> "Client":
        context = get_context("spawn")
        self.orders, remote = context.Pipe()
        self.process = context.Process(target=_work, args=(remote,))
        self.process.start()
        remote.close()
        self.servers: list[subprocess.Popen[bytes]] = []
        return self

    def __exit__(self, *_: object) -> None:
        self.orders.close()
        for server in self.servers:
            server.wait()
        self.process.join()

    def measure(self, order: Order) -> Load:
        """The result of one measurement."""
        self.orders.send(order)
        load: Load = self.orders.recv()
        return load

    def start(self, server: str, python: str, *options: str) -> int:
        """Start a server, and wait until it responds; its process id."""
        port = str(PORTS[server])
        command = [python, str(PEERS / f"with_{server}.py"), port]
        if server == "clearhead":
            command = [sys.executable, "-m", "clearhead", "serve", "--port", port, *options]
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=os.environ | ONE_THREAD
            )
            self.servers.append(process)
            self.orders.send(process.pid)
            body, kind = body_for(server, digits(1)[0])
            until = time.monotonic() + SECONDS_TO_START
            while not _responds(f"http://127.0.0.1:{port}{PATHS[server]}", body, kind):
                if process.poll() is not None:
                    raise SystemExit(f"{server} ended: {os.pread(log.fileno(), 1 << 16, 0)!r}")
                if time.monotonic() > until:
                    raise SystemExit(f"{server} does not respond after {SECONDS_TO_START} s")
                time.sleep(0.2)
        return process.pid


def _responds(url: str, body: bytes, kind: str) -> bool:
    with suppress(httpx2.HTTPError):
        response = httpx2.post(url, content=body, headers={"content-type": kind}, timeout=10)
        return response.status_code == 200
    return False


@dataclass(frozen=True)
class Comparison:
    """The measurements of some servers; complete ones are kept in a folder."""

    servers: list[str]
    python: str
    connections: tuple[int, ...]
    seconds: float
    rounds: int
    folder: Path

    def repeats(self, server: str, connections: int) -> list[dict[str, Any]]:
        """The repeats of a measurement that are complete."""
        path = self._file(server, connections)
        found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
        return found

    def _file(self, server: str, connections: int) -> Path:
        return self.folder / f"{server}-{connections}.json"

    def run(self) -> Iterator[str]:
        """Measure what is missing, one line for each measurement."""
        missing = [
            (number, server, count)
            for number in range(self.rounds)
            for server in self.servers
            for count in self.connections
            if len(self.repeats(server, count)) <= number
        ]
        with Client() as client:
            for server in dict.fromkeys(server for _, server, _ in missing):
                client.start(server, self.python)
                client.measure(Order(server, max(self.connections), self.seconds))  # warm-up
                yield f"{server} is ready"
            for number, server, count in missing:
                measured = summary(client.measure(Order(server, count, self.seconds)))
                self.folder.mkdir(parents=True, exist_ok=True)
                repeats = [*self.repeats(server, count), measured]
                self._file(server, count).write_text(json.dumps(repeats))
                yield (
                    f"{server}, {count} connections, repeat {number + 1} of {self.rounds}: "
                    f"{measured['rate']:.0f} requests/s, p50 {measured['p50']:.1f} ms, "
                    f"p99 {measured['p99']:.1f} ms, {measured['failed']} failed"
                )

    def report(self) -> str:
        """The table as Markdown, with machine, versions, date, and the ratio to the fastest."""
        heads = [f"{count} connection{'s' * (count > 1)}" for count in self.connections]
        rows = [
            [NAMES[server], *(self._cell(server, count) for count in self.connections)]
            for server in self.servers
        ]
        ratios = ", ".join(map(self._ratio, self.connections))
        every = [one for s in self.servers for n in self.connections for one in self.repeats(s, n)]
        return (
            f"{markdown_table(['server', *heads], rows)}\n\n"
            f"{processor()}, {os.cpu_count()} cores, shared with the client, "
            f"{max(one['date'] for one in every)}; {', '.join(self._versions())}. Requests per "
            "second, and in brackets the median and the 99th percentile of the latency in ms: "
            f"medians of {self.rounds} repeats. {sum(one['failed'] for one in every)} requests "
            "failed.\n\n`clearhead serve` relative to the fastest of the others (median and range "
            f"over the repeats): {ratios}."
        )

    def _cell(self, server: str, connections: int) -> str:
        repeats = self.repeats(server, connections)
        rate, p50, p99 = (
            statistics.median(one[name] for one in repeats) for name in ("rate", "p50", "p99")
        )
        return f"{rate:,.0f} ({p50:.1f}, {p99:.0f})"

    def _ratio(self, connections: int) -> str:
        rates = {
            server: [one["rate"] for one in self.repeats(server, connections)]
            for server in self.servers
        }
        ours = rates.pop("clearhead")
        by_repeat = [own / max(others) for own, *others in zip(ours, *rates.values(), strict=True)]
        median, least, most = statistics.median(by_repeat), min(by_repeat), max(by_repeat)
        return f"{median:.2f} at {connections} ({least:.2f} – {most:.2f})"

    def _versions(self) -> list[str]:
        """Name and version of the packages."""
        script = (
            "import sys; from importlib.metadata import version\n"
            "print(*(f'{name} {version(name)}' for name in sys.argv[1:]), sep='\\n')"
        )
        packages = [PACKAGES.get(server, server) for server in self.servers]
        command = [self.python, "-c", script, *packages, "uvicorn", "torch"]
        ran = subprocess.run(command, capture_output=True, check=True, text=True)
        return ran.stdout.splitlines()


def summary(load: Load) -> dict[str, Any]:
    """What is kept of a measurement."""
    return {
        "rate": load.rate(),
        "p50": load.quantile(0.5),
        "p99": load.quantile(0.99),
        "failed": sum(number for status, number in load.counts().items() if status != 200),
        "date": date.today().isoformat(),
    }


def overload(limit: int, seconds: float) -> Iterator[str]:
    """Ten times the maximum concurrency: clients that obey Retry-After, and that retry at once."""
    many = 10 * limit
    orders = {
        f"{limit} connections": Order("clearhead", limit, seconds),
        f"{many}, obeying Retry-After": Order("clearhead", many, seconds, waits=True),
        f"{many}, retrying at once": Order("clearhead", many, seconds),
        f"{limit} afterwards": Order("clearhead", limit, seconds),
    }
    with Client() as client:
        client.start("clearhead", "", "--max-concurrency", str(limit))
        client.measure(Order("clearhead", limit, 2.0))
        peak = 0.0
        for name, order in orders.items():
            load = client.measure(order)
            peak = peak or load.rate()
            yield (
                f"{name}: {load.rate():.0f} responses/s ({load.rate() / peak:.0%} of the peak), "
                f"{load.rate(429):.0f} refusals/s in {load.quantile(0.5, 429):.0f} ms (p99 "
                f"{load.quantile(0.99, 429):.0f} ms); {load.counts()}"
            )


def leaks(requests: int) -> Iterator[str]:
    """Memory, descriptors and threads over many requests, a tenth of them invalid."""
    part = max(1, requests // 200)
    with Client() as client:
        process = client.start("clearhead", "")
        for _ in range(6):
            load = client.measure(Order("clearhead", 40, 600, max_requests=part, bad_every=10))
            text = httpx2.get(f"http://127.0.0.1:{PORTS['clearhead']}/metrics").text
            lines = (line.split() for line in text.splitlines() if line.startswith("process_"))
            values = {line[0]: float(line[1]) for line in lines}
            yield (
                f"{load.counts()}: {values['process_resident_memory_bytes'] / 1e6:.1f} MB, "
                f"{values['process_open_fds']:.0f} descriptors, "
                f"{len(list(Path(f'/proc/{process}/task').iterdir()))} threads"
            )


def main(
    seconds: Annotated[float, tyro.conf.arg(help="each measurement")] = 2.0,
    rounds: Annotated[int, tyro.conf.arg(help="repeats of each measurement")] = 5,
    connections: tuple[int, ...] = (1, 8, 60),
    minutes: Annotated[float, tyro.conf.arg(help="start no measurement after this time")] = 6.0,
    again: Annotated[bool, tyro.conf.arg(help="discard the measurements of earlier runs")] = False,
    quick: Annotated[bool, tyro.conf.arg(help="short; the table is only printed")] = False,
    full: Annotated[bool, tyro.conf.arg(help="overload and leaks instead")] = False,
    requests: Annotated[int, tyro.conf.arg(help="for the leaks")] = 200_000,
    peers_python: str = sys.executable,
) -> None:
    """Measure, and write the table."""
    if full:
        for lines in (*(overload(limit, 10.0) for limit in LIMITS), leaks(requests)):
            for line in lines:
                print(line, flush=True)
        return
    if quick:
        seconds, rounds = 0.3, 1
    servers = [name for name in PATHS if _is_installed(name, peers_python)]
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(
            servers, peers_python, connections, seconds, rounds, Path(folder) if quick else RESULTS
        )
        if again:
            for path in comparison.folder.glob("*.json"):
                path.unlink()
        until = time.monotonic() + 60 * minutes
        for line in comparison.run():
            print(line, flush=True)
            if time.monotonic() > until:
                print("the rest is left for the next run: start the same command again")
                return
        text = comparison.report()
    print(text)
    if servers == list(PATHS) and not quick:
        write_between_markers("serving.md", text)


def _is_installed(server: str, python: str) -> bool:
    if server in ("plain", "clearhead"):
        return True
    there = subprocess.run([python, "-c", f"import {server}"], capture_output=True, check=False)
    if there.returncode:
        print(f"{server} is not installed and is left out", flush=True)
    return there.returncode == 0


if __name__ == "__main__":
    tyro.cli(main)
