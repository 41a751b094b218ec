"""Errors of the client.

FantasiaClientError
├── InvalidRequestError       a field of the request is invalid: see `violations`
├── ModelNotFoundError        the server has no model of that name: see `model` and `violations`
├── AccessDeniedError         the token is missing, is not valid, or does not allow the call
├── MessageTooLargeError      the request or the response exceeds a limit: see `limit_bytes`
├── ServerBusyError           the server's queue is full, or a limit is reached: see `retry_after_seconds`
├── ServerUnavailableError    the server cannot be reached, is starting or is stopping
├── DeadlineExceededError     the deadline passed before the response came
├── CallCancelledError        the server or `close` cancelled the call
├── UnsupportedCallError      the server does not support the method: it is older, or another service
├── ConstraintsNotMetError    the constraints left no token: see `violations`
├── ServerError               the server failed, or its response is invalid
├── ClientClosedError         the client was used after `close`
└── MissingExtraError         an optional dependency is not installed
"""

from dataclasses import dataclass

import grpc


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """An invalid field of a request."""

    field: str
    """Path of the field in the request, such as `bars` or `sampling.top_p`."""
    description: str
    """What is wrong, and the valid values."""


class FantasiaClientError(Exception):
    """Base class of all errors of this package. The message is one readable sentence."""

    def __init__(self, message: str, *, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.code = code
        """gRPC status of the call; None if the client did not send it."""


class _ViolationsError(FantasiaClientError):
    def __init__(
        self,
        message: str,
        *,
        violations: tuple[FieldViolation, ...] = (),
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.violations = violations
        """Fields of the request and what is wrong with each; empty if the server named none."""


class InvalidRequestError(_ViolationsError):
    """A field of the request is invalid, or the model does not support its value."""


class ModelNotFoundError(_ViolationsError):
    """The server has no model of that name. `violations` also lists the other invalid fields of the request."""

    def __init__(
        self,
        message: str,
        *,
        model: str | None = None,
        violations: tuple[FieldViolation, ...] = (),
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message, violations=violations, code=code)
        self.model = model
        """The name that was not found; None if the server did not give it."""


class AccessDeniedError(FantasiaClientError):
    """The token is missing, is not valid, or does not allow the call."""


class MessageTooLargeError(FantasiaClientError):
    """The request is larger than the server accepts, or the response is larger than this client accepts."""

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
        """Size of the message; None if gRPC did not give it."""
        self.limit_bytes = limit_bytes
        """Maximum size of a message; None if gRPC did not give it."""


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
        """Seconds to wait before the next attempt; None if the server did not give them."""


class ServerBusyError(_RetryableError):
    """The server's queue is full, or the caller has reached a limit. Wait `retry_after_seconds`, then retry."""


class ServerUnavailableError(_RetryableError):
    """The server cannot be reached, is starting or is stopping, and all retries failed."""


class DeadlineExceededError(_ViolationsError):
    """The deadline passed before the response came, or is certain to pass before the piece is complete.

    If the server refused the call at once, `violations` has the length that would fit.
    """


class ConstraintsNotMetError(_ViolationsError):
    """The constraints left no token at some step of every candidate.

    More candidates, another seed or weaker constraints may help.
    """


class CallCancelledError(FantasiaClientError):
    """The server cancelled the call, or the client was closed during the call.

    If an asyncio task is cancelled, it raises `asyncio.CancelledError` instead.
    """


class UnsupportedCallError(FantasiaClientError):
    """The server does not support the method: it is older than this client, or another service."""


class ServerError(FantasiaClientError):
    """The server failed, or its response is invalid. The request is not the cause."""


class ClientClosedError(FantasiaClientError):
    """The client was used after `close`."""


class MissingExtraError(FantasiaClientError):
    """An optional dependency is not installed. The message names the extra that installs it."""
