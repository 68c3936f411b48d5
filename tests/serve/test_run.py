"""Starting, logging, draining; `clearhead serve` as a process, and what it leaves behind."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from clearhead.errors import ClearheadError
from clearhead.microscope import shipped_page
from clearhead.models.pretrained import ImageModel
from clearhead.serve import ServeConfig, make_app, run
from clearhead.serve._pool import _Worker
from clearhead.serve._run import ENVIRONMENT, address_of
from clearhead.serve.app import Application
from tests.processes import children_of, is_running

from .command import Command, count_of
from .server import Client, ClockedServer, Copy, ServerThread, png, post, status_of, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HALF = post(png(0))[:-9]
REST = png(0)[-9:]


@contextmanager
def half_sent(server: Client, count: int) -> Iterator[list[socket.socket]]:
    """Connections with a request in progress whose last bytes are missing."""
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(count)]
        for connection in connections:
            connection.sendall(HALF)
        wait_until(lambda: server.metrics()["clearhead_requests_in_progress"] == count)
        yield connections


def test_a_draining_server_is_not_ready_and_still_serves(model: ImageModel) -> None:
    with ServerThread(model, drain_delay=9000.0) as server:
        with half_sent(server, 3) as connections:
            server.server.handle_exit(signal.SIGTERM, None)
            ready = server.request("GET", "/v2/health/ready")
            assert (ready.status, ready.json()) == (503, {"ready": False})
            late = server.predict(png(1))
            assert (late.status, late.headers["connection"]) == (200, "close")
            for connection in connections:
                connection.sendall(REST)
            assert [status_of(connection) for connection in connections] == [200] * 3
        assert not server.server.should_exit
        server.server.handle_exit(signal.SIGTERM, None)  # the second one stops at once
        server.thread.join()
    assert not server.server.interrupted


def test_a_stopping_server_completes_requests_and_ends_incomplete_ones(model: ImageModel) -> None:
    with (
        ClockedServer(model, drain_delay=0.0, client_timeout=10.0, drain_timeout=9000) as server,
        half_sent(server, 4) as (first, second, *incomplete),
    ):
        server.server.handle_exit(signal.SIGTERM, None)
        for connection in (first, second):
            connection.sendall(REST)
            assert status_of(connection) == 200
        server.advance(10)
        assert [status_of(connection) for connection in incomplete] == [408, 408]
        server.thread.join()
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_an_interrupt_completes_requests_without_delay(model: ImageModel) -> None:
    with ServerThread(model, drain_delay=9000.0) as server, half_sent(server, 1) as (connection,):
        server.server.handle_exit(signal.SIGINT, None)
        connection.sendall(REST)
        assert status_of(connection) == 200
        server.thread.join()
    assert server.server.interrupted


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_address_of_a_server_is_a_url(host: str, shown: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert address_of(ServeConfig(host=host), listener) == f"http://{shown}:{port}"


def with_processes(app: Application, *, copy: Copy) -> Application:
    app.pool.start = partial(_Worker, copy, app.config)  # type: ignore[arg-type]
    return app


def test_a_signal_ends_a_server_whose_model_process_hangs_at_its_start(model: ImageModel) -> None:
    server = ServerThread(model)
    pool = with_processes(server.app, copy=Copy(time.sleep, 900)).pool
    server.thread.start()
    wait_until(lambda: any(worker.process.pid for worker in pool.workers))
    server.server.handle_exit(signal.SIGINT, None)
    server.thread.join()
    server.listener.close()
    assert server.server.interrupted
    assert not any(worker.process.is_alive() for worker in pool.workers)


def test_a_server_whose_model_processes_end_at_their_start_is_an_error(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)  # `run` sets them
    config = ServeConfig(port=0, model_processes=1)

    def make() -> Application:
        return with_processes(make_app(model, config), copy=Copy(os._exit, 1))

    # not in the main thread, where an open browser keeps an event loop
    with ThreadPoolExecutor(1) as threads, pytest.raises(ClearheadError, match="could not start"):
        threads.submit(run, make, config).result()


@pytest.fixture(scope="module")
def command() -> Iterator[Command]:
    """`clearhead serve` with all logs; the last test of this file stops it."""
    options = "--model-processes 1 --drain-delay 0 --access-log --log-level info"
    with Command(*options.split()) as started:
        yield started


@pytest.mark.slow
def test_log_lines_have_time_and_level(command: Command) -> None:
    assert command.predict(png(0)).status == 200
    start = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO "
    for line in (
        r'127\.0\.0\.1:\d+ "POST /v1/predict HTTP/1\.1" 200 OK$',
        "Started server process",
    ):
        assert re.search(start + line, command.output(), re.MULTILINE)


@pytest.mark.slow
def test_hundreds_of_requests_leak_nothing(command: Command) -> None:
    def memory() -> float:
        return command.metrics()["process_resident_memory_bytes"]

    def request(count: int) -> None:
        for number in range(count):
            bad = number % 10 == 9
            response = command.predict(b"no picture" if bad else png(number % 7))
            assert response.status == (422 if bad else 200)

    request(40)
    before = memory()
    threads, files = count_of(command, "task"), count_of(command, "fd")
    request(160)
    wait_until(lambda: count_of(command, "task") <= threads and count_of(command, "fd") <= files)
    assert memory() - before < 5e6


@pytest.mark.slow
@pytest.mark.unchecked
def test_the_served_page_is_the_microscope_and_requests_only_its_own_server(
    browser: "Browser", command: Command
) -> None:
    with browser.new_context() as context:
        address = f"http://127.0.0.1:{command.port}"
        page = context.new_page()
        requested: list[str] = []
        messages: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        response = page.goto(address)
        assert response is not None
        assert response.text() == shipped_page()
        page.wait_for_selector("html[data-settled]", state="attached")
        assert [url for url in requested if not url.startswith((address, "data:", "blob:"))] == []
        assert messages == []


@pytest.mark.slow
def test_sigterm_ends_the_command_and_its_processes(command: Command) -> None:
    processes = descendants(command)
    assert len(processes) >= 3  # model process, fork server, resource tracker
    with half_sent(command, 1) as (connection,):
        command.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in command.output())
        connection.sendall(REST)
        assert status_of(connection) == 200
    assert command.process.wait() == 0
    assert "Traceback" not in command.output()
    wait_until(lambda: not any(map(is_running, processes)))


def descendants(server: Command) -> list[int]:
    """Its child processes, and theirs."""
    return children_of(server.process.pid, recursive=True)


def workers_of(server: Command) -> set[int]:
    """Processes that listen: the children of the command with children of their own."""
    return {child for child in children_of(server.process.pid) if children_of(child)}


@pytest.mark.slow
def test_workers_share_an_address_are_replaced_and_drain() -> None:
    options = "--workers 2 --model-processes 2 --drain-delay 0 --name digits-2 --log-level info"
    with Command(*options.split()) as server:
        first = workers_of(server)
        assert len(first) == 2
        with ThreadPoolExecutor(8) as pool:
            responses = list(pool.map(lambda n: server.predict(png(n % 5)), range(60)))
        assert {response.status for response in responses} == {200}
        assert server.request("GET", "/v2/models/digits-2").status == 200
        counted = server.metrics()['clearhead_requests_total{route="/v1/predict",status="200"}']
        assert counted == 60  # by both, whichever of them is asked
        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(workers_of(server) - {killed}) == 2)
        wait_until(lambda: server.output().count("Application startup complete") == 3)
        assert "starting another" in server.output()
        assert server.predict(png(0)).status == 200
        processes = descendants(server)
        with server.connect() as connection:
            connection.sendall(post(png(0))[:-9])
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "stopping once" in server.output())
            connection.sendall(png(0)[-9:])
            assert status_of(connection) == 200
        assert server.process.wait() == 0
        assert "Traceback" not in server.output()
    wait_until(lambda: not any(map(is_running, processes)))


@pytest.mark.slow
def test_a_second_signal_ends_the_command_at_once_without_a_traceback() -> None:
    with Command("--model-processes", "1", "--drain-delay", "9000") as server:
        processes = descendants(server)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping once" in server.output())
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait() == 0
        assert "Traceback" not in server.output()
    wait_until(lambda: not any(map(is_running, processes)))


@pytest.mark.slow
def test_ctrl_c_while_workers_start_ends_them_without_a_traceback() -> None:
    server = Command("--workers", "2", "--model-processes", "2")
    try:
        wait_until(lambda: len(descendants(server)) >= 3)  # two workers, resource tracker
        processes = descendants(server)
        os.killpg(server.process.pid, signal.SIGINT)  # as a terminal does
        assert server.process.wait() == 130
        assert "Traceback" not in server.output()
        wait_until(lambda: not any(map(is_running, processes)))
    finally:
        server.__exit__()


@pytest.mark.slow
def test_a_killed_supervisor_ends_its_workers() -> None:
    with Command("--workers", "2", "--model-processes", "2", "--drain-delay", "0") as server:
        processes = descendants(server)
        server.process.kill()
        wait_until(lambda: not any(map(is_running, processes)))
