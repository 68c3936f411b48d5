"""Traces of requests by OpenTelemetry; needs the extra `otel`."""

from starlette.types import ASGIApp

from clearhead.errors import require

EXCLUDED = "/v2/health/live,/v2/health/ready,/metrics"


def check_installed() -> None:
    """Raise `ConfigError` if OpenTelemetry is not installed."""
    names = ("exporter.otlp.proto.http", "instrumentation.asgi", "sdk.trace")
    require("telemetry", *(f"opentelemetry.{name}" for name in names), extra="otel")


def traced(app: ASGIApp) -> ASGIApp:
    """The application, with a span for each request.

    The process's tracer provider is used; `start` makes one that exports by OTLP.

    Raises:
        ConfigError: If OpenTelemetry is not installed.
    """
    check_installed()
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    middleware: ASGIApp = OpenTelemetryMiddleware(
        app, excluded_urls=EXCLUDED, exclude_spans=["receive", "send"]
    )
    return middleware


def start(service: str) -> None:
    """Export this process's spans to OTEL_EXPORTER_OTLP_ENDPOINT, under the name of the service.

    The variables of OpenTelemetry (https://opentelemetry.io/docs/specs/otel/configuration) apply,
    also OTEL_SERVICE_NAME. An existing tracer provider is kept.

    Raises:
        ConfigError: If OpenTelemetry is not installed.
    """
    check_installed()
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
