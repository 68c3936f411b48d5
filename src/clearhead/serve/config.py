"""How the server behaves: its address, and its limits."""

import os
import re
from dataclasses import dataclass

from clearhead.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def usual_decoders() -> int:
    """One process a core; more than four would hardly be fed by one event loop."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Address and limits of the server; times in seconds."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    allow_host: tuple[str, ...] = ()
    """Names by which the server may be called, besides `host` and those of this machine."""
    name: str = "digits"
    """The model's name under /v2/models."""
    capacity: int = 64
    """Requests that may be at work or waiting at once; more get status 429."""
    max_batch: int = 32
    """Images in one forward pass."""
    gather: float = 0.05
    """How long a picture waits for others that are being decoded, to share a forward pass."""
    deadline: float = 5.0
    """Time from a whole request to its answer; past it, status 504."""
    patience: float = 10.0
    """Time for a client to send its whole request, or to take its answer."""
    body_limit: int = 8 * 2**20
    """Bytes of a request's body; more get status 413."""
    drain: float = 1.0
    """After SIGTERM: how long it still listens, no longer ready, before it stops listening."""
    grace: float = 20.0
    """After SIGTERM: time until it ends at the latest."""
    decoders: int = usual_decoders()
    """Processes that decode pictures."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow_host", tuple(self.allow_host))
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"port must be from 0 to 65535, got {self.port}")
        if not re.fullmatch(r"[\w.-]+", self.name, re.ASCII):
            raise ConfigError(f"name is made of letters, digits and . _ -, got {self.name!r}")
        for setting in ("capacity", "max_batch", "body_limit", "decoders"):
            if getattr(self, setting) < 1:
                raise ConfigError(f"{setting} must be at least 1, got {getattr(self, setting)}")
        for setting in ("deadline", "patience", "grace"):
            if not 0 < getattr(self, setting) < float("inf"):
                raise ConfigError(f"{setting} must be above 0, got {getattr(self, setting)}")
        if not 0 <= self.gather < self.deadline:
            raise ConfigError(
                f"gather ({self.gather}) must be from 0 to below deadline ({self.deadline})"
            )
        if not 0 <= self.drain < self.grace:
            raise ConfigError(f"drain ({self.drain}) must be from 0 to below grace ({self.grace})")

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """What a Host header may say, without the port."""
        return frozenset(name.lower() for name in (*LOOPBACK, self.host, *self.allow_host))
