"""A second port with nothing but health, without TLS and tokens, for probes that have neither.

Kubernetes' gRPC probes speak no TLS and send no token (https://kubernetes.io/docs/concepts/configuration/
liveness-readiness-startup-probes/). What this port tells is whether the server serves; it can change nothing.
"""

from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc

from server.errors import StartupError
from server.rpc.limits import ConnectionLimits, Keepalive
from server.rpc.stream_limit_interceptor import StreamLimitInterceptor

_LIMITS: Final = ConnectionLimits(connections=64, streams=8, metadata_bytes=4 << 10, idle_seconds=60.0)
"""Room for the kubelet and some load balancers. A kubelet opens a connection for each probe."""
_MAX_WATCHES: Final = 4
"""Maximum number of health watches of one connection at once."""
_REQUEST_BYTES: Final = 1 << 10


class HealthPort:
    """Serves health from `start` to `stop`.

    Args:
        servicer: the health of the server.
        host: address or name to listen on; an IPv6 address without brackets.
        port: port to listen on; 0 for any free port.
        keepalive: how lost peers are detected.
    """

    def __init__(self, servicer: Any, host: str, port: int, keepalive: Keepalive) -> None:
        self._host = f"[{host}]" if ":" in host else host
        self._port = port
        self._server = grpc.aio.server(
            interceptors=[StreamLimitInterceptor(_MAX_WATCHES, 0)],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _REQUEST_BYTES),
                *_LIMITS.options(),
                *keepalive.options(),
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)

    @property
    def address(self) -> str:
        """Its address as clients write it; after `start`, with the bound port."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            StartupError: the server cannot listen on the address.
        """
        try:
            self._port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise StartupError(
                f"cannot listen on {self.address} for health: the port is in use, or the address is not one of this "
                "machine"
            ) from error
        await self._server.start()

    async def stop(self, grace_seconds: float) -> None:
        """Stop listening, and end the watches after the grace period."""
        await self._server.stop(grace_seconds)
