"""From our errors to google.rpc.Status (https://google.aip.dev/193): the one place that knows both."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RequestInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from music.errors import BundleError, FantasiaError, InvalidScoreError, UnsupportedMeterError
from server.engine.errors import (
    EngineFailedError,
    EngineRequestError,
    EngineStoppedError,
    PrecisionUnavailableError,
    ProviderUnavailableError,
    QueueFullError,
)
from server.errors import (
    ConnectionLimitError,
    InvalidRequestError,
    MalformedRequestError,
    ModelNotFoundError,
    NotServingError,
    RequestTimeoutError,
    StartupError,
    TooManyStreamsError,
    WrongLengthError,
)

MODEL_TYPE: Final = "fantasia.v1.Model"
_RETRY_AFTER_STOP_SECONDS: Final = 1.0


def status_of(error: FantasiaError) -> Status | None:
    """What the caller is told of the error; None where the fault is ours and is nobody else's business."""
    for cls in type(error).__mro__:
        if cls in _OURS:
            return None
        if cls in _TRANSLATIONS:
            return _TRANSLATIONS[cls](error)
    return None


def is_known(cls: type[FantasiaError]) -> bool:
    """Whether somebody decided what becomes of this class of errors."""
    return any(base in _TRANSLATIONS or base in _OURS for base in cls.__mro__)


def internal_status(request_id: str) -> Status:
    """What the caller is told of a fault of ours: where to find it in the log, and nothing of what it is."""
    message = f"internal error; the server's log tells more under request_id={request_id}"
    return _status(grpc.StatusCode.INTERNAL, message, [RequestInfo(request_id=request_id)])


def _status(code: grpc.StatusCode, message: str, details: Iterable[Message]) -> Status:
    status = Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _bad_request(*violations: tuple[str, str]) -> BadRequest:
    return BadRequest(
        field_violations=[BadRequest.FieldViolation(field=field, description=text) for field, text in violations]
    )


def _retry(seconds: float) -> RetryInfo:
    duration = Duration()
    duration.FromMilliseconds(math.ceil(seconds * 1000))
    return RetryInfo(retry_delay=duration)


def _invalid_request(error: InvalidRequestError) -> Status:
    violations = [(violation.field, violation.description) for violation in error.violations]
    return _status(grpc.StatusCode.INVALID_ARGUMENT, str(error), [_bad_request(*violations)])


def _malformed_request(error: MalformedRequestError) -> Status:
    return _status(grpc.StatusCode.INVALID_ARGUMENT, str(error), [])  # there are no fields yet to name


def _invalid_meter(error: FantasiaError) -> Status:
    return _status(grpc.StatusCode.INVALID_ARGUMENT, str(error), [_bad_request(("meter", str(error)))])


def _request_timeout(error: RequestTimeoutError) -> Status:
    return _status(grpc.StatusCode.DEADLINE_EXCEEDED, str(error), [])


def _model_not_found(error: ModelNotFoundError) -> Status:
    allowed = f"must be empty or one of {', '.join(error.loaded)}, not {error.name!r}"
    resource = ResourceInfo(resource_type=MODEL_TYPE, resource_name=error.name, description=str(error))
    others = ((violation.field, violation.description) for violation in error.others)
    return _status(grpc.StatusCode.NOT_FOUND, str(error), [resource, _bad_request((error.field, allowed), *others)])


def _exhausted(error: QueueFullError | ConnectionLimitError | TooManyStreamsError) -> Status:
    return _status(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), [_retry(error.retry_after_seconds)])


def _not_serving(error: NotServingError) -> Status:
    return _status(grpc.StatusCode.UNAVAILABLE, str(error), [_retry(error.retry_after_seconds)])


def _engine_stopped(error: EngineStoppedError) -> Status:
    return _status(grpc.StatusCode.UNAVAILABLE, str(error), [_retry(_RETRY_AFTER_STOP_SECONDS)])


_TRANSLATIONS: Final[dict[type, Callable[[Any], Status]]] = {
    InvalidRequestError: _invalid_request,
    MalformedRequestError: _malformed_request,
    RequestTimeoutError: _request_timeout,
    ModelNotFoundError: _model_not_found,
    # Requests are checked before music is touched; what a check missed is still the caller's mistake. The
    # meter is the only thing of a score that a caller chooses.
    InvalidScoreError: _invalid_meter,
    UnsupportedMeterError: _invalid_meter,
    QueueFullError: _exhausted,
    ConnectionLimitError: _exhausted,
    EngineStoppedError: _engine_stopped,
    TooManyStreamsError: _exhausted,
    NotServingError: _not_serving,
}
_OURS: Final[frozenset[type]] = frozenset(
    {
        BundleError,
        StartupError,
        ProviderUnavailableError,
        PrecisionUnavailableError,
        EngineRequestError,
        EngineFailedError,
        WrongLengthError,
    }
)
"""Faults of ours: logged, and INTERNAL to the caller."""
