"""Address and limits of the server."""

import os
from dataclasses import dataclass
from typing import Annotated, Literal

from clearhead._validate import above, at_least, integer, matching, optional, validate
from clearhead.inference._names import EngineChoice

LogLevel = Literal["debug", "info", "warning", "error"]
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def default_processes() -> int:
    """One for each core, but at most four: one event loop is too slow for more."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Address and limits of the server.

    Raises:
        ConfigError: A value is out of range.
    """

    host: Annotated[str, matching("[ -~]+", "a name or an address in ASCII")] = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, integer(0, 2**16 - 1)] = 8000
    """Port to listen on; 0 takes a free one."""
    allow_host: tuple[str, ...] = ()
    """Accepted values of the Host header, besides `host`, localhost, 127.0.0.1 and [::1]."""
    name: Annotated[str | None, optional(matching(r"[\w.-]+", "letters, digits and . _ -"))] = None
    """The model's name under /v2/models; by default its own."""
    engine: EngineChoice = "torch"
    """Engine of the forward pass: torch, compile, onnxruntime, openvino, or auto."""
    max_concurrency: Annotated[int, integer(1)] = 64
    """Requests in progress at once; more get status 429."""
    max_batch: Annotated[int, integer(1)] = 32
    """Requests in one batch, and images in one tensor."""
    deadline: Annotated[float, above(0)] = 5.0
    """Seconds from a complete request to its response; after them, status 504."""
    client_timeout: Annotated[float, above(0)] = 10.0
    """Seconds for a client to send its request's body; after them, status 408."""
    body_limit: Annotated[int, integer(1)] = 8 * 2**20
    """Bytes of a request's body; more get status 413."""
    drain_delay: Annotated[float, at_least(0)] = 1.0
    """After SIGTERM: seconds in which the server, no longer ready, still accepts connections."""
    drain_timeout: Annotated[int, integer(1)] = 20
    """After that: seconds for requests in progress to complete."""
    model_processes: Annotated[int, integer(1)] = default_processes()
    """Processes that decode and classify, divided among the workers."""
    workers: Annotated[int, integer(1)] = 1
    """Server processes; one event loop serves some thousand requests a second."""
    log_level: LogLevel = "warning"
    """Minimum severity of messages in the log."""
    access_log: bool = False
    """Log every request."""
    telemetry: bool = False
    """Send a trace of every request by OpenTelemetry, to OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __post_init__(self) -> None:
        if isinstance(self.allow_host, str | list):
            hosts = [self.allow_host] if isinstance(self.allow_host, str) else self.allow_host
            object.__setattr__(self, "allow_host", tuple(hosts))
        validate(self)

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Accepted values of the Host header, without the port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (*LOOPBACK, host, *self.allow_host)
