"""What the synchronous and the asyncio client share: settings, deadlines, error translation."""

import math
import time
import warnings
from abc import ABC, abstractmethod
from numbers import Real

import grpc

from fantasia_client.address import DEFAULT_SERVER, is_local, normalize_address
from fantasia_client.connection import TLS, ChannelOptions, Keepalive, Retry, channel_credentials, channel_options
from fantasia_client.errors import ClientClosedError, FantasiaClientError
from fantasia_client.probe import PROBE_SECONDS, ConnectionProbe
from fantasia_client.status import error_from_rpc, is_connection_failure
from fantasia_client.token import InsecureTokenWarning, Token

DEFAULT_TIMEOUT_SECONDS = 60.0
MIN_TIMEOUT_SECONDS = 0.01
"""gRPC ends calls a few milliseconds late, so shorter deadlines mean nothing."""

_NO_LIMIT_SECONDS = 1e9
"""Longer deadlines count as no deadline, since they would overflow the time format of gRPC."""


class Deadline:
    """Time limit of one call. It starts when the object is made."""

    def __init__(self, seconds: float) -> None:
        self.seconds = None if seconds >= _NO_LIMIT_SECONDS else seconds
        """Limit in seconds; None for no limit."""
        self._start = time.monotonic()

    def remaining_seconds(self) -> float:
        """Time until the deadline, at least 0; infinity if there is no limit."""
        return math.inf if self.seconds is None else max(0.0, self._start + self.seconds - time.monotonic())


class BaseClient(ABC):
    """Settings of a client. `Client` documents the arguments and errors."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        wait_for_ready: bool = False,
        retry: Retry | None = None,
        keepalive: Keepalive | None = None,
        tls: TLS | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: Token | str | None = None,
    ) -> None:
        self._server = normalize_address(server)
        self._token = Token(token) if isinstance(token, str) else token
        self._timeout_seconds = _checked_timeout(timeout_seconds)
        self._wait_for_ready = wait_for_ready
        self._closed = False
        credentials = channel_credentials(tls, credentials)
        if self._token is not None and credentials is None and not is_local(self._server):
            warnings.warn(
                f"the token is sent to {self._server} without TLS: any machine on the way can read it",
                InsecureTokenWarning,
                stacklevel=3,
            )
        self._probe = ConnectionProbe(self._server, credentials)
        self._open_channel(self._server, credentials, channel_options(retry or Retry(), keepalive or Keepalive()))

    @abstractmethod
    def _open_channel(self, target: str, credentials: grpc.ChannelCredentials | None, options: ChannelOptions) -> None:
        """Create the channel and the stubs; without credentials, the channel is not encrypted."""

    def _start_call(self, timeout_seconds: float | None) -> Deadline:
        """The deadline of a new call; None means the client's default.

        Raises:
            ClientClosedError: the client has been closed.
            ValueError: the timeout is not a number or below `MIN_TIMEOUT_SECONDS`.
        """
        if self._closed:
            raise ClientClosedError(f"this client of {self._server} is closed")
        return Deadline(self._timeout_seconds if timeout_seconds is None else _checked_timeout(timeout_seconds))

    def _metadata(self) -> tuple[tuple[str, str], ...] | None:
        """The metadata of a new call."""
        return None if self._token is None else self._token.metadata()

    def _should_wait(self, wait_for_ready: bool | None) -> bool:
        return self._wait_for_ready if wait_for_ready is None else wait_for_ready

    def _probe_seconds(self, error: grpc.RpcError, deadline: Deadline) -> float:
        """Time for a probe of the server's addresses; 0 if a probe cannot explain the error."""
        if not (is_connection_failure(error) and self._probe.is_useful(error.details() or "")):
            return 0.0
        return min(deadline.remaining_seconds(), PROBE_SECONDS)

    def _error(self, error: grpc.RpcError, deadline: Deadline, details: str) -> FantasiaClientError:
        return error_from_rpc(error, self._server, deadline.seconds, self._probe, details)


def _checked_timeout(timeout_seconds: float) -> float:
    if not (isinstance(timeout_seconds, Real) and timeout_seconds >= MIN_TIMEOUT_SECONDS):
        raise ValueError(
            f"timeout_seconds must be a number of at least {MIN_TIMEOUT_SECONDS} seconds, not {timeout_seconds!r}"
        )
    return timeout_seconds
