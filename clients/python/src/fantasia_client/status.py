"""Translates the gRPC status of a failed call into an error of `fantasia_client.errors`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc_status import rpc_status

from fantasia_client.errors import (
    AccessDeniedError,
    CallCancelledError,
    ConstraintsNotMetError,
    DeadlineExceededError,
    FantasiaClientError,
    FieldViolation,
    InvalidRequestError,
    MessageTooLargeError,
    ModelNotFoundError,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
    UnsupportedCallError,
)
from fantasia_client.probe import ConnectionProbe

DetailT = TypeVar("DetailT", bound=Message)

_TOO_LARGE = re.compile(
    r"(?:(?P<side>CLIENT|SERVER): )?(?P<verb>received|sent|send) message larger than max "
    r"\((?P<size>\d+) vs\. (?P<limit>\d+)\)"
    r"|message exceeds maximum size (?P<java_limit>\d+): (?P<java_size>\d+)",
    re.IGNORECASE,
)
"""gRPC's messages about a size limit: from its C core and Go, then from Java. `side` is the side that refused."""
_HEADERS_TOO_LARGE = re.compile(r"metadata size exceeds.*?\b(?P<size>\d+) vs\. (?P<limit>\d+)")


@dataclass(frozen=True, slots=True)
class _FailedCall:
    """Parts of a failed call."""

    code: StatusCode
    details: str
    """Details on one line, without the final period."""
    server: str
    timeout_seconds: float | None
    status: Status | None
    """Status with details that the server attached; None if there is none, for example if the connection failed."""
    probe: ConnectionProbe

    def detail(self, kind: type[DetailT]) -> DetailT | None:
        """The first detail of this type."""
        for packed in self.status.details if self.status else ():
            detail = kind()
            if packed.Unpack(detail):
                return detail
        return None

    def violations(self) -> tuple[FieldViolation, ...]:
        bad = self.detail(BadRequest)
        return tuple(_violation(item.field, item.description) for item in (bad.field_violations if bad else ()))

    def retry_after_seconds(self) -> float | None:
        info = self.detail(RetryInfo)
        return None if info is None else info.retry_delay.ToTimedelta().total_seconds()


def is_connection_failure(error: grpc.RpcError) -> bool:
    """Whether the connection failed. A status with details would come from the server."""
    return error.code() is StatusCode.UNAVAILABLE and _rich_status(error) is None


def error_from_rpc(
    error: grpc.RpcError, server: str, timeout_seconds: float | None, probe: ConnectionProbe, details: str
) -> FantasiaClientError:
    """The client's error for a failed call.

    Args:
        error: error of gRPC, from a synchronous or an asyncio channel.
        server: address of the server.
        timeout_seconds: deadline of the call; None if it had none.
        probe: gives the cause if the server cannot be reached.
        details: details of the error, or the result of the probe.
    """
    details = " ".join(details.split()).rstrip(".")
    call = _FailedCall(error.code(), details, server, timeout_seconds, _rich_status(error), probe)
    return TRANSLATIONS[call.code](call)


def _rich_status(error: grpc.RpcError) -> Status | None:
    try:
        return rpc_status.from_call(error)
    except (ValueError, DecodeError):  # a proxy rewrote the status
        return None


def _invalid_request(call: _FailedCall) -> FantasiaClientError:
    violations = call.violations()
    message = "; ".join(map(_violation_message, violations)) or call.details or "the server refused the request"
    return InvalidRequestError(message, violations=violations, code=call.code)


def _violation(path: str, description: str) -> FieldViolation:
    """A violation by the argument's name: the request of `StreamGenerate` has the arguments in its field `request`."""
    return FieldViolation(path.removeprefix("request."), description)


def _violation_message(violation: FieldViolation) -> str:
    if not violation.field or violation.description.startswith(violation.field):
        return violation.description
    return f"{violation.field}: {violation.description}"


def _model_not_found(call: _FailedCall) -> FantasiaClientError:
    resource = call.detail(ResourceInfo)
    return ModelNotFoundError(
        call.details or "the server has no such model",
        model=resource.resource_name if resource else None,
        violations=call.violations(),
        code=call.code,
    )


def _access_denied(call: _FailedCall) -> FantasiaClientError:
    text = f"{call.server} denied access: {call.details or 'no reason given'}"
    return AccessDeniedError(text, code=call.code)


def _exhausted(call: _FailedCall) -> FantasiaClientError:
    # A Fantasia server attaches details. Without them, gRPC or a proxy has refused the message.
    if call.status:
        return _busy(call)
    return _too_large(call) or _server_error(call)


def _too_large(call: _FailedCall) -> FantasiaClientError | None:
    if match := _TOO_LARGE.search(call.details):
        size, limit = (int(match[name] or match[f"java_{name}"]) for name in ("size", "limit"))
        by_client, sending = match["side"] == "CLIENT", (match["verb"] or "").lower().startswith("sen")
        message = "the request" if by_client == sending else "the response"
        side = "this client" if by_client else call.server
        verb = "sends" if sending else "accepts"
        text = f"{message} is too large: {size:,} bytes; {side} {verb} at most {limit:,} bytes"
    elif match := _HEADERS_TOO_LARGE.search(call.details):
        size, limit = int(match["size"]), int(match["limit"])
        text = f"the headers of the call to {call.server} are too large: {size:,} bytes; the limit is {limit:,} bytes"
    else:
        return None
    return MessageTooLargeError(text, size_bytes=size, limit_bytes=limit, code=call.code)


def _busy(call: _FailedCall) -> FantasiaClientError:
    text = f"{call.server} is busy: {call.details or 'its queue is full'}"
    return ServerBusyError(text, retry_after_seconds=call.retry_after_seconds(), code=call.code)


def _unavailable(call: _FailedCall) -> FantasiaClientError:
    # A Fantasia server attaches details. Without them, the connection has failed.
    if call.status:
        text = f"{call.server} is unavailable: {call.details or 'no reason given'}"
    else:
        cause = call.probe.cause(call.details)
        text = f"{call.server} cannot be reached{_through_proxy(call)}" + (f": {cause}" if cause else "")
        if proxy := call.probe.proxy:
            text += f"; to connect without the proxy, set no_proxy={proxy.host}"
    return ServerUnavailableError(text, retry_after_seconds=call.retry_after_seconds(), code=call.code)


def _deadline_exceeded(call: _FailedCall) -> FantasiaClientError:
    if violations := call.violations():
        message = f"{call.server} refused the request: {'; '.join(map(_violation_message, violations))}"
        return DeadlineExceededError(message, violations=violations, code=call.code)
    within = "" if call.timeout_seconds is None else f" within {call.timeout_seconds:g} s"
    return DeadlineExceededError(f"{call.server} did not answer{within}{_through_proxy(call)}", code=call.code)


def _through_proxy(call: _FailedCall) -> str:
    proxy = call.probe.proxy
    return f" through the proxy {proxy.address} (variable {proxy.variable})" if proxy else ""


def _cancelled(call: _FailedCall) -> FantasiaClientError:
    return CallCancelledError(f"the call was cancelled: {call.details or 'no reason given'}", code=call.code)


def _unsupported(call: _FailedCall) -> FantasiaClientError:
    text = f"{call.server} does not support this call: it runs an older version of Fantasia, or another service"
    return UnsupportedCallError(text, code=call.code)


def _constraints_not_met(call: _FailedCall) -> FantasiaClientError:
    failure = call.detail(PreconditionFailure)
    if failure is None:  # another service
        return _server_error(call)
    violations = tuple(_violation(item.subject, item.description) for item in failure.violations)
    message = "; ".join(map(_violation_message, violations)) or call.details or "the constraints left no token"
    return ConstraintsNotMetError(message, violations=violations, code=call.code)


def _server_error(call: _FailedCall) -> FantasiaClientError:
    text = f"{call.server} failed ({call.code.name}): {call.details or 'no reason given'}"
    return ServerError(text, code=call.code)


TRANSLATIONS: Mapping[StatusCode, Callable[[_FailedCall], FantasiaClientError]] = {
    StatusCode.INVALID_ARGUMENT: _invalid_request,
    StatusCode.OUT_OF_RANGE: _invalid_request,
    StatusCode.NOT_FOUND: _model_not_found,
    StatusCode.UNAUTHENTICATED: _access_denied,
    StatusCode.PERMISSION_DENIED: _access_denied,
    StatusCode.RESOURCE_EXHAUSTED: _exhausted,
    StatusCode.UNAVAILABLE: _unavailable,
    StatusCode.DEADLINE_EXCEEDED: _deadline_exceeded,
    StatusCode.CANCELLED: _cancelled,
    StatusCode.UNIMPLEMENTED: _unsupported,
    # A Fantasia server sends INTERNAL for its own failures, and none of the others.
    StatusCode.INTERNAL: _server_error,
    StatusCode.UNKNOWN: _server_error,
    StatusCode.DATA_LOSS: _server_error,
    StatusCode.ABORTED: _server_error,
    StatusCode.ALREADY_EXISTS: _server_error,
    StatusCode.FAILED_PRECONDITION: _constraints_not_met,
}
"""For every code except OK."""
