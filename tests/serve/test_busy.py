"""More than it can do: a server whose model takes 0.3 s for two images."""

import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from clearhead.serve.waiting import MOMENT

from .drawings import png
from .served import Reply, Served, post, served, status_of, tensor_request


def in_progress(busy: Served) -> float:
    return busy.metrics()["clearhead_requests_in_progress"]


def wait_until(busy: Served, count: int) -> None:
    for _ in range(400):
        if in_progress(busy) == count:
            return
        time.sleep(0.02)
    raise AssertionError(in_progress(busy))


@pytest.fixture(autouse=True)
def _idle(busy: Served) -> None:
    wait_until(busy, 0)


def test_at_ten_times_its_capacity_there_are_only_answers_and_polite_refusals(
    busy: Served,
) -> None:
    order: list[int] = []

    def ask(number: int) -> Reply:
        reply = busy.ask("POST", "/v1/predict", png(number % 7))
        order.append(reply.status)
        return reply

    before = Counter(busy.metrics())
    with ThreadPoolExecutor(80) as pool:
        replies = list(pool.map(ask, range(80)))
    after = Counter(busy.metrics())
    tally = Counter(reply.status for reply in replies)
    assert set(tally) == {200, 429}
    assert tally[200] >= 8
    for reply in replies:
        if reply.status == 429:
            assert int(reply.headers["retry-after"]) >= 1
            assert "Retry-After" in reply.json()["error"]
    # refused at once: most of them before the first two that were let in had their answer
    assert order.index(200) >= tally[429] // 2
    passed = after["clearhead_batch_size_sum"] - before["clearhead_batch_size_sum"]
    assert passed == tally[200]
    name = 'clearhead_requests_total{route="/v1/predict",status="%d"}'
    for status in tally:
        assert after[name % status] - before[name % status] == tally[status]


def test_a_refused_client_can_use_its_connection_again(busy: Served) -> None:
    with ThreadPoolExecutor(8) as pool, busy.connect() as connection:
        asked = [pool.submit(busy.ask, "POST", "/v1/predict", png(0)) for _ in range(8)]
        wait_until(busy, 8)
        connection.sendall(post(png(1)))
        assert _read(connection).startswith(b"HTTP/1.1 429")
        assert [one.result().status for one in asked] == [200] * 8
        connection.sendall(post(png(1)))
        assert _read(connection).startswith(b"HTTP/1.1 200")


def _read(connection: socket.socket) -> bytes:
    reply = b""
    while not reply.endswith(b"}"):
        reply += connection.recv(1 << 16)
    return reply


def test_a_refusal_is_the_same_however_its_request_was_read(busy: Served) -> None:
    plain, parsed = post(png(1)), post(png(1), "/v1/predict", "Connection: keep-alive, a")
    with ThreadPoolExecutor(8) as pool, busy.connect() as one, busy.connect() as other:
        asked = [pool.submit(busy.ask, "POST", "/v1/predict", png(0)) for _ in range(8)]
        wait_until(busy, 8)
        one.sendall(plain)
        other.sendall(parsed)
        answers = [_undated(_read(connection)) for connection in (one, other)]
        foreign = plain.replace(b"Host: localhost", b"Host: evil.example")
        one.sendall(foreign)
        assert _read(one).startswith(b"HTTP/1.1 400")
        assert [one.result().status for one in asked] == [200] * 8
    assert answers[0] == answers[1]
    assert answers[0][0] == b"HTTP/1.1 429 Too Many Requests"


def _undated(answer: bytes) -> list[bytes]:
    return [line for line in answer.split(b"\r\n") if not line.startswith(b"date:")]


@pytest.mark.parametrize("more", [(), ("Connection: keep-alive, a",)], ids=["plain", "parsed"])
def test_who_finds_no_place_waits_a_moment_and_is_then_refused(
    busy: Served, more: tuple[str, ...]
) -> None:
    with ThreadPoolExecutor(8) as pool, busy.connect() as connection:
        asked = [pool.submit(busy.ask, "POST", "/v1/predict", png(0)) for _ in range(8)]
        wait_until(busy, 8)
        began = time.monotonic()
        connection.sendall(post(png(1), "/v1/predict", *more))
        assert _read(connection).startswith(b"HTTP/1.1 429")
        assert time.monotonic() - began > 0.8 * MOMENT  # timers are coarse
        assert [one.result().status for one in asked] == [200] * 8


@pytest.mark.parametrize("more", [(), ("Connection: keep-alive, a",)], ids=["plain", "parsed"])
def test_places_that_become_free_go_to_those_who_wait(busy: Served, more: tuple[str, ...]) -> None:
    """Twelve clients that come again at once: whenever two answers are given, some are waiting."""

    def ask_until_answered(number: int) -> bytes:
        with busy.connect() as connection:
            for _ in range(200):
                connection.sendall(post(png(number), "/v1/predict", *more))
                if not (reply := _read(connection)).startswith(b"HTTP/1.1 429"):
                    break
        return reply

    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(busy.ask, "POST", "/v1/predict", png(0)) for _ in range(8)]
        wait_until(busy, 8)
        replies = list(pool.map(ask_until_answered, range(12)))
        assert [one.result().status for one in asked] == [200] * 8
    assert all(reply.startswith(b"HTTP/1.1 200") for reply in replies)
    assert all(b"probabilities" in reply for reply in replies)


def test_half_sent_bodies_take_no_places(busy: Served) -> None:
    held = [busy.connect() for _ in range(20)]
    for connection in held:
        connection.sendall(post(png(0))[:-9])
    assert busy.ask("POST", "/v1/predict", png(1)).status == 200
    for connection in held:
        connection.close()


def test_past_the_deadline_there_is_a_504_and_no_forward_pass(busy: Served) -> None:
    before = busy.metrics()["clearhead_batch_size_sum"]
    body = tensor_request(2)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(busy.ask, "POST", "/v2/models/digits/infer", body) for _ in range(8)]
        tally = Counter(one.result().status for one in asked)
    wait_until(busy, 0)
    time.sleep(0.6)  # for what might still run
    images = busy.metrics()["clearhead_batch_size_sum"] - before
    assert set(tally) == {200, 504}
    assert tally[504] >= 2
    assert 2 * tally[200] <= images <= 2 * (tally[200] + 1)  # one may expire while it runs


def test_who_leaves_the_queue_costs_no_forward_pass(busy: Served) -> None:
    before = Counter(busy.metrics())
    left = 'clearhead_requests_total{route="/v1/predict",status="499"}'
    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(busy.ask, "POST", "/v2/models/digits/infer", tensor_request(2))
            for _ in range(2)
        ]
        wait_until(busy, 2)
        leaving = [busy.connect() for _ in range(5)]
        for connection in leaving:
            connection.sendall(post(png(0)))
        wait_until(busy, 7)
        for connection in leaving:
            connection.close()
        assert [one.result().status for one in running] == [200, 200]
    wait_until(busy, 0)
    assert busy.ask("POST", "/v1/predict", png(1)).status == 200
    after = Counter(busy.metrics())
    assert after["clearhead_batch_size_sum"] - before["clearhead_batch_size_sum"] == 2 + 2 + 1
    assert after[left] - before[left] == 5


def test_sigterm_loses_no_request_and_half_sent_bodies_do_not_hold_it(doomed: Served) -> None:
    half_sent = [doomed.connect() for _ in range(100)]
    for connection in half_sent:
        connection.sendall(post(png(0))[:-9])
    with ThreadPoolExecutor(30) as pool:
        early = [pool.submit(doomed.ask, "POST", "/v1/predict", png(n)) for n in range(24)]
        wait_until(doomed, 24)
        stopping = threading.Thread(target=doomed.stop)
        stopping.start()
        while (ready := doomed.ask("GET", "/v2/health/ready")).status == 200:
            time.sleep(0.01)
        assert (ready.status, ready.json()) == (503, {"ready": False})
        # still listening, and still answering
        late = [pool.submit(doomed.ask, "POST", "/v1/predict", png(n)) for n in range(6)]
        assert doomed.ask("GET", "/v2/models/digits/ready").json()["ready"] is False
        assert [one.result().status for one in (*early, *late)] == [200] * 30
        assert {one.result().headers["connection"] for one in late} == {"close"}
    stopping.join()
    assert doomed.process.returncode == 0
    assert "Traceback" not in doomed.said()
    assert "ERROR" not in doomed.said()
    for connection in half_sent:
        assert status_of(connection) is None
        connection.close()


def test_ctrl_c_waits_for_answers_and_not_for_those_who_might_still_come(folder: str) -> None:
    hours = {"drain": 9_000.0, "grace": 10_000.0}
    with (
        served(folder, hours, seconds=0.3) as server,
        ThreadPoolExecutor(4) as pool,
    ):
        asked = [pool.submit(server.ask, "POST", "/v1/predict", png(n)) for n in range(4)]
        wait_until(server, 4)
        server.stop(signal.SIGINT)  # raises if it does not end
        assert [one.result().status for one in asked] == [200] * 4
        assert "stopping" in server.said()
