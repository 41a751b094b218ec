"""The tracer that OpenTelemetry's own environment variables describe.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ lists them. The SDK reads most of them
itself: the sampler, limits, batches, the resource, propagators, the exporter's endpoint, headers and certificates.
"""

import os
from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from fantasia import __version__
from server.errors import SettingError, shortened
from server.tracing.tracer import OpenTelemetryTracer

_SERVICE: Final = "fantasia"
_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def tracer_from_environment() -> OpenTelemetryTracer:
    """Trace as the variables say; by default, all calls, to an OTLP collector on localhost.

    Raises:
        SettingError: a variable has a value that this server does not support.
    """
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    exporter = _exporter()
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return OpenTelemetryTracer(provider)


def _resource() -> Resource:
    """What the variables say of this process, with our name and version where they say nothing."""
    found = Resource.create()
    ours = {SERVICE_NAME: _SERVICE, SERVICE_VERSION: __version__}
    named = {key: value for key, value in found.attributes.items() if not str(value).startswith("unknown_service")}
    return Resource({**found.attributes, **{key: named.get(key, value) for key, value in ours.items()}})


def _exporter() -> SpanExporter | None:
    name = os.environ.get(_EXPORTER, "").strip().lower() or "otlp"
    if name == "none":
        return None
    if name == "console":
        return ConsoleSpanExporter()
    if name != "otlp":
        raise SettingError(f"{_EXPORTER} must be otlp, console or none, not {shortened(name)!r}")
    for variable in _PROTOCOLS:
        protocol = os.environ.get(variable, "").strip().lower()
        if protocol not in ("", "grpc"):
            raise SettingError(f"{variable} must be grpc, not {shortened(protocol)!r}")
    return OTLPSpanExporter()
