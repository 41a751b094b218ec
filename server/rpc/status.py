"""The google.rpc.Status (https://google.aip.dev/193) of each error: the only module that knows both."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, RequestInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from music.errors import (
    BundleError,
    FantasiaError,
    InvalidDynamicsError,
    InvalidHarmonyError,
    InvalidScoreError,
    NoTokenLeftError,
    TaskError,
    UnsupportedMeterError,
)
from runtime.errors import ExecutionError
from server.engine.errors import (
    ConstraintError,
    EngineFailedError,
    EngineRequestError,
    EngineStoppedError,
    QueueFullError,
)
from server.errors import (
    CandidateFailedError,
    DeadlineTooShortError,
    InFlightLimitError,
    InvalidRequestError,
    MalformedRequestError,
    MemoryShortageError,
    ModelNotFoundError,
    NotServingError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ResumeTokenError,
    StartupError,
    TooManyStreamsError,
    UnauthenticatedError,
    WorkLimitError,
    WrongLengthError,
)

MODEL_TYPE: Final = "fantasia.v1.Model"
CONSTRAINTS_TYPE: Final = "CONSTRAINTS"
"""Type of the violation of a `PreconditionFailure`: constraints left no token."""
_RETRY_AFTER_STOP_SECONDS: Final = 1.0


def status_of(error: FantasiaError, field_path: Callable[[str], str] | None = None) -> Status | None:
    """The status that the caller gets; None for a fault of the server, whose details the caller does not get.

    Args:
        error: that the handler raised.
        field_path: gives the path of one of its fields in the request of the method; None if it is the same.
    """
    for cls in type(error).__mro__:
        if cls in _INTERNAL:
            return None
        if cls in _STATUSES:
            status = _STATUSES[cls](error)
            if field_path is not None:
                _place_fields(status, field_path)
            return status
    return None


def has_status(cls: type[FantasiaError]) -> bool:
    """Whether this module says what becomes of the error class: a status, or INTERNAL."""
    return any(base in _STATUSES or base in _INTERNAL for base in cls.__mro__)


def internal_status(request_id: str) -> Status:
    """The status of a fault of the server: it names the request id, under which the log has the details."""
    message = f"internal error; the server's log has the details under request_id={request_id}"
    return _status(grpc.StatusCode.INTERNAL, message, [RequestInfo(request_id=request_id)])


def _status(code: grpc.StatusCode, message: str, details: Iterable[Message]) -> Status:
    status = Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _place_fields(status: Status, field_path: Callable[[str], str]) -> None:
    """Change the path of every field in the details."""
    bad_request, failure = BadRequest(), PreconditionFailure()
    for detail in status.details:
        if detail.Unpack(bad_request):
            for wrong in bad_request.field_violations:
                wrong.field = field_path(wrong.field)
            detail.Pack(bad_request)
        elif detail.Unpack(failure):
            for unmet in failure.violations:
                unmet.subject = field_path(unmet.subject)
            detail.Pack(failure)


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


def _invalid_argument(error: FantasiaError) -> Status:
    """Without a BadRequest: the error does not know the field that it is about."""
    return _status(grpc.StatusCode.INVALID_ARGUMENT, str(error), [])


def _request_timeout(error: RequestTimeoutError) -> Status:
    return _status(grpc.StatusCode.DEADLINE_EXCEEDED, str(error), [])


def _deadline_too_short(error: DeadlineTooShortError) -> Status:
    violation = error.violation
    details = [_bad_request((violation.field, violation.description))]
    return _status(grpc.StatusCode.DEADLINE_EXCEEDED, str(error), details)


def _task(error: TaskError) -> Status:
    return _status(grpc.StatusCode.INVALID_ARGUMENT, str(error), [_bad_request((error.field, error.message))])


def _no_token_left(error: NoTokenLeftError) -> Status:
    return _constraints_failed(str(error), error.field, error.message)


def _constraint(error: ConstraintError) -> Status:
    return _constraints_failed(str(error), error.error.field, error.error.message)


def _candidate_failed(error: CandidateFailedError) -> Status:
    return _constraints_failed(str(error), "constraints", str(error))


def _constraints_failed(message: str, field: str, text: str) -> Status:
    violation = PreconditionFailure.Violation(type=CONSTRAINTS_TYPE, subject=field, description=text)
    return _status(grpc.StatusCode.FAILED_PRECONDITION, message, [PreconditionFailure(violations=[violation])])


def _model_not_found(error: ModelNotFoundError) -> Status:
    resource = ResourceInfo(resource_type=MODEL_TYPE, resource_name=error.name, description=str(error))
    others = ((violation.field, violation.description) for violation in error.others)
    return _status(
        grpc.StatusCode.NOT_FOUND, str(error), [resource, _bad_request((error.field, error.allowed), *others)]
    )


def _unauthenticated(error: UnauthenticatedError) -> Status:
    return _status(grpc.StatusCode.UNAUTHENTICATED, str(error), [])


def _permission_denied(error: PermissionDeniedError) -> Status:
    return _status(grpc.StatusCode.PERMISSION_DENIED, str(error), [])


def _exhausted(
    error: QueueFullError | RateLimitError | InFlightLimitError | TooManyStreamsError | WorkLimitError,
) -> Status:
    return _status(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), [_retry(error.retry_after_seconds)])


def _not_serving(error: NotServingError) -> Status:
    return _status(grpc.StatusCode.UNAVAILABLE, str(error), [_retry(error.retry_after_seconds)])


def _engine_stopped(error: EngineStoppedError) -> Status:
    return _status(grpc.StatusCode.UNAVAILABLE, str(error), [_retry(_RETRY_AFTER_STOP_SECONDS)])


_STATUSES: Final[dict[type, Callable[[Any], Status]]] = {
    InvalidRequestError: _invalid_request,
    MalformedRequestError: _invalid_argument,
    RequestTimeoutError: _request_timeout,
    ModelNotFoundError: _model_not_found,
    # Code that reads a field of the request catches these and raises InvalidRequestError with the field's path.
    InvalidScoreError: _invalid_argument,
    InvalidHarmonyError: _invalid_argument,
    InvalidDynamicsError: _invalid_argument,
    UnsupportedMeterError: _invalid_argument,
    ResumeTokenError: _invalid_argument,
    TaskError: _task,
    NoTokenLeftError: _no_token_left,
    ConstraintError: _constraint,
    CandidateFailedError: _candidate_failed,
    DeadlineTooShortError: _deadline_too_short,
    QueueFullError: _exhausted,
    UnauthenticatedError: _unauthenticated,
    PermissionDeniedError: _permission_denied,
    RateLimitError: _exhausted,
    InFlightLimitError: _exhausted,
    TooManyStreamsError: _exhausted,
    WorkLimitError: _exhausted,
    EngineStoppedError: _engine_stopped,
    NotServingError: _not_serving,
}
_INTERNAL: Final[frozenset[type]] = frozenset(
    {
        BundleError,
        StartupError,
        MemoryShortageError,
        ExecutionError,
        EngineRequestError,
        EngineFailedError,
        WrongLengthError,
    }
)
"""Faults of the server: logged, and INTERNAL to the caller."""
