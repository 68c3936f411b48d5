"""Hosts, sizes, slow and disconnecting clients, concurrency and deadlines, over real sockets."""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clearhead.models import build
from clearhead.models.config import CNNConfig
from clearhead.models.pretrained import ImageModel
from clearhead.serve._limits import ConcurrencyLimit
from clearhead.serve.app import make_app
from clearhead.serve.config import ServeConfig
from clearhead.serve.telemetry import Metrics

from .server import (
    LONG,
    MODEL,
    Client,
    ClockedServer,
    Response,
    ServerThread,
    png,
    post,
    run_async,
    status_of,
    stopped,
    tensor_request,
    wait_until,
)

CHUNKED = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:99", "[::1]:8000", "DIGITS.example:80"])
def test_the_servers_own_host_names_are_accepted(server: ServerThread, host: str) -> None:
    assert server.request("GET", "/v2/health/live", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "Localhost.Evil.example:80", "", "[::2]:80", "127.0.0.2", 'a"b']
)
def test_another_host_is_refused(server: ServerThread, host: str) -> None:
    for method, path in (("GET", "/v2/health/live"), ("POST", "/v1/predict"), ("GET", "/metrics")):
        assert server.request(method, path, host=host).status == 400


def test_a_request_without_host_is_refused(server: ServerThread) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /v2 HTTP/1.0\r\n\r\n")
        assert status_of(connection) == 400


def test_cross_origin_requests_get_no_cors_headers(server: ServerThread) -> None:
    headers = {"origin": "http://evil.example", "access_control_request_method": "POST"}
    responses = [
        server.request("OPTIONS", "/v1/predict", None, **headers),
        server.request("POST", "/v1/predict", png(0), **headers),
    ]
    assert [response.status for response in responses] == [405, 200]
    for response in responses:
        names = [name.lower() for name in response.headers]
        assert not [name for name in names if name.startswith("access-control")]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"


def test_a_body_may_be_as_large_as_the_limit(server: ServerThread) -> None:
    assert server.predict(bytes(200_000)).status == 422
    response = server.predict(bytes(200_001))
    assert (response.status, "200,000" in response.json()["error"]) == (413, True)
    for size, status in ((200_000, 422), (200_001, 413)):
        with server.connect() as connection:
            connection.sendall(CHUNKED + b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n")
            assert status_of(connection) == status


def test_a_large_content_length_is_refused_before_the_body(server: ServerThread) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert status_of(connection) == 413


def test_an_endless_body_is_refused_at_the_limit(server: ServerThread) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with server.connect() as connection:
        connection.sendall(CHUNKED)

        def send() -> None:
            with contextlib.suppress(OSError):
                for _ in range(100):  # 6.5 MB
                    connection.sendall(chunk)

        sender = threading.Thread(target=send)
        sender.start()
        assert status_of(connection) == 413
        connection.shutdown(socket.SHUT_RDWR)  # nobody may read the rest
        sender.join()


@pytest.fixture(scope="module")
def clocked(model: ImageModel) -> Iterator[ClockedServer]:
    with ClockedServer(model, max_batch=2, client_timeout=5000.0) as server:
        yield server


@pytest.mark.parametrize(
    "sent", [post(bytes(99))[:-99], post(bytes(99))[:-9], post(png(0))[:-1]], ids=len
)
def test_an_incomplete_body_ends_in_408_while_others_are_served(
    clocked: ClockedServer, sent: bytes
) -> None:
    with clocked.connect() as connection:
        connection.sendall(sent)
        wait_until(lambda: in_progress(clocked) == 1)
        assert clocked.predict(png(1)).status == 200
        clocked.advance(5000)
        assert status_of(connection) == 408
        assert connection.recv(1) == b""


def test_metrics_equal_the_clients_counts(server: ServerThread) -> None:
    requests: list[tuple[str, str, bytes | None]] = [
        *[("POST", "/v1/predict", png(number)) for number in range(5)],
        *[("POST", "/v1/predict", b"no picture")] * 3,
        ("POST", "/v1/explain", png(0)),
        ("POST", "/v1/predict", bytes(200_001)),
        ("POST", f"{MODEL}/infer", b"{}"),
        ("GET", "/v1/predict", None),
        ("GET", "/nowhere", None),
        ("GET", "/elsewhere", None),
        ("GET", "/v2", None),
        ("GET", "/openapi.json", None),
    ]
    before = Counter(server.metrics())
    counts: Counter[str] = Counter()
    routes = {"/nowhere": "other", "/elsewhere": "other"}
    for method, path, body in requests:
        status = server.request(method, path, body).status
        route = routes.get(path, path)
        counts[f'clearhead_requests_total{{route="{route}",status="{status}"}}'] += 1
    after = Counter(server.metrics())
    counts['clearhead_requests_total{route="/metrics",status="200"}'] += 1  # the first of the two
    changes = {
        name: after[name] - before[name]
        for name in after
        if name.startswith("clearhead_requests_t")
    }
    assert {name: count for name, count in changes.items() if count} == counts
    assert after["clearhead_requests_in_progress"] == after["clearhead_queue_depth"] == 0
    assert after["process_resident_memory_bytes"] > 0
    assert after["clearhead_batch_size_sum"] - before["clearhead_batch_size_sum"] == 6
    decoded = after["clearhead_decode_seconds_count"] - before["clearhead_decode_seconds_count"]
    assert decoded == 5 + 3 + 1 + 1  # the large body is not decoded


@pytest.fixture(scope="module")
def busy(model: ImageModel) -> Iterator[ServerThread]:
    """Up to 8 requests at once, batches of 2."""
    with ServerThread(model, max_concurrency=8, max_batch=2) as server:
        yield server


def in_progress(server: Client) -> float:
    return server.metrics()["clearhead_requests_in_progress"]


@contextmanager
def held(server: ServerThread, count: int) -> Iterator[list[Future[Response]]]:
    """So many predictions in progress, held up in the process until the end of the block."""
    with ThreadPoolExecutor(count) as pool, stopped(server.app.pool):
        futures = [pool.submit(server.predict, png(0)) for _ in range(count)]
        wait_until(lambda: in_progress(server) == count)
        yield futures
    wait_until(lambda: in_progress(server) == 0)


def test_above_max_concurrency_requests_are_refused_with_retry_after(busy: ServerThread) -> None:
    with busy.connect() as connection:
        with held(busy, 8) as futures:
            refused = busy.predict(png(1))
            connection.sendall(post(png(1)))
            assert status_of(connection) == 429
            assert busy.request("GET", "/v2/health/live").status == 200
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "Retry-After" in refused.json()["error"]
        assert [future.result().status for future in futures] == [200] * 8
        connection.sendall(post(png(1)))  # the connection is still usable
        assert status_of(connection) == 200


def test_a_request_that_raises_no_longer_counts_towards_the_concurrency() -> None:
    async def failing(*_: object) -> None:
        raise ZeroDivisionError

    async def unused(*_: object) -> Any:
        pytest.fail("the request was refused")

    limit = ConcurrencyLimit(failing, metrics=Metrics(), max_concurrency=1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            run_async(limit({"type": "http", "method": "POST"}, unused, unused))
    assert limit.active == 0


@pytest.mark.parametrize(("seconds", "shown"), [(0.01, "1"), (4.2, "5"), (900.0, "30")])
def test_the_time_to_try_again_is_that_of_the_last_request_within_limits(
    seconds: float, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    now = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("clearhead.serve._limits.time", clock)
    scope = {"type": "http", "method": "POST"}

    async def app(*_: object) -> None:
        now[0] += seconds

    async def unused() -> Any:
        pytest.fail("the request was refused")

    async def send(message: Any) -> None:
        sent.append(message)

    async def scenario() -> None:
        limit = ConcurrencyLimit(app, metrics=Metrics(), max_concurrency=1)
        await limit(scope, unused, send)
        limit.max_concurrency = 0
        await limit(scope, unused, send)

    run_async(scenario())
    assert sent[0]["status"] == 429
    assert dict(sent[0]["headers"])[b"retry-after"].decode() == shown


def test_the_workers_share_the_model_processes() -> None:
    app = make_app(build(CNNConfig(widths=(2,))), ServeConfig(model_processes=5, workers=2))
    assert app.pool.processes == 3


def test_after_the_deadline_there_is_a_504_and_no_forward_pass(clocked: ClockedServer) -> None:
    before, body = Counter(clocked.metrics()), tensor_request(2)
    with ThreadPoolExecutor(4) as pool, stopped(clocked.app.pool):
        futures = [pool.submit(clocked.request, "POST", f"{MODEL}/infer", body) for _ in "1234"]
        wait_until(lambda: clocked.metrics()["clearhead_queue_depth"] == 3)  # a process has one
        clocked.advance(LONG)
        assert [future.result().status for future in futures] == [504] * 4
        wait_until(lambda: in_progress(clocked) == 0)
        assert clocked.metrics()["clearhead_queue_depth"] == 0
    assert clocked.predict(png(1)).status == 200
    after = clocked.metrics()
    assert after["clearhead_batch_size_sum"] - before["clearhead_batch_size_sum"] == 1


def test_disconnect_while_queued_cancels_the_request(busy: ServerThread) -> None:
    before = Counter(busy.metrics())
    leaving = [busy.connect() for _ in range(5)]
    with held(busy, 1) as futures:
        for connection in leaving:
            connection.sendall(post(png(0)))
        wait_until(lambda: in_progress(busy) == 6)
        for connection in leaving:
            connection.close()
        wait_until(lambda: in_progress(busy) == 1)
    assert [future.result().status for future in futures] == [200]
    after = Counter(busy.metrics())
    assert after["clearhead_batch_size_sum"] - before["clearhead_batch_size_sum"] == 1
    disconnected = 'clearhead_requests_total{route="/v1/predict",status="499"}'
    assert after[disconnected] - before[disconnected] == 5


def test_ten_times_the_concurrency_gives_only_predictions_and_refusals(busy: ServerThread) -> None:
    before = Counter(busy.metrics())
    with ThreadPoolExecutor(80) as pool:
        statuses = Counter(pool.map(lambda n: busy.predict(png(n % 7)).status, range(80)))
    after = Counter(busy.metrics())
    assert set(statuses) <= {200, 429}
    assert statuses[200] >= 8
    images = after["clearhead_batch_size_sum"] - before["clearhead_batch_size_sum"]
    assert images == statuses[200]
    for status, count in statuses.items():
        name = f'clearhead_requests_total{{route="/v1/predict",status="{status}"}}'
        assert after[name] - before[name] == count


def test_a_defect_is_status_500_without_details() -> None:
    broken = build(CNNConfig(widths=(2,)))
    with torch.no_grad():
        broken.head.bias[5] = float("nan")
    with ServerThread(broken) as server:
        response = server.predict(png(0))
    assert (response.status, list(response.json())) == (500, ["error"])
    assert b"NaN" not in response.body
    assert response.headers["connection"] == "close"  # uvicorn closes it after an exception
