"""OpenTelemetry traces, an optional extra; the only package that imports opentelemetry."""

from server.tracing.configuration import tracer_from_environment
from server.tracing.tracer import OpenTelemetryTracer

__all__ = ["OpenTelemetryTracer", "tracer_from_environment"]
