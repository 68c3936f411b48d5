"""Metrics in Prometheus' text format, and traces by OpenTelemetry, which need the extra `otel`."""

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp

from clearhead.errors import require

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder in which several processes share their metrics"""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64)
EXCLUDED = "/v2/health/live,/v2/health/ready,/metrics"


class Metrics:
    """One registry per server; `text()` is the response of /metrics."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "clearhead_requests",
            "Requests by route and response status (499: the client disconnected first).",
            ("route", "status"),
            registry=registry,
        )
        self.in_progress = Gauge(
            "clearhead_requests_in_progress",
            "Requests that count towards the maximum concurrency.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.queue_depth = Gauge(
            "clearhead_queue_depth",
            "Requests that wait for a process.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.batch_size = Histogram(
            "clearhead_batch_size", "Images in a batch.", buckets=SIZES, registry=registry
        )
        self.queue_seconds = self._seconds(
            "queue", "From a complete request to the start of its batch."
        )
        self.decode_seconds = self._seconds("decode", "Decoding one request.")
        self.compute_seconds = self._seconds(
            "compute", "Forward passes and responses of one batch."
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def text(self) -> bytes:
        """Current values; with several workers their sums, without the metrics of the process."""
        if METRICS_FOLDER not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)

    def _seconds(self, name: str, text: str) -> Histogram:
        return Histogram(f"clearhead_{name}_seconds", text, buckets=SECONDS, registry=self.registry)


def check_installed() -> None:
    """Raise `ConfigError` if OpenTelemetry is not installed."""
    names = ("exporter.otlp.proto.http", "instrumentation.asgi", "sdk.trace")
    require("telemetry", *(f"opentelemetry.{name}" for name in names), extra="otel")


def traced(app: ASGIApp) -> ASGIApp:
    """The application, with a span of the process's tracer provider for each request."""
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    middleware: ASGIApp = OpenTelemetryMiddleware(
        app, excluded_urls=EXCLUDED, exclude_spans=["receive", "send"]
    )
    return middleware


def start(service: str) -> None:
    """Export this process's spans by OTLP, unless it has a tracer provider already."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    resource = Resource.create({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
