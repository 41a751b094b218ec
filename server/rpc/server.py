"""The gRPC server: generation, health and reflection on one port."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fantasia.v1 import generation_pb2_grpc as pb_grpc
from server.access.access import Access
from server.catalogue import Catalogue, ServedModel
from server.errors import StartupError
from server.rpc.access_interceptor import AccessInterceptor, needs_interceptor
from server.rpc.call_tracer import CallTracer
from server.rpc.credentials import server_credentials
from server.rpc.error_interceptor import ErrorInterceptor
from server.rpc.health_port import HealthPort
from server.rpc.interceptor import SERVICE, Interceptor
from server.rpc.limits import ConnectionLimits, Keepalive
from server.rpc.logging_interceptor import CallObserver, LoggingInterceptor
from server.rpc.quota import CallerQuota
from server.rpc.reflection import add_reflection
from server.rpc.request_limits import RequestLimits
from server.rpc.request_reader_interceptor import RequestReaderInterceptor
from server.rpc.resume_token import ResumeTokens
from server.rpc.service import GenerationService
from server.rpc.serving_interceptor import ServingInterceptor
from server.rpc.stream_limit_interceptor import StreamLimitInterceptor

_HEALTH_NAMES: Final = ("", SERVICE.full_name)
_MAX_STREAMING_CALLS: Final = 8
"""Maximum number of health watches and reflection calls of one connection at once."""
_MAX_REQUEST_STREAMS: Final = 64
"""Maximum number of calls with streamed requests (reflection) of all connections at once."""
_MAX_READS: Final = 4
"""Maximum number of calls of one connection whose requests are read at once."""
_UNBOUNDED_SECONDS: Final = 24 * 60 * 60.0
_NOTIFY_SECONDS: Final = 1.0


class RpcServer:
    """Listens from `start` on; serves from `start_serving` to `start_draining`.

    The number of concurrent calls is bounded by the streams that peers may open. gRPC's own limit of concurrent calls
    is not used: a call that the queue has no room for must be read, so that its answer can hold a RetryInfo.

    Args:
        catalogue: the models to serve.
        observer: counts calls.
        host: address or name to listen on; an IPv6 address without brackets.
        port: port to listen on; 0 for any free port.
        max_request_bytes: larger request messages are refused with RESOURCE_EXHAUSTED.
        limits: what peers may open.
        keepalive: how lost peers are detected.
        access: who may call, and TLS.
        health_host: address of a second port with health alone, without TLS and tokens; empty for no such port.
        health_port: that port; 0 for any free one.
        quota: what one caller may have in flight.
        request_limits: what a request may bring and ask for.
        resume_tokens: makes and opens resume tokens.
        tracer: traces calls.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        observer: CallObserver,
        *,
        host: str,
        port: int,
        max_request_bytes: int,
        limits: ConnectionLimits,
        keepalive: Keepalive,
        access: Access,
        health_host: str,
        health_port: int,
        quota: CallerQuota,
        request_limits: RequestLimits,
        resume_tokens: ResumeTokens,
        tracer: CallTracer,
    ) -> None:
        self._access = access
        self._serving = ServingInterceptor()
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[
                *tracer.interceptors(),
                *interceptors(observer, lambda: catalogue.default, self._serving, access=access),
            ],
            options=[
                # A second server on the same port is an error.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_request_bytes),
                *limits.options(),
                *keepalive.options(),
            ],
        )
        self._service = GenerationService(catalogue, observer, quota, request_limits, resume_tokens, tracer)
        pb_grpc.add_GenerationServiceServicer_to_server(self._service, self._server)
        services = [SERVICE.full_name]
        if access.health != "off":
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
            services.append(health.SERVICE_NAME)
        if access.reflection != "off":
            add_reflection(services, self._server)
        self._host = f"[{host}]" if ":" in host else host
        self._port = port
        self._health_port = HealthPort(self._health, health_host, health_port, keepalive) if health_host else None
        self._ready = True
        self._stopping: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Its address as clients write it; after `start`, with the bound port."""
        return f"{self._host}:{self._port}"

    @property
    def health_address(self) -> str:
        """The address of the second port for health; empty without one."""
        return "" if self._health_port is None else self._health_port.address

    async def start(self) -> None:
        """Listen. Health is NOT_SERVING, and calls are refused until `start_serving`.

        Raises:
            StartupError: the server cannot listen on the address.
        """
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            self._port = self._add_port()
        except RuntimeError as error:
            raise StartupError(
                f"cannot listen on {self.address}: the port is in use, or the address is not one of this machine"
            ) from error
        await self._server.start()
        if self._health_port is not None:
            await self._health_port.start()

    def add_model(self, model: ServedModel) -> None:
        """Prepare for calls of a model, which may be used once it is in the catalogue.

        Raises:
            StartupError: the model cannot be described to callers.
        """
        self._service.add_model(model)

    def remove_model(self, model: ServedModel) -> None:
        """Forget a model that no call uses any more."""
        self._service.remove_model(model)

    async def set_ready(self, ready: bool) -> None:
        """Set the health of the service: SERVING while there is a model. The health of the server does not change."""
        if ready is not self._ready:
            self._ready = ready
            statuses = health_pb2.HealthCheckResponse
            await self._health.set(SERVICE.full_name, statuses.SERVING if ready else statuses.NOT_SERVING)

    async def start_serving(self) -> None:
        """Accept calls, then set health to SERVING."""
        self._serving.start_serving()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def start_draining(self) -> None:
        """Send GOAWAY on all connections and stop listening. Running calls go on until `stop`.

        Health watches get NOT_SERVING on their streams, and so do all health checks on the second port. Other health
        checks cannot reach the server any more.
        """
        # Not awaited: it ends with the last call, health watches included, or with `stop`.
        self._stopping = asyncio.create_task(self._server.stop(_UNBOUNDED_SECONDS))
        with suppress(TimeoutError):  # a watcher that reads nothing may delay this
            await asyncio.wait_for(self._health.enter_graceful_shutdown(), _NOTIFY_SECONDS)

    async def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until every running call has ended, and return whether that happened in time."""
        return await self._serving.wait_until_idle(timeout_seconds)

    async def stop(self, grace_seconds: float) -> None:
        """Stop listening, and cancel the calls that still run after the grace period."""
        await self._server.stop(grace_seconds)
        if self._stopping is not None:
            await self._stopping
        if self._health_port is not None:
            await self._health_port.stop(grace_seconds)
        self._service.close()

    def _add_port(self) -> int:
        if self._access.certificates is None:
            return self._server.add_insecure_port(self.address)
        return self._server.add_secure_port(self.address, server_credentials(self._access.certificates))

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in _HEALTH_NAMES:
            await self._health.set(name, status)


def interceptors(
    observer: CallObserver,
    default_model: Callable[[], str],
    serving: ServingInterceptor,
    *,
    access: Access | None = None,
    max_reads: int = _MAX_READS,
    max_streaming_calls: int = _MAX_STREAMING_CALLS,
    max_request_streams: int = _MAX_REQUEST_STREAMS,
) -> list[Interceptor]:
    """All interceptors, the outermost first.

    The check of callers is outermost, if anything is checked, so that strangers cannot make the server read requests.
    The reader follows, so that the others see whole requests. Logging is outside the translation of errors, so
    that it sees the status; everything that refuses calls is inside it.
    """
    checked = [AccessInterceptor(access, observer)] if access is not None and needs_interceptor(access) else []
    return [
        *checked,
        RequestReaderInterceptor(observer, max_reads),
        LoggingInterceptor(observer, default_model),
        ErrorInterceptor(),
        StreamLimitInterceptor(max_streaming_calls, max_request_streams),
        serving,
    ]
