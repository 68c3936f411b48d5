"""What is counted and timed, in Prometheus' text format."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """One registry a server; `text()` is what /metrics answers."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "clearhead_requests",
            "Requests by route and by the status of the answer (499: the client went away first).",
            ("route", "status"),
            registry=registry,
        )
        self._counted: dict[tuple[str, int], Counter] = {}
        self.in_progress = Gauge(
            "clearhead_requests_in_progress",
            "Requests that are admitted and not yet answered.",
            registry=registry,
        )
        self.queue_depth = Gauge(
            "clearhead_queue_depth",
            "Requests that are decoded and wait for the model.",
            registry=registry,
        )
        self.batch_size = Histogram(
            "clearhead_batch_size", "Images in a forward pass.", buckets=SIZES, registry=registry
        )
        self.queue_seconds = self._seconds("queue", "From decoded to the start of its batch.")
        self.decode_seconds = self._seconds("decode", "Decoding one request, waiting included.")
        self.compute_seconds = self._seconds("compute", "One batch in the compute thread.")
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def count(self, route: str, status: int) -> None:
        """One more request that got this status."""
        child = self._counted.get((route, status))
        if child is None:
            child = self._counted[route, status] = self.requests.labels(route, status)
        child.inc()

    def text(self) -> bytes:
        """All of it, as of now."""
        return generate_latest(self.registry)

    def _seconds(self, what: str, text: str) -> Histogram:
        return Histogram(f"clearhead_{what}_seconds", text, buckets=SECONDS, registry=self.registry)
