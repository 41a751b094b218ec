"""The span of each call of our service, from OpenTelemetry's instrumentation of gRPC."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.instrumentation.grpc._aio_server import OpenTelemetryAioServerInterceptor
from opentelemetry.trace import Status, StatusCode, TracerProvider

from server.rpc.context import Context, request_id_of
from server.rpc.interceptor import Call, Method, ServiceInterceptor


class CallSpanInterceptor(OpenTelemetryAioServerInterceptor):
    """Makes a span of each call of our service, as a child of the caller's span if `traceparent` names a valid one.

    The instrumentation iterates over the responses of a handler that streams them. Our handlers write them to the
    context (`server.rpc.interceptor.make_handler`), so that they end like the handlers of single responses.

    Args:
        provider: where spans go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        tracer = trace.get_tracer("opentelemetry.instrumentation.grpc", tracer_provider=provider)
        super().__init__(tracer, _is_ours)  # type: ignore[no-untyped-call]

    def _intercept_aio_server_stream(
        self, behavior: Callable[..., Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Callable[..., Any]:
        wrapped: Callable[..., Any] = self._intercept_aio_server_unary(  # type: ignore[no-untyped-call]
            behavior, handler_call_details
        )
        return wrapped


class CallDescriptionInterceptor(ServiceInterceptor):
    """Gives the span of a call its request id, and the end of a call that was cancelled."""

    async def intercept(self, method: Method, call: Call, request: Any, context: Context) -> Any:
        """See `Interceptor.intercept`."""
        span = trace.get_current_span()
        span.set_attribute("fantasia.request_id", request_id_of(context))
        try:
            return await call(request, context)
        except asyncio.CancelledError:
            span.set_attribute("rpc.grpc.status_code", grpc.StatusCode.CANCELLED.value[0])
            span.set_status(Status(StatusCode.ERROR, "the caller cancelled, was lost or set a deadline that passed"))
            raise


def _is_ours(details: grpc.HandlerCallDetails) -> bool:
    return Method(details.method, request_streaming=False, response_streaming=False).is_ours
