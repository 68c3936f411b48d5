"""The server: uvicorn on one socket, with draining before it stops."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from clearhead.errors import ConfigError
from clearhead.serve.app import Application
from clearhead.serve.config import ServeConfig

logger = logging.getLogger(__name__)

KEEP_ALIVE = 10  # seconds between two requests of one connection
# Inherited by the model processes. There is one for each core: their threads would compete. And a
# file in the current folder must not be imported in place of a module.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}


class DrainingServer(uvicorn.Server):
    """On SIGTERM: not ready at once, still accepting for `drain_delay` seconds, then stopping."""

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
        """Start, and report it."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains (Ctrl-C without the delay), the second stops at once."""
        if self.app.draining or not self.started:
            self.should_exit = self.force_exit = True
            return
        self.interrupted = sig == signal.SIGINT
        self.app.drain()
        logger.warning("stopping once the requests in progress are done; a second signal stops now")
        delay = 0.0 if self.interrupted else self.drain_delay
        self.loop.call_soon_threadsafe(self.loop.call_later, delay, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def run(
    app: Application, config: ServeConfig, *, on_start: Callable[[str], None] = lambda _: None
) -> bool:
    """Serve until SIGTERM or SIGINT.

    It changes its process: environment variables of child processes, signal handlers, logging. A
    script calls it under `if __name__ == "__main__":`, for it starts processes of
    `multiprocessing`.

    Args:
        app: The application, from `make_app`.
        config: The configuration that `app` was made with.
        on_start: Called with the address once the server is ready.

    Returns:
        Whether it was interrupted by SIGINT (Ctrl-C).

    Raises:
        ConfigError: The address is not available.
    """
    with listen(config) as listener:
        server = DrainingServer(app, config, lambda: on_start(address_of(config, listener)))
        os.environ.update(ENVIRONMENT)
        server.run(sockets=[listener])
    return server.interrupted


def address_of(config: ServeConfig, listener: socket.socket) -> str:
    """The server's URL."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{listener.getsockname()[1]}"


def _log_config(config: ServeConfig) -> dict[str, Any]:
    """Lines with time and level on stderr."""
    start = "%(asctime)s %(levelname)s "
    handlers = {
        name: {"class": "logging.StreamHandler", "formatter": name}
        for name in ("default", "access")
    }
    level = config.log_level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "default": {"format": f"{start}%(message)s"},
            "access": {
                "()": "uvicorn.logging.AccessFormatter",
                "fmt": f'{start}%(client_addr)s "%(request_line)s" %(status_code)s',
                "use_colors": False,
            },
        },
        "handlers": handlers,
        "loggers": {
            "uvicorn": {"handlers": ["default"], "level": level, "propagate": False},
            "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
            "clearhead": {"handlers": ["default"], "level": level, "propagate": False},
        },
    }


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
