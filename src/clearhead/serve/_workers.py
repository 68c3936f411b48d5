"""Several server processes on one socket: `--workers`."""

import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from clearhead.errors import ConfigError
from clearhead.serve._run import ENVIRONMENT, DrainingServer, address_of, listen, logger
from clearhead.serve.app import Application
from clearhead.serve.config import ServeConfig
from clearhead.serve.metrics import METRICS_FOLDER

SECONDS_BETWEEN_STARTS = 1.0


def run_workers(
    make: Callable[[], Application],
    config: ServeConfig,
    *,
    on_start: Callable[[str], None] = lambda _: None,
) -> bool:
    """As `run`, with `config.workers` processes that share the address.

    A process that ends by itself is replaced. The limits of `config`, except `model_processes`,
    hold for each process; /metrics has the sums of all.

    Args:
        make: Makes the application in each process; it is pickled.
        config: The configuration that the applications are made with.
        on_start: Called with the address once all processes are ready.

    Returns:
        Whether it was interrupted by SIGINT (Ctrl-C).

    Raises:
        ConfigError: The address is not available.
    """
    with listen(config) as listener, tempfile.TemporaryDirectory("clearhead") as folder:
        os.environ.update(ENVIRONMENT)
        os.environ[METRICS_FOLDER] = folder  # inherited; read on import
        supervisor = _Supervisor(partial(_serve, make, config, listener), config.workers)
        try:
            return supervisor.run(lambda: on_start(address_of(config, listener)))
        finally:
            del os.environ[METRICS_FOLDER]


class _Supervisor:
    """Starts processes, replaces those that end, and passes signals on."""

    def __init__(self, target: Callable[[Any], None], count: int) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.target = target
        self.count = count
        self.ready = self.context.Semaphore(0)
        self.processes: list[BaseProcess] = []
        self.signals: list[int] = []

    def run(self, on_start: Callable[[], None]) -> bool:
        previous = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self.processes = [self._start() for _ in range(self.count)]
            if self._are_ready():
                on_start()
                self._supervise()
            failed = not self.signals
            interrupted = self._stop()
            if failed:
                raise ConfigError("a worker could not start; the log has the reason")
            return interrupted
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signals.append(number)

    def _start(self) -> BaseProcess:
        process = self.context.Process(target=self.target, args=(self.ready,))
        process.start()
        return process

    def _are_ready(self) -> bool:
        """Wait for all processes; False after a signal, or if one has ended."""
        for _ in range(self.count):
            while not self.ready.acquire(timeout=0.2):
                if self.signals or not all(process.is_alive() for process in self.processes):
                    return False
        return True

    def _supervise(self) -> None:
        while not self.signals:
            for place, process in enumerate(self.processes):
                if not process.is_alive() and not self.signals:
                    logger.warning("worker %d ended; starting another", process.pid)
                    mark_process_dead(process.pid)
                    time.sleep(SECONDS_BETWEEN_STARTS)  # if it ends at once, not in a loop
                    self.processes[place] = self._start()
            time.sleep(0.1)

    def _stop(self) -> bool:
        """Pass on each signal, the second one too, until all processes have ended."""
        passed = 0
        if not self.signals:  # a process could not start
            self.signals.append(signal.SIGTERM)
        while any(process.is_alive() for process in self.processes):
            for number in self.signals[passed:]:
                passed += 1
                for process in self.processes:
                    if process.pid is not None:
                        with suppress(ProcessLookupError):
                            os.kill(process.pid, number)
            time.sleep(0.05)
        return self.signals[0] == signal.SIGINT


def _serve(
    make: Callable[[], Application], config: ServeConfig, listener: socket.socket, ready: Any
) -> None:
    """In a process of its own."""
    os.setpgrp()  # Ctrl-C goes to the supervisor alone, which passes it on
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    DrainingServer(make(), config, ready.release).run(sockets=[listener])


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
