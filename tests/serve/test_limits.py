"""Hosts, sizes, slow and vanishing clients: bare sockets against a real server."""

import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .drawings import png
from .served import Served, post, status_of


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:99", "[::1]:8000", "DIGITS.example:80"])
def test_its_own_names_are_answered(server: Served, host: str) -> None:
    assert server.ask("GET", "/v2/health/live", host=host).status == 200


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("evil.example", "evil.example"),
        ("Localhost.Evil.example:80", "localhost.evil.example"),
        ("", ""),
        ("[::2]:80", "::2"),
        ("127.0.0.2", "127.0.0.2"),
    ],
)
def test_another_host_is_refused(server: Served, host: str, name: str) -> None:
    for method, path in (("GET", "/v2/health/live"), ("POST", "/v1/predict"), ("GET", "/metrics")):
        reply = server.ask(method, path, host=host)
        assert reply.status == 400
        assert reply.json()["error"].endswith(f"Host {name!r}; start it with --allow-host {name}")


def test_any_host_is_said_again_as_json_can_and_in_short(server: Served) -> None:
    for host in (b'a"b', b"a\\b", b"\xe9", b"x" * 5000):
        with server.connect() as connection:
            connection.sendall(b"GET /v2 HTTP/1.0\r\nHost: " + host + b"\r\n\r\n")
            answer = b""
            while part := connection.recv(1 << 16):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        assert "does not answer to the Host" in json.loads(body)["error"]
        assert len(body) < 500


def test_a_refusal_of_a_head_request_has_no_body_and_the_connection_goes_on(
    server: Served,
) -> None:
    with server.connect() as connection:
        connection.sendall(b"HEAD /v2 HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        time.sleep(0.2)
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers = b""
        while part := connection.recv(1 << 16):
            answers += part
    head, _, rest = answers.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert rest.startswith(b"HTTP/1.1 200")


def test_no_host_and_two_hosts_are_refused(server: Served) -> None:
    ours, theirs = "Host: localhost", "Host: evil.example"
    for hosts in ([], [ours, theirs], [theirs, ours], [ours, ours]):
        with server.connect() as connection:
            connection.sendall("\r\n".join(["GET /v2 HTTP/1.0", *hosts, "", ""]).encode())
            assert status_of(connection) == 400


def test_other_origins_are_given_no_leave(server: Served) -> None:
    asked = {"origin": "http://evil.example", "access_control_request_method": "POST"}
    replies = [
        server.ask("OPTIONS", "/v1/predict", None, **asked),
        server.ask("POST", "/v1/predict", png(0), **asked),
    ]
    assert [reply.status for reply in replies] == [405, 200]
    for reply in replies:
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(server: Served) -> None:
    assert server.ask("POST", "/v1/predict", bytes(200_000)).status == 422
    reply = server.ask("POST", "/v1/predict", bytes(200_001))
    assert (reply.status, "200,000" in reply.json()["error"]) == (413, True)


def test_a_large_content_length_is_refused_before_the_body(server: Served) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert status_of(connection) == 413


def test_an_endless_body_in_chunks_is_cut_and_costs_no_memory(server: Served) -> None:
    before = server.metrics()["process_resident_memory_bytes"]
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

        def send() -> None:
            with contextlib.suppress(OSError):
                for _ in range(500):  # 32 MB
                    connection.sendall(chunk)

        sender = threading.Thread(target=send)
        sender.start()
        assert status_of(connection) == 413
        connection.shutdown(socket.SHUT_RDWR)
        sender.join()
    assert server.metrics()["process_resident_memory_bytes"] - before < 10e6


def test_more_bytes_than_content_length_says_are_not_part_of_the_body(server: Served) -> None:
    with server.connect() as connection:
        connection.sendall(post(png(0)) + bytes(300_000))
        answers = b""
        while more := _received(connection):
            answers += more
    assert answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200") + 1  # no more than those
    assert b"HTTP/1.1 400" in answers


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:
        return b""


def dribble(connection: socket.socket, text: bytes, pause: float = 0.2) -> None:
    """Send byte after byte until the other side has had enough."""
    with contextlib.suppress(OSError):
        for place in range(len(text)):
            connection.sendall(text[place : place + 1])
            time.sleep(pause)


HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "rest", "status"),
    [
        (b"", b"", None),
        (b"", HEAD, None),
        (b"", b"\r\n" * 99, None),
        (HEAD[:-2], b"", None),
        (HEAD, b"", 408),
        (HEAD, bytes(99), 408),
        (HEAD.replace(b"Content-Length: 5000", b"Transfer-Encoding: chunked"), b"5\r\nab", 408),
        (HEAD.replace(b"POST /v1/predict", b"GET /nowhere"), bytes(99), 404),
    ],
    ids=["nothing", "head", "lines", "half head", "no body", "body", "chunk", "unread body"],
)
def test_slow_clients_are_cut_while_others_are_served(
    server: Served, start: bytes, rest: bytes, status: int | None
) -> None:
    with server.connect() as connection:
        connection.sendall(start)
        sender = threading.Thread(target=dribble, args=(connection, rest))
        sender.start()
        assert server.ask("POST", "/v1/predict", png(1)).status == 200
        assert status_of(connection) == status
        while _received(connection):
            pass
        sender.join()


EXPLAINED = 'clearhead_requests_total{route="/v1/explain",status="200"}'


def test_a_client_that_does_not_read_is_cut(server: Served) -> None:
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(post(png(0), "/v1/explain") * 100)
        counts = [-3.0, -2.0, -1.0]
        while len(set(counts[-4:])) > 1:  # until nothing more is answered for 1.5 s
            time.sleep(0.5)
            counts.append(server.metrics().get(EXPLAINED, 0))
        received = b""
        while more := _received(connection):
            received += more
    assert 1 <= received.count(b"HTTP/1.1 200") < 100
    assert server.ask("GET", "/v2/health/live").status == 200


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01 hello\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        post(b"ab", "/v1/predict", "Content-Length: 3"),
        post(b"ab", "/v1/predict", "Transfer-Encoding: chunked"),
    ],
    ids=["TLS", "negative length", "two lengths", "length and chunks"],
)
def test_what_is_not_http_is_refused_as_all_else_and_counted(server: Served, junk: bytes) -> None:
    name = 'clearhead_requests_total{route="other",status="400"}'
    before = server.metrics().get(name, 0)
    with server.connect() as connection:
        connection.sendall(junk)
        head, _, body = _all_of(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    assert json.loads(body) == {
        "error": "this is not HTTP as it should be; the connection is closed"
    }
    assert server.metrics()[name] - before == 1


def _all_of(connection: socket.socket) -> bytes:
    reply = b""
    while part := connection.recv(1 << 16):
        reply += part
    return reply


def test_metrics_equal_the_clients_tally(server: Served) -> None:
    asked: list[tuple[str, str, bytes | None]] = [
        *[("POST", "/v1/predict", png(number)) for number in range(5)],
        *[("POST", "/v1/predict", b"no picture")] * 3,
        ("POST", "/v1/explain", png(0)),
        ("POST", "/v1/predict", bytes(200_001)),
        ("POST", "/v2/models/digits/infer", b"{}"),
        ("GET", "/v1/predict", None),
        ("GET", "/nowhere", None),
        ("GET", "/elsewhere", None),
        ("GET", "/v2", None),
        ("GET", "/", None),
    ]
    before = Counter(server.metrics())
    tally: Counter[str] = Counter()
    routes = {"/nowhere": "other", "/elsewhere": "other"}
    for method, path, body in asked:
        status = server.ask(method, path, body).status
        route = routes.get(path, path)
        tally[f'clearhead_requests_total{{route="{route}",status="{status}"}}'] += 1
    after = Counter(server.metrics())
    tally['clearhead_requests_total{route="/metrics",status="200"}'] += 1  # the first of the two
    counted = {
        name: after[name] - before[name]
        for name in after
        if name.startswith("clearhead_requests_t")
    }
    assert {name: count for name, count in counted.items() if count} == tally
    assert after["clearhead_requests_in_progress"] == after["clearhead_queue_depth"] == 0
    assert after["clearhead_batch_size_sum"] - before["clearhead_batch_size_sum"] == 6
    decoded = after["clearhead_decode_seconds_count"] - before["clearhead_decode_seconds_count"]
    assert decoded == 5 + 3 + 1 + 1


def test_hundreds_of_requests_leave_nothing_behind(server: Served) -> None:
    process = Path(f"/proc/{server.process.pid}")

    def held(part: str) -> int:
        return len(list((process / part).iterdir()))

    def memory() -> float:
        return server.metrics()["process_resident_memory_bytes"]

    def ask(count: int) -> None:
        for number in range(count):
            body = b"no picture" if number % 10 == 9 else png(number % 7)
            reply = server.ask("POST", "/v1/predict", body)
            assert reply.status == (422 if number % 10 == 9 else 200)

    ask(60)
    before = memory()
    time.sleep(0.2)  # the last connection may still be closing
    threads, files = held("task"), held("fd")
    ask(240)
    assert _wait(lambda: held("task") <= threads and held("fd") <= files)
    assert memory() - before < 5e6


def _wait(condition: Callable[[], bool]) -> bool:
    """Does it come true within five seconds?"""
    for _ in range(100):
        if condition():
            return True
        time.sleep(0.05)
    return False
