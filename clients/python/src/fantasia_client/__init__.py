"""Python client of Fantasia, a service that writes symbolic music.

    from fantasia_client import Client

    with Client("localhost:50051") as client:
        client.generate(bars=8, seed=7).save("a.mid")

`AsyncClient` is the same for asyncio. `fantasia_client.piano_roll` draws pieces, with the extra `plot`.
"""

from fantasia_client.async_client import AsyncClient
from fantasia_client.client import Client
from fantasia_client.connection import TLS, Keepalive, Retry
from fantasia_client.errors import (
    AccessDeniedError,
    CallCancelledError,
    ClientClosedError,
    DeadlineExceededError,
    FantasiaClientError,
    FieldViolation,
    InvalidRequestError,
    MessageTooLargeError,
    MissingExtraError,
    ModelNotFoundError,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    UnsupportedCallError,
)
from fantasia_client.health import Health
from fantasia_client.meter import Meter
from fantasia_client.model import ModelInfo
from fantasia_client.piece import FinishReason, Note, Piece, Timing
from fantasia_client.sampling import Sampling
from fantasia_client.version import VERSION

__version__ = VERSION

__all__ = [
    "TLS",
    "AccessDeniedError",
    "AsyncClient",
    "CallCancelledError",
    "Client",
    "ClientClosedError",
    "DeadlineExceededError",
    "FantasiaClientError",
    "FieldViolation",
    "FinishReason",
    "Health",
    "InvalidRequestError",
    "Keepalive",
    "MessageTooLargeError",
    "Meter",
    "MissingExtraError",
    "ModelInfo",
    "ModelNotFoundError",
    "Note",
    "Piece",
    "Retry",
    "Sampling",
    "ServerBusyError",
    "ServerError",
    "ServerUnavailableError",
    "Timing",
    "UnsupportedCallError",
    "__version__",
]
