"""Traces calls with OpenTelemetry."""

import logging
import threading
from collections.abc import Sequence
from typing import Final

import grpc
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from server.engine.listener import SequenceListener
from server.rpc.call_tracer import CallTracer
from server.tracing.interceptors import CallDescriptionInterceptor, CallSpanInterceptor
from server.tracing.spans import SpanListener

_CLOSING_SECONDS: Final = 3.0
"""How long the last spans may take to be sent; a collector that does not answer must not delay the end."""


class OpenTelemetryTracer(CallTracer):
    """A span for each call of our service, spans of its request in the engine, the trace id in log lines.

    Args:
        provider: where spans go; it is shut down by `close`.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("fantasia")
        self._filter = TraceIdFilter()
        self._handlers = list(logging.getLogger().handlers)
        for handler in self._handlers:
            handler.addFilter(self._filter)

    def interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        """See `CallTracer`."""
        return (CallSpanInterceptor(self._provider), CallDescriptionInterceptor())

    def listener(self, model: str, listener: SequenceListener | None) -> SequenceListener | None:
        """See `CallTracer`. A call that is not sampled costs nothing here."""
        span = trace.get_current_span()
        if not span.is_recording():
            return listener
        return SpanListener(self._tracer, trace.set_span_in_context(span), model, listener)

    def close(self) -> None:
        """See `CallTracer`."""
        for handler in self._handlers:
            handler.removeFilter(self._filter)
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-shutdown", daemon=True)
        closing.start()
        closing.join(_CLOSING_SECONDS)


class TraceIdFilter(logging.Filter):
    """Adds the id of the trace to records that are logged within a call. It lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter.filter`."""
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            record.fields = {**getattr(record, "fields", {}), "trace_id": f"{context.trace_id:032x}"}
        return True
