"""The engine of one machine: processes that measure one trial after the other, one thread each.

A process that dies is replaced, and its trial begun again by another.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from clearhead.studies.running.engine import ATTEMPTS, Measured, measured
from clearhead.studies.running.planning import Task

# -P: a file in the current folder must not stand in for a module.
COMMAND = (sys.executable, "-P", "-m", "clearhead.studies.running.worker")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
CHUNK = 65_536


def run_locally(tasks: Sequence[Task], workers: int, printed: Path) -> Generator[Measured]:
    """Measure all tasks with up to `workers` processes; what they print goes to that file."""
    waiting = deque((task, 1) for task in tasks)
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        log = stack.enter_context(printed.open("ab"))
        idle: list[Worker] = []
        busy = 0
        stack.callback(lambda: _end([*idle, *_registered(selector)]))
        while waiting or busy:
            while waiting and busy < workers:
                worker = idle.pop() if idle else Worker(log.fileno())
                worker.begin(*waiting.popleft())
                selector.register(worker.stdout, selectors.EVENT_READ, worker)
                busy += 1
            for key, _ in selector.select():
                worker = key.data
                if not worker.read():
                    continue
                selector.unregister(worker.stdout)
                busy -= 1
                task, attempt = worker.task, worker.attempt
                if worker.answer is not None:
                    idle.append(worker)
                    yield measured(task, json.loads(worker.answer))
                elif attempt < ATTEMPTS:
                    waiting.appendleft((task, attempt + 1))
                else:
                    yield Measured(task=task, error=f"its process {worker.end} {ATTEMPTS} times")


class Worker:
    """One process, and the trial it is at."""

    task: Task
    attempt: int

    def __init__(self, log: int) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the driver, which ends its workers
        )
        if self.process.stdin is None or self.process.stdout is None:  # never: both are pipes
            raise EOFError
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.answer: bytes | None = None
        self.end = ""
        self._received = b""

    def begin(self, task: Task, attempt: int) -> None:
        """Give it a trial; if it is dead already, `read` will say so."""
        self.task, self.attempt, self.answer = task, attempt, None
        with suppress(OSError):
            self.stdin.write(task.to_json().encode() + b"\n")
            self.stdin.flush()

    def read(self) -> bool:
        """Take in what has come; whether that was the end, of the trial or of the process."""
        chunk = os.read(self.stdout.fileno(), CHUNK)
        self._received += chunk
        if not chunk:
            self.kill()
            return True
        if not self._received.endswith(b"\n"):
            return False
        self.answer, self._received = self._received, b""
        return True

    def kill(self) -> None:
        """End it now, and say how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(0.5 if not self.answer else 0)
        self.process.kill()
        code = self.process.wait()
        self.end = f"ended with code {code}"
        if code < 0:
            self.end = f"was killed by {signal.Signals(-code).name}"
        for stream in (self.stdin, self.stdout):
            with suppress(OSError):
                stream.close()


def _registered(selector: selectors.BaseSelector) -> list[Worker]:
    return [key.data for key in selector.get_map().values()]


def _end(workers: list[Worker]) -> None:
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.kill()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(str(Path(place or ".").absolute()) for place in sys.path)
    return os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path}
