"""The server: uvicorn in one or several processes on one socket, with draining before it stops."""

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import LOGGING_CONFIG

from clearhead._processes import ctrl_c_deferred, environment
from clearhead.errors import ClearheadError, ConfigError
from clearhead.serve._pool import SECONDS_BETWEEN_STARTS
from clearhead.serve.app import Application
from clearhead.serve.config import ServeConfig
from clearhead.serve.telemetry import METRICS_FOLDER

logger = logging.getLogger(__name__)

NOT_STARTED = "the server could not start; the log has the reason"
KEEP_ALIVE = 10  # seconds between two requests of one connection
# Inherited by the model processes. There is one for each core: their threads would compete. And a
# file in the current folder must not be imported in place of a module.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}


class DrainingServer(uvicorn.Server):
    """A server that is no longer ready after SIGTERM, and stops `drain_delay` seconds later."""

    def __init__(
        self, app: Application, config: ServeConfig, on_start: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="on",
                log_config=_log_config(config),
                access_log=config.access_log,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=config.drain_timeout,
            )
        )
        self.app = app
        self.drain_delay = config.drain_delay
        self.on_start = on_start
        self.interrupted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and call `on_start`."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if not self.should_exit:
            self.on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; also shut the application down after a second signal, where uvicorn does not."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains (Ctrl-C without the delay), the second stops at once."""
        if self.app.draining:
            self.should_exit = self.force_exit = True
            return
        self.interrupted = sig == signal.SIGINT
        if not self.started:
            self.should_exit = self.force_exit = True
            self.loop.call_soon_threadsafe(self.app.pool.stop)
            return
        self.app.drain()
        logger.warning("stopping once the requests in progress are done; a second signal stops now")
        delay = 0.0 if self.interrupted else self.drain_delay
        self.loop.call_soon_threadsafe(self.loop.call_later, delay, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def run(
    make: Callable[[], Application],
    config: ServeConfig,
    *,
    on_start: Callable[[str], None] = lambda _: None,
) -> bool:
    """Serve until SIGTERM or SIGINT.

    With several workers, one that ends by itself is replaced. The limits of `config`, except
    `model_processes`, hold for each worker; /metrics has the sums of all.

    While it runs, environment variables and signal handlers of its process are changed; loggers
    keep the configuration of the server. A script must call it under `if __name__ == "__main__":`,
    because it starts processes with `multiprocessing`.

    Args:
        make: A function that makes the application, with `make_app`. With several workers it is
            pickled, and called in each.
        config: The configuration that the application is made with.
        on_start: Called with the address once the server is ready.

    Returns:
        Whether it was interrupted by SIGINT (Ctrl-C).

    Raises:
        ConfigError: The address is not available.
        ClearheadError: The server, or one of its workers, does not start.
    """
    with (
        environment(ENVIRONMENT),
        listen(config) as listener,
        tempfile.TemporaryDirectory("clearhead") as folder,
    ):
        report = partial(on_start, address_of(config, listener))
        if config.workers == 1:
            server = DrainingServer(make(), config, report)
            try:
                server.run(sockets=[listener])
            except SystemExit as error:  # uvicorn's, with a code of its own
                raise ClearheadError(NOT_STARTED) from error
            return server.interrupted
        with environment({METRICS_FOLDER: folder}):  # read on import
            return _supervise(partial(_start, make, config, listener), config.workers, report)


def address_of(config: ServeConfig, listener: socket.socket) -> str:
    """The server's URL."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{listener.getsockname()[1]}"


def _log_config(config: ServeConfig) -> dict[str, Any]:
    """Configuration of uvicorn's loggers, with time and level in each line, all on stderr."""
    logs: dict[str, Any] = deepcopy(LOGGING_CONFIG)
    for name, text in (
        ("default", "%(message)s"),
        ("access", '%(client_addr)s "%(request_line)s" %(status_code)s'),
    ):
        formatter = {"fmt": f"%(asctime)s %(levelname)s {text}", "use_colors": False}
        logs["formatters"][name] |= formatter
        logs["handlers"][name]["stream"] = "ext://sys.stderr"
    own = {"handlers": ["default"], "level": config.log_level.upper(), "propagate": False}
    access = logs["loggers"]["uvicorn.access"]
    logs["loggers"] = {"uvicorn": own, "uvicorn.access": access, "clearhead": own}
    return logs


def listen(config: ServeConfig) -> socket.socket:
    """A listening socket; `ConfigError` if the address is not available."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        # str(error) repeats the address; a name that is not found has a negative number
        number = error.errno or 0
        words = os.strerror(number) if number > 0 else str(error.strerror or error)
        reason = words.partition(" (while")[0]
        raise ConfigError(
            f"cannot listen on {config.host}, port {config.port}: {reason}; "
            "choose another with --port (0 takes a free one) or --host"
        ) from error


def _supervise(
    start: Callable[[], tuple[Any, Any]], count: int, on_start: Callable[[], None]
) -> bool:
    """Run server processes, replace those that end by themselves, and forward signals to all.

    Returns, when all have ended after a signal, whether the first signal was SIGINT. Raises
    `ClearheadError` if one ends before all are ready.
    """
    signals: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _: signals.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    is_started = has_failed = False
    num_forwarded = 0
    try:
        workers = [start() for _ in range(count)]
        while True:
            ended = [i for i, (process, _) in enumerate(workers) if not process.is_alive()]
            if signals:
                if len(ended) == count:
                    break
            elif is_started and ended:
                pid = workers[ended[0]][0].pid
                logger.warning("worker %d ended; starting another", pid)
                mark_process_dead(pid)
                time.sleep(SECONDS_BETWEEN_STARTS)  # the next one may end at once, too
                if not signals:
                    workers[ended[0]] = start()
            elif ended:
                has_failed = True
                signals.append(signal.SIGTERM)  # stops the others
            elif not is_started and all(ready.is_set() for _, ready in workers):
                is_started = True
                on_start()
            for number in signals[num_forwarded:]:
                num_forwarded += 1
                for process, ready in workers:
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, number if ready.is_set() else signal.SIGTERM)
            time.sleep(0.05)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if has_failed:
        raise ClearheadError(NOT_STARTED)
    return signals[0] == signal.SIGINT


def _start(
    make: Callable[[], Application], config: ServeConfig, listener: socket.socket
) -> tuple[Any, Any]:
    """Start a server process; the process, and the event that is set once it is ready."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_serve, args=(make, config, listener, ready))
    with ctrl_c_deferred():  # the process ignores it, too, until `_serve` enables it
        process.start()
    return process, ready


def _serve(
    make: Callable[[], Application], config: ServeConfig, listener: socket.socket, ready: Any
) -> None:
    """Run one server in a new process."""
    os.setpgrp()  # Ctrl-C reaches only the supervisor, which forwards it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one that came during the imports
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    DrainingServer(make(), config, ready.set).run(sockets=[listener])


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
