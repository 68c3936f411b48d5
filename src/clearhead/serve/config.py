"""Address and limits of the server."""

import os
import re
from dataclasses import dataclass
from typing import Literal

from clearhead.errors import ConfigError

LogLevel = Literal["debug", "info", "warning", "error"]
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def default_decoders() -> int:
    """One process per core; one event loop can hardly feed more than four."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Address and limits of the server.

    Raises:
        ConfigError: A value is out of range.
    """

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    allow_host: tuple[str, ...] = ()
    """Accepted values of the Host header, besides `host` and this machine's own names."""
    name: str = "digits"
    """The model's name under /v2/models."""
    max_concurrency: int = 64
    """Requests in progress at once; more get status 429."""
    max_batch: int = 32
    """Images in one forward pass."""
    batch_wait: float = 0.05
    """Seconds that a forward pass waits for pictures that are still being decoded."""
    deadline: float = 5.0
    """Seconds from a complete request to its response; after them, status 504."""
    client_timeout: float = 10.0
    """Seconds for a client to send its request's body; after them, status 408."""
    body_limit: int = 8 * 2**20
    """Bytes of a request's body; more get status 413."""
    drain_delay: float = 1.0
    """After SIGTERM: seconds in which the server, no longer ready, still accepts connections."""
    drain_timeout: int = 20
    """After that: seconds for requests in progress to complete."""
    decoders: int = default_decoders()
    """Processes that decode pictures."""
    log_level: LogLevel = "warning"
    """Minimum severity of messages in the log."""
    access_log: bool = False
    """Log every request."""

    def __post_init__(self) -> None:
        hosts = (self.allow_host,) if isinstance(self.allow_host, str) else tuple(self.allow_host)
        object.__setattr__(self, "allow_host", hosts)
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"port must be from 0 to 65535, got {self.port}")
        if not re.fullmatch(r"[\w.-]+", self.name, re.ASCII):
            raise ConfigError(f"name must consist of letters, digits and . _ -, got {self.name!r}")
        for name in ("max_concurrency", "max_batch", "body_limit", "decoders", "drain_timeout"):
            if not getattr(self, name) >= 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("deadline", "client_timeout"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.batch_wait < self.deadline:
            raise ConfigError(
                f"batch_wait must be from 0 to below deadline ({self.deadline}), "
                f"got {self.batch_wait}"
            )
        if not 0 <= self.drain_delay < float("inf"):
            raise ConfigError(f"drain_delay must be at least 0, got {self.drain_delay}")

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Accepted values of the Host header, without the port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (*LOOPBACK, host, *self.allow_host)
