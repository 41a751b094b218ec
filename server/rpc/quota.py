"""Limits the pieces and tokens that one connection has in flight, so that it leaves room for others."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from server.engine.completion import RequestHandle
from server.engine.engine import Engine
from server.engine.estimate import RetryHint
from server.errors import ConnectionLimitError

_HINT_SECONDS: Final = 0.2
"""Calls of a connection that are refused within this time share an estimate, which looks at all pieces in flight."""


@dataclass(slots=True, eq=False)
class PiecesInFlight:
    """The candidates of one request that a connection has in flight."""

    tokens: int
    """Estimated number of tokens of all candidates."""
    engine: Engine
    """The engine that runs them."""
    count: int = 1
    """Number of candidates; each counts as a piece."""
    handle: RequestHandle | None = None
    """Its request handle, once the engine has accepted it."""

    @property
    def seconds_left(self) -> float:
        """Estimated time until it finishes; 0 if it is not submitted."""
        return 0.0 if self.handle is None else self.engine.seconds_left(self.handle)


@dataclass(slots=True, eq=False)
class _Connection:
    """What one connection has in flight."""

    requests: set[PiecesInFlight] = field(default_factory=set)
    pieces: int = 0
    tokens: int = 0
    retry_hint: RetryHint = field(default_factory=lambda: RetryHint(_HINT_SECONDS))


class ConnectionQuota:
    """Limits the pieces that one connection has in flight, and their tokens. Used on the event loop only.

    A piece counts from its acceptance until its call ends in any way; each candidate is a piece. A connection without a
    piece in flight may always have one request, of any size.

    Args:
        max_pieces: maximum number of pieces of one connection, at least 1.
        max_tokens: maximum number of tokens of one connection, at least 1.
    """

    def __init__(self, max_pieces: int, max_tokens: int) -> None:
        self._max_pieces = max_pieces
        self._max_tokens = max_tokens
        self._connections: dict[str, _Connection] = {}

    @property
    def pieces(self) -> int:
        """Number of pieces in flight of all connections."""
        return sum(connection.pieces for connection in self._connections.values())

    @contextmanager
    def hold(self, peer: str, tokens: int, engine: Engine, count: int = 1) -> Iterator[PiecesInFlight]:
        """Count the pieces of a request while the context is open.

        Args:
            peer: the connection, as gRPC names it: address and port of the peer.
            tokens: estimated number of tokens of all pieces.
            engine: the engine that runs them.
            count: number of pieces.

        Raises:
            ConnectionLimitError: the connection has too much in flight.
        """
        connection = self._connections.setdefault(peer, _Connection())
        self._check(connection, tokens, count)
        request = PiecesInFlight(tokens, engine, count)
        connection.requests.add(request)
        connection.pieces += count
        connection.tokens += tokens
        try:
            yield request
        finally:
            connection.requests.remove(request)
            connection.pieces -= count
            connection.tokens -= tokens
            if not connection.requests:
                del self._connections[peer]

    def _check(self, connection: _Connection, tokens: int, count: int) -> None:
        if self._has_room(connection.pieces, count, connection.tokens, tokens):
            return
        retry_after_seconds = connection.retry_hint.seconds(
            lambda: self._seconds_to_room(connection, tokens, count), time.monotonic()
        )
        if connection.pieces + count > self._max_pieces:
            raise ConnectionLimitError("pieces", connection.pieces, count, self._max_pieces, retry_after_seconds)
        raise ConnectionLimitError("tokens", connection.tokens, tokens, self._max_tokens, retry_after_seconds)

    def _has_room(self, pieces: int, more_pieces: int, tokens: int, more_tokens: int) -> bool:
        fits = pieces + more_pieces <= self._max_pieces and tokens + more_tokens <= self._max_tokens
        return pieces == 0 or fits

    def _seconds_to_room(self, connection: _Connection, tokens: int, count: int) -> float:
        """Estimated time until a request of `count` pieces with `tokens` tokens would be accepted."""
        pieces, left = connection.pieces, connection.tokens
        freed = sorted((request.seconds_left, request.count, request.tokens) for request in connection.requests)
        for seconds, its_pieces, its_tokens in freed:
            pieces, left = pieces - its_pieces, left - its_tokens
            if self._has_room(pieces, count, left, tokens):
                return seconds
        raise AssertionError("without pieces there is room")
