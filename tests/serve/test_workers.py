"""`clearhead serve --workers`: several processes on one address."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from .command import Command, descendants, is_running
from .server import png, post, status_of, wait_until


def workers_of(server: Command) -> set[int]:
    """Processes that listen: the children of the command with children of their own."""
    children = [pid for pid in descendants(server) if parent_of(pid) == server.process.pid]
    return {pid for pid in children if any(parent_of(one) == pid for one in descendants(server))}


def parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.slow
def test_workers_share_an_address_are_replaced_and_drain() -> None:
    options = (
        "--workers 2 --model-processes 2 --drain-delay 0 --deadline 30 --name digits-2 "
        "--log-level info"
    )
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
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.output()
    wait_until(lambda: not any(map(is_running, processes)))


@pytest.mark.slow
def test_a_killed_supervisor_ends_its_workers() -> None:
    with Command("--workers", "2", "--model-processes", "2", "--drain-delay", "0") as server:
        processes = descendants(server)
        server.process.kill()
        wait_until(lambda: not any(map(is_running, processes)))
