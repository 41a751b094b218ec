"""The one place where a gRPC status becomes an error of `fantasia_client.errors`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc_status import rpc_status

from fantasia_client.diagnosis import Diagnosis
from fantasia_client.errors import (
    AccessDeniedError,
    CallCancelledError,
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

DetailT = TypeVar("DetailT", bound=Message)

_TOO_LARGE = re.compile(
    r"(?:(?P<side>CLIENT|SERVER): )?(?P<verb>received|sent|send) message larger than max "
    r"\((?P<size>\d+) vs\. (?P<limit>\d+)\)"
    r"|message exceeds maximum size (?P<java_limit>\d+): (?P<java_size>\d+)",
    re.IGNORECASE,
)
"""What gRPC says of a message over a limit: its C core and Go, then Java. The side is the one that refused it."""
_HEADERS_TOO_LARGE = re.compile(r"metadata size exceeds.*?\b(?P<size>\d+) vs\. (?P<limit>\d+)")


@dataclass(frozen=True, slots=True)
class _Failure:
    """A failed call, taken apart."""

    code: StatusCode
    text: str
    server: str
    timeout_seconds: float | None
    status: Status | None
    """The google.rpc.Status that the server attached; None where there is none, as with a lost connection."""
    diagnosis: Diagnosis

    def detail(self, kind: type[DetailT]) -> DetailT | None:
        """The first detail of this kind."""
        for packed in self.status.details if self.status else ():
            detail = kind()
            if packed.Unpack(detail):
                return detail
        return None

    def violations(self) -> tuple[FieldViolation, ...]:
        bad = self.detail(BadRequest)
        return tuple(FieldViolation(found.field, found.description) for found in (bad.field_violations if bad else ()))

    def retry_after_seconds(self) -> float | None:
        info = self.detail(RetryInfo)
        return None if info is None else info.retry_delay.ToTimedelta().total_seconds()


def needs_look(error: grpc.RpcError, diagnosis: Diagnosis) -> bool:
    """Whether `diagnosis.look` could tell more of this failure than gRPC does."""
    lost = error.code() is StatusCode.UNAVAILABLE and _rich_status(error) is None
    return lost and diagnosis.needs_look(error.details() or "")


def error_from_rpc(
    error: grpc.RpcError, server: str, timeout_seconds: float | None, diagnosis: Diagnosis, found: str = ""
) -> FantasiaClientError:
    """The client's error for a failed call.

    Args:
        error: what a call raised, on a sync or an asyncio channel.
        server: address that was called, for the sentence.
        timeout_seconds: deadline of the call, for the sentence; None where it had none.
        diagnosis: says why the server cannot be reached.
        found: what `diagnosis.look` found, where that was needed.
    """
    text = " ".join((found or error.details() or "").split()).rstrip(".")
    failure = _Failure(error.code(), text, server, timeout_seconds, _rich_status(error), diagnosis)
    return TRANSLATIONS[failure.code](failure)


def _rich_status(error: grpc.RpcError) -> Status | None:
    try:
        return rpc_status.from_call(error)
    except (ValueError, DecodeError):  # something between us and the server rewrote the status
        return None


def _invalid_request(failure: _Failure) -> FantasiaClientError:
    violations = failure.violations()
    sentence = "; ".join(map(_sentence, violations)) or failure.text or "the server refused the request"
    return InvalidRequestError(sentence, violations=violations, code=failure.code)


def _sentence(violation: FieldViolation) -> str:
    if not violation.field or violation.description.startswith(violation.field):
        return violation.description
    return f"{violation.field}: {violation.description}"


def _model_not_found(failure: _Failure) -> FantasiaClientError:
    resource = failure.detail(ResourceInfo)
    return ModelNotFoundError(
        failure.text or "the server has no such model",
        model=resource.resource_name if resource else None,
        violations=failure.violations(),
        code=failure.code,
    )


def _access_denied(failure: _Failure) -> FantasiaClientError:
    text = f"{failure.server} denied access: {failure.text or 'it gave no reason'}"
    return AccessDeniedError(text, code=failure.code)


def _exhausted(failure: _Failure) -> FantasiaClientError:
    # Our server attaches details to what it refuses. Without them gRPC itself, or a proxy, ran into a limit.
    if failure.status:
        return _busy(failure)
    return _too_large(failure) or _server_error(failure)


def _too_large(failure: _Failure) -> FantasiaClientError | None:
    if found := _TOO_LARGE.search(failure.text):
        size, limit = (int(found[name] or found[f"java_{name}"]) for name in ("size", "limit"))
        by_client, sending = found["side"] == "CLIENT", (found["verb"] or "").lower().startswith("sen")
        what = "the request" if by_client == sending else "the answer"
        who = "this client" if by_client else failure.server
        verb = "sends" if sending else "accepts"
        text = f"{what} is too large: {size:,} bytes; {who} {verb} at most {limit:,} bytes"
    elif found := _HEADERS_TOO_LARGE.search(failure.text):
        size, limit = int(found["size"]), int(found["limit"])
        text = (
            f"the headers of the call to {failure.server} are too large: {size:,} bytes; the limit is {limit:,} bytes"
        )
    else:
        return None
    return MessageTooLargeError(text, size_bytes=size, limit_bytes=limit, code=failure.code)


def _busy(failure: _Failure) -> FantasiaClientError:
    text = f"{failure.server} is busy: {failure.text or 'it has no room for more work'}"
    return ServerBusyError(text, retry_after_seconds=failure.retry_after_seconds(), code=failure.code)


def _unavailable(failure: _Failure) -> FantasiaClientError:
    # A status with details was written by the server; without them the connection is what failed.
    if failure.status:
        text = f"{failure.server} is unavailable: {failure.text or 'it gave no reason'}"
    else:
        cause = failure.diagnosis.cause(failure.text)
        text = f"{failure.server} cannot be reached{_through_proxy(failure)}" + (f": {cause}" if cause else "")
        if proxy := failure.diagnosis.proxy:
            text += f"; to connect without the proxy, set no_proxy={proxy.host}"
    return ServerUnavailableError(text, retry_after_seconds=failure.retry_after_seconds(), code=failure.code)


def _deadline_exceeded(failure: _Failure) -> FantasiaClientError:
    within = "" if failure.timeout_seconds is None else f" within {failure.timeout_seconds:g} s"
    return DeadlineExceededError(f"{failure.server} gave no answer{within}{_through_proxy(failure)}", code=failure.code)


def _through_proxy(failure: _Failure) -> str:
    proxy = failure.diagnosis.proxy
    return f" through the proxy {proxy.address} (variable {proxy.variable})" if proxy else ""


def _cancelled(failure: _Failure) -> FantasiaClientError:
    return CallCancelledError(f"the call was cancelled: {failure.text or 'no reason given'}", code=failure.code)


def _unsupported(failure: _Failure) -> FantasiaClientError:
    text = f"{failure.server} does not know this call: it is an older Fantasia, or something else"
    return UnsupportedCallError(text, code=failure.code)


def _server_error(failure: _Failure) -> FantasiaClientError:
    text = f"{failure.server} failed ({failure.code.name}): {failure.text or 'it gave no reason'}"
    return ServerError(text, code=failure.code)


TRANSLATIONS: Mapping[StatusCode, Callable[[_Failure], FantasiaClientError]] = {
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
    # Fantasia sends none of these on purpose, save INTERNAL for its own failure.
    StatusCode.INTERNAL: _server_error,
    StatusCode.UNKNOWN: _server_error,
    StatusCode.DATA_LOSS: _server_error,
    StatusCode.ABORTED: _server_error,
    StatusCode.ALREADY_EXISTS: _server_error,
    StatusCode.FAILED_PRECONDITION: _server_error,
}
"""Every code but OK; a test holds it complete."""
