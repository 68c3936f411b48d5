"""deploy/nginx.conf in front of the server: slow and idle clients do not delay others."""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from clearhead.models.pretrained import ImageModel
from tests.processes import die_with_parent, free_port

from .server import Client, ServerThread, png, post, status_of, wait_until

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx.conf"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
SLOW, IDLE = 20, 1000


@pytest.fixture(scope="module")
def nginx() -> str:
    path = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if path is None:
        message = "no nginx here: install Debian's package nginx-light"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="module")
def upstream(model: ImageModel) -> Iterator[ServerThread]:
    """Up to 4 requests at once, which 4 slow senders would fill."""
    with ServerThread(model, max_concurrency=4) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(
    nginx: str, upstream: ServerThread, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("nginx")
    port = free_port()
    files = "".join(f"{name}_temp_path {folder}/{name};" for name in TEMPORARY)
    text = CONFIGURATION.read_text()
    for old, new in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{upstream.port};"),
        ("http {", f"http {{ access_log off; {files}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    clients = re.compile(r"((?:client_\w+|send|proxy_read)_timeout) \d+s")
    text, changed = clients.subn(r"\1 9000s", text)  # none on a slow machine
    assert changed == 4
    settings = f"daemon off; pid {folder}/pid; error_log {folder}/log;"
    if os.geteuid() == 0:
        settings += " user root;"  # the test's folder is closed to others
    (folder / "nginx.conf").write_text(text)
    command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", settings]
    with (folder / "out").open("w") as out:
        ends_with_tests = partial(die_with_parent, signal.SIGTERM)  # nginx ends its processes
        process = subprocess.Popen(command, stdout=out, stderr=out, preexec_fn=ends_with_tests)
    try:
        client = Client(port)
        wait_until(lambda: process.poll() is not None or accepts(port))
        assert process.poll() is None, (folder / "out").read_text()
        yield client
    finally:
        process.terminate()
        process.wait()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def connections(client: Client, count: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections on which the same bytes were sent, and nothing is read."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", client.port))
            connection.sendall(sent)
            opened.append(connection)
        yield opened


def in_progress(server: Client) -> float:
    return server.metrics()["clearhead_requests_in_progress"]


def assert_serves_others(proxy: Client) -> None:
    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(lambda n: proxy.predict(png(n)), range(12)))
    assert [response.status for response in responses] == [200] * 12


def test_without_the_proxy_slow_senders_fill_the_server(upstream: ServerThread) -> None:
    with connections(upstream, 4, post(png(0))[:-9]):
        wait_until(lambda: in_progress(upstream) == 4)
        assert upstream.predict(png(1)).status == 429
    wait_until(lambda: in_progress(upstream) == 0)


def test_slow_senders_behind_the_proxy_do_not_delay_others(
    proxy: Client, upstream: ServerThread
) -> None:
    with connections(proxy, SLOW, post(png(0))[:-9]) as senders:
        assert_serves_others(proxy)
        assert in_progress(upstream) == 0
        senders[0].sendall(png(0)[-9:])
        assert status_of(senders[0]) == 200


def test_slow_readers_behind_the_proxy_do_not_delay_others(
    proxy: Client, upstream: ServerThread
) -> None:
    explained = 'clearhead_requests_total{route="/v1/explain",status="200"}'
    with ExitStack() as stack:
        for number in range(4, SLOW + 1, 4):  # no more at once than the server accepts
            readers = stack.enter_context(connections(proxy, 4, post(png(0), "/v1/explain")))
            while upstream.metrics().get(explained, 0) < number:
                time.sleep(0.01)
        assert_serves_others(proxy)
        assert status_of(readers[0]) == 200


def test_idle_connections_to_the_proxy_do_not_delay_others(
    proxy: Client, upstream: ServerThread
) -> None:
    with many_files(), connections(proxy, IDLE) as idle:
        assert_serves_others(proxy)
        idle[-1].sendall(post(png(0)))
        assert status_of(idle[-1]) == 200


def test_the_proxy_passes_errors_on_and_hides_metrics(proxy: Client) -> None:
    assert proxy.predict(b"no picture").json()["error"]
    assert proxy.predict(bytes(9 * 2**20)).status == 413
    assert proxy.request("GET", "/metrics").status == 403
    assert proxy.request("GET", "/v2/health/ready").json() == {"ready": True}
