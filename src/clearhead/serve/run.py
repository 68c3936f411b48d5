"""The server: listens, answers, and when told to stop, stops without losing a request."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn

from clearhead.errors import ConfigError
from clearhead.serve.config import ServeConfig
from clearhead.serve.connections import PatientProtocol
from clearhead.serve.door import Door

SWITCH_INTERVAL = 1e-4
KEEP_ALIVE = 10  # seconds between two requests of one connection


class DrainingServer(uvicorn.Server):
    """On SIGTERM: not ready at once, still listening for `drain` seconds, then the rest."""

    def __init__(
        self,
        config: uvicorn.Config,
        door: Door,
        *,
        drain: float,
        on_start: Callable[[], None],
        on_stop: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.door = door
        self.drain = drain
        self.on_start = on_start
        self.on_stop = on_stop
        self.stop_at: float | None = None
        self.interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once.

        After Ctrl-C nobody is waited for that might still be sent here.
        """
        by_hand = sig == signal.SIGINT
        self.interrupted = self.interrupted or by_hand
        if self.stop_at is None:
            self.on_stop()
            self.door.drain()
            self.stop_at = time.monotonic() + (0.0 if by_hand else self.drain)
        else:
            self.should_exit = self.force_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say so."""
        await super().startup(sockets)
        self.on_start()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop listening; asked ten times a second."""
        if self.stop_at is not None and time.monotonic() >= self.stop_at:
            self.should_exit = True
        return await super().on_tick(counter)


def run(
    door: Door,
    config: ServeConfig,
    *,
    announce: Callable[[str], None] = lambda _: None,
    on_stop: Callable[[], None] = lambda: None,
) -> bool:
    """Serve until a signal says stop; whether that was Ctrl-C. `announce` is given the address.

    Raises `ConfigError` if the address cannot be had.
    """
    listener = _listener(config)
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"http://{host}:{listener.getsockname()[1]}"
    server = DrainingServer(
        uvicorn.Config(
            door,
            http=partial(  # type: ignore[arg-type]
                PatientProtocol, patience=config.patience, door=door
            ),
            ws="none",
            lifespan="on",
            log_level="error",  # what clients do wrong is no news
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=max(1, int(config.grace - config.drain)),
        ),
        door,
        drain=config.drain,
        on_start=lambda: announce(address),
        on_stop=on_stop,
    )
    # The compute thread asks for the interpreter after every operation of the model; by default a
    # busy event loop would keep it waiting 5 ms each time, and a forward pass take seconds.
    sys.setswitchinterval(SWITCH_INTERVAL)
    with listener:
        server.run(sockets=[listener])
    return server.interrupted


def _listener(config: ServeConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        # Python's own words repeat the address; a name that is not found has a number below 0.
        number = error.errno or 0
        words = os.strerror(number) if number > 0 else str(error.strerror or error)
        reason = words.partition(" (while")[0]
        raise ConfigError(
            f"cannot listen on {config.host}, port {config.port}: {reason}; "
            "choose another with --port (0 takes a free one) or --host"
        ) from error
