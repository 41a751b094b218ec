"""Python client of Fantasia, a service that generates symbolic music.

    from fantasia_client import Client, Constraints, Region

    with Client("localhost:50051") as client:
        client.generate(bars=8, seed=7).save("a.mid")
        client.generate(given="a.mid", rewrite=[Region(bars=(5, 6))], candidates=16).save("b.mid")

`AsyncClient` does the same with asyncio. `fantasia_client.piano_roll` draws pieces; it needs the extra `plot`.
"""

from fantasia import __version__
from fantasia_client.async_client import AsyncClient
from fantasia_client.client import Client
from fantasia_client.connection import TLS, Keepalive, Retry
from fantasia_client.errors import (
    AccessDeniedError,
    CallCancelledError,
    ClientClosedError,
    ConstraintsNotMetError,
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
from fantasia_client.model_info import Capabilities, Limits, ModelInfo, UnavailableModel, UnavailableState
from fantasia_client.request_types import (
    Chord,
    Constraints,
    Controls,
    GenerateOptions,
    GivenPiece,
    Region,
    VelocityShape,
)
from fantasia_client.stream import AsyncStream, Stream
from fantasia_client.token import InsecureTokenWarning, Token
from fantasia_client.types import (
    Evaluation,
    FinishReason,
    Generation,
    GivenReport,
    Health,
    Meter,
    MeterChange,
    Note,
    NoteEvaluation,
    Piece,
    ResumePoint,
    Sampling,
    StreamStart,
    StreamUpdate,
    TempoChange,
    Timing,
)

__all__ = [
    "TLS",
    "AccessDeniedError",
    "AsyncClient",
    "AsyncStream",
    "CallCancelledError",
    "Capabilities",
    "Chord",
    "Client",
    "ClientClosedError",
    "Constraints",
    "ConstraintsNotMetError",
    "Controls",
    "DeadlineExceededError",
    "Evaluation",
    "FantasiaClientError",
    "FieldViolation",
    "FinishReason",
    "GenerateOptions",
    "Generation",
    "GivenPiece",
    "GivenReport",
    "Health",
    "InsecureTokenWarning",
    "InvalidRequestError",
    "Keepalive",
    "Limits",
    "MessageTooLargeError",
    "Meter",
    "MeterChange",
    "MissingExtraError",
    "ModelInfo",
    "ModelNotFoundError",
    "Note",
    "NoteEvaluation",
    "Piece",
    "Region",
    "ResumePoint",
    "Retry",
    "Sampling",
    "ServerBusyError",
    "ServerError",
    "ServerUnavailableError",
    "Stream",
    "StreamStart",
    "StreamUpdate",
    "TempoChange",
    "Timing",
    "Token",
    "UnavailableModel",
    "UnavailableState",
    "UnsupportedCallError",
    "VelocityShape",
    "__version__",
]
