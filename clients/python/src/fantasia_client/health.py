"""Whether a server takes work."""

from enum import Enum
from typing import Any

from grpc_health.v1 import health_pb2


class Health(Enum):
    """A server's own word on whether it takes work (grpc.health.v1)."""

    SERVING = "SERVING"
    """It has warmed up and takes work."""
    NOT_SERVING = "NOT_SERVING"
    """It is starting or stopping."""
    UNKNOWN = "UNKNOWN"
    """It does not say."""


_STATES = {
    health_pb2.HealthCheckResponse.SERVING: Health.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: Health.NOT_SERVING,
}


def health_from(message: Any) -> Health:
    """The state in an answer to `Check`."""
    return _STATES.get(message.status, Health.UNKNOWN)
