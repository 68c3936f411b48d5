"""Processes killed at any moment: what is recorded equals an undisturbed run, to the byte."""

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from clearhead.studies.runner import run_studies
from clearhead.studies.store import read_results
from tests.processes import children_of, die_with_parent, is_running
from tests.studies.test_runner import records, started_trials

TRIALS = 24
RUN = (sys.executable, "-m", "clearhead", "study", "run", "toy:STUDY", "--workers", "2")


def prepare() -> None:
    die_with_parent()
    # Who runs the tests in the background may have Ctrl-C ignored, which children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(out: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*RUN, "--out", out],
        env=os.environ | {"TOY_SECONDS": "0.15"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=prepare,
    )


def until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.01)


def limit(stop: int) -> None:
    """Let no more trials begin than that `stop` are measured, and two others are interrupted."""
    allowed = len(started_trials()) + stop - count("r") + 2
    Path("new").write_text(str(allowed))
    Path("new").rename("limit")


def count(out: str) -> int:
    return len(list(Path(out).glob("toy/w*.json")) + list(Path(out).glob("toy/1*.json")))


def recorded() -> tuple[set[str], int]:
    """The names of the recorded trials, and how many attempts had begun when they were read."""
    names = {outcome.trial.name for outcome in read_results("r").studies[0].outcomes}
    return names, len(started_trials())


def again(states: Sequence[tuple[set[str], int]]) -> bool:
    """Whether a trial that was recorded in one of these states began once more after it."""
    begun = started_trials()
    return any(names.intersection(begun[count:]) for names, count in states)


def workers_of(pid: int) -> list[int]:
    """The processes that measure; joblib has another one that frees resources."""
    return [child for child in children_of(pid) if b"popen_loky" in command_of(child)]


def command_of(pid: int) -> bytes:
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def ignores_ctrl_c(pid: int) -> bool:
    """Whether a process blocks or ignores SIGINT, at this moment."""
    status = dict(
        line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return any(int(status[name], 16) >> signal.SIGINT - 1 & 1 for name in ("SigBlk", "SigIgn"))


@pytest.fixture
def undisturbed(toys: Path) -> dict[str, bytes]:
    run_studies(["toy:STUDY"], workers=1, out="whole")
    (toys / "started.txt").unlink()
    return records(Path("whole"))


@pytest.mark.slow
def test_a_killed_driver_leaves_no_process_and_can_resume(undisturbed: dict[str, bytes]) -> None:
    generator = random.Random(5)
    states: list[tuple[set[str], int]] = []
    for stop in (3, 9, 16):
        limit(stop)
        driver = start("r")
        until(lambda stop=stop: count("r") >= stop)  # type: ignore[misc]
        time.sleep(generator.uniform(0, 0.1))
        workers = children_of(driver.pid)
        driver.kill()
        driver.wait()
        for stream in (driver.stdout, driver.stderr):
            assert stream is not None
            stream.close()
        assert workers
        until(lambda workers=workers: not any(map(is_running, workers)))  # type: ignore[misc]
        assert count("r") < TRIALS
        states.append(recorded())
    limit(1000)
    last = start("r")
    _, errors = last.communicate()
    assert last.returncode == 0, errors
    assert records(Path("r")) == undisturbed
    assert not again(states)


@pytest.mark.slow
def test_killed_workers_are_replaced(undisturbed: dict[str, bytes]) -> None:
    generator = random.Random(7)
    limit(1)
    driver = start("r")
    states: list[tuple[set[str], int]] = []
    for stop in (1, 5, 10, 14, 18):
        limit(stop)
        until(lambda stop=stop: count("r") >= stop or again(states))  # type: ignore[misc]
        until(lambda: bool(workers_of(driver.pid)))
        time.sleep(generator.uniform(0, 0.15))
        os.kill(generator.choice(workers_of(driver.pid)), signal.SIGKILL)
        states.append(recorded())
    limit(1000)
    _, errors = driver.communicate()
    assert driver.returncode == 0, errors
    assert records(Path("r")) == undisturbed
    assert not again(states)


@pytest.mark.slow
@pytest.mark.parametrize("measured", [0, 1])
def test_ctrl_c_prints_one_line_with_the_command_to_resume(
    measured: int, undisturbed: dict[str, bytes]
) -> None:
    limit(1)
    driver = start("r")
    until(lambda: bool(workers_of(driver.pid)) and count("r") >= measured)
    workers = children_of(driver.pid)
    assert all(map(ignores_ctrl_c, workers_of(driver.pid)))
    os.killpg(driver.pid, signal.SIGINT)
    _, errors = driver.communicate()
    assert driver.returncode == 130
    again = shlex.join(["clearhead", *RUN[3:], "--out", "r"])
    assert errors.decode().splitlines()[-1] == (
        f"clearhead: stopped; the measured trials are stored; continue with: {again}"
    )
    assert b"Traceback" not in errors
    until(lambda: not any(map(is_running, workers)))
    limit(1000)
    last = start("r")
    last.communicate()
    assert records(Path("r")) == undisturbed
