"""Errors of the client.

FantasiaClientError
├── InvalidRequestError       the server, or the client before it, refused a field: see `violations`
├── ModelNotFoundError        the server has no model of that name: see `model` and `violations`
├── AccessDeniedError         credentials are missing, or do not allow the call
├── MessageTooLargeError      the request or the answer is over a limit: see `limit_bytes`
├── ServerBusyError           the server has no room for more work: see `retry_after_seconds`
├── ServerUnavailableError    the server cannot be reached, is starting or is stopping
├── DeadlineExceededError     no answer came within the deadline
├── CallCancelledError        the call was cancelled, by the server or by closing the client
├── UnsupportedCallError      the server does not know the method: it is older, or not Fantasia
├── ServerError               the server failed; the fault is not in the request
├── ClientClosedError         the client was used after `close`
└── MissingExtraError         an optional dependency is not installed
"""

from dataclasses import dataclass

import grpc


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request."""

    field: str
    """Path of the field in the request, such as `bars` or `sampling.top_p`."""
    description: str
    """What is wrong with it, and what would be right."""


class FantasiaClientError(Exception):
    """Base of every error that this package raises on purpose; its text is one sentence for people."""

    def __init__(self, message: str, *, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.code = code
        """The gRPC status that it came from; None where the call never left the client."""


class InvalidRequestError(FantasiaClientError):
    """A field of the request is out of range or does not fit the model."""

    def __init__(
        self,
        message: str,
        *,
        violations: tuple[FieldViolation, ...] = (),
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.violations = violations
        """One entry for each field refused; empty where the server named none."""


class ModelNotFoundError(FantasiaClientError):
    """The server has no model of that name; `violations` tells what else is wrong with the request."""

    def __init__(
        self,
        message: str,
        *,
        model: str | None = None,
        violations: tuple[FieldViolation, ...] = (),
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.model = model
        """The name that was not found; None where the server did not repeat it."""
        self.violations = violations
        """One entry for each field refused, the model's name first; empty where the server named none."""


class AccessDeniedError(FantasiaClientError):
    """Credentials are missing, or do not allow the call."""


class MessageTooLargeError(FantasiaClientError):
    """The request is larger than the server accepts, or the answer larger than this client accepts."""

    def __init__(
        self,
        message: str,
        *,
        size_bytes: int | None = None,
        limit_bytes: int | None = None,
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.size_bytes = size_bytes
        """Size of the message; None where gRPC did not say."""
        self.limit_bytes = limit_bytes
        """The largest message accepted; None where gRPC did not say."""


class _RetryableError(FantasiaClientError):
    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds
        """How long the server asks to wait before the next attempt, seconds; None where it did not say."""


class ServerBusyError(_RetryableError):
    """The server has no room for more work. Wait `retry_after_seconds` and ask again."""


class ServerUnavailableError(_RetryableError):
    """The server cannot be reached, is starting or is stopping; retries have been spent."""


class DeadlineExceededError(FantasiaClientError):
    """No answer came within the deadline."""


class CallCancelledError(FantasiaClientError):
    """The call was cancelled, by the server or by closing the client while it ran.

    Cancelling an asyncio task raises `asyncio.CancelledError` in it, as everywhere, and not this.
    """


class UnsupportedCallError(FantasiaClientError):
    """The server does not know the method: it is older than this client, or not Fantasia."""


class ServerError(FantasiaClientError):
    """The server failed, and the fault is not in the request."""


class ClientClosedError(FantasiaClientError):
    """The client was used after it was closed."""


class MissingExtraError(FantasiaClientError):
    """An optional dependency is not installed; the text names the extra that brings it."""
