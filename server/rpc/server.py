"""The gRPC server: generation, health and reflection on one port."""

import asyncio
from contextlib import suppress
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fantasia.v1 import generation_pb2_grpc as pb_grpc
from server.catalogue import Catalogue
from server.errors import StartupError
from server.rpc.account import Account
from server.rpc.gate import Gate
from server.rpc.interceptor import SERVICE
from server.rpc.limits import ConnectionLimits, Keepalive
from server.rpc.observer import CallObserver
from server.rpc.parsing import Parsing
from server.rpc.quota import ConnectionQuota
from server.rpc.reading import RequestReader
from server.rpc.reflection import add_reflection
from server.rpc.service import GenerationService
from server.rpc.streams import StreamLimiter
from server.rpc.translation import ErrorTranslation

_HEALTH_NAMES: Final = ("", SERVICE.full_name)
_STREAMS: Final = 8
"""Most health watches and reflection calls of one connection."""
_READ_AT_ONCE: Final = 4
"""Most calls of one connection whose requests are taken in at once."""
_LONGEST_SECONDS: Final = 24 * 60 * 60.0
_NOTICE_SECONDS: Final = 1.0


class RpcServer:
    """Listens from `start` on, serves from `open` to `close`.

    The number of calls at once is limited by the streams that peers may open. Within it, a call beyond the engine's
    queue is answered as soon as it is read, with a RetryInfo that gRPC's own limits would not give.

    Args:
        catalogue: the models to serve.
        observer: is told of calls.
        host: address or name to listen on; an IPv6 address without brackets.
        port: 0 takes a free one.
        max_request_bytes: longer messages are refused with RESOURCE_EXHAUSTED.
        limits: what peers may open.
        keepalive: how a lost peer is noticed.
        quota: what one connection may have in flight.
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
        quota: ConnectionQuota,
    ) -> None:
        self._gate = Gate()
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[
                RequestReader(observer, _READ_AT_ONCE),
                StreamLimiter(_STREAMS),
                Account(observer, catalogue.names[0]),
                ErrorTranslation(),
                self._gate,
                Parsing(),
            ],
            options=[
                # A second server on the same port is a mistake, and is told so.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_request_bytes),
                *limits.options(),
                *keepalive.options(),
            ],
        )
        pb_grpc.add_GenerationServiceServicer_to_server(GenerationService(catalogue, observer, quota), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_reflection((SERVICE.full_name, health.SERVICE_NAME), self._server)
        self._host = f"[{host}]" if ":" in host else host
        self._port = port
        self._stopping: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens, as clients write it; the port is the bound one after `start`."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen. Health says NOT_SERVING, and calls are refused until `open`.

        Raises:
            StartupError: the address cannot be listened on.
        """
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            self._port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise StartupError(
                f"cannot listen on {self.address}: is it taken, or not an address of this machine?"
            ) from error
        await self._server.start()

    async def open(self) -> None:
        """Serve: let calls in, then say so to whoever asks for health."""
        self._gate.open()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Send every client elsewhere: GOAWAY on all connections, and no new ones. Calls inside go on until `stop`.

        Watches of health are told NOT_SERVING on their streams; other questions for health cannot reach us any more.
        """
        # Not awaited: it ends with the last call, health watches included, or with `stop`.
        self._stopping = asyncio.create_task(self._server.stop(_LONGEST_SECONDS))
        with suppress(TimeoutError):  # a watcher that takes in nothing may hold this up
            await asyncio.wait_for(self._health.enter_graceful_shutdown(), _NOTICE_SECONDS)

    async def empty(self, timeout_seconds: float) -> bool:
        """Wait until every call inside is answered; whether that came about in time."""
        return await self._gate.empty(timeout_seconds)

    async def stop(self, grace_seconds: float) -> None:
        """Stop listening; calls that are still inside are cancelled after the grace period."""
        await self._server.stop(grace_seconds)
        if self._stopping is not None:
            await self._stopping

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in _HEALTH_NAMES:
            await self._health.set(name, status)
