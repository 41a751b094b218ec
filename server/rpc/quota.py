"""What each connection has in flight, and how much of it that may be, so that one connection leaves room for others."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from server.engine.engine import Engine
from server.engine.estimate import RetryHint
from server.engine.ticket import Ticket
from server.errors import ConnectionLimitError

_HINT_SECONDS: Final = 0.2
"""Calls of a connection that are refused within this time share an estimate: it looks at all pieces in flight."""


@dataclass(slots=True, eq=False)
class PieceInFlight:
    """A piece that a connection has in flight."""

    tokens: int
    """Tokens that it will probably take."""
    engine: Engine
    """Writes it."""
    ticket: Ticket | None = None
    """Its handle, once the engine has accepted it."""

    @property
    def seconds_left(self) -> float:
        """When it will probably finish."""
        return 0.0 if self.ticket is None else self.engine.seconds_left(self.ticket)


@dataclass(slots=True, eq=False)
class _Connection:
    """What one connection has in flight."""

    pieces: set[PieceInFlight] = field(default_factory=set)
    tokens: int = 0
    retry_hint: RetryHint = field(default_factory=lambda: RetryHint(_HINT_SECONDS))


class ConnectionQuota:
    """Bounds the pieces that one connection has in flight, and their tokens. The event loop's alone.

    A piece counts from its acceptance until its call is over, however that ends. A connection that has nothing in
    flight may always have one piece, whatever its length.

    Args:
        max_pieces: most pieces of one connection, at least 1.
        max_tokens: most tokens of one connection, at least 1.
    """

    def __init__(self, max_pieces: int, max_tokens: int) -> None:
        self._max_pieces = max_pieces
        self._max_tokens = max_tokens
        self._connections: dict[str, _Connection] = {}

    @property
    def pieces(self) -> int:
        """Number of pieces in flight, of all connections."""
        return sum(len(connection.pieces) for connection in self._connections.values())

    @contextmanager
    def hold(self, peer: str, tokens: int, engine: Engine) -> Iterator[PieceInFlight]:
        """Count a piece for as long as the context lasts.

        Args:
            peer: the connection, as gRPC names it: address and port of the other side.
            tokens: that the piece will probably take.
            engine: writes it.

        Raises:
            ConnectionLimitError: the connection has as much in flight as it may.
        """
        connection = self._connections.setdefault(peer, _Connection())
        self._check(connection, tokens)
        piece = PieceInFlight(tokens, engine)
        connection.pieces.add(piece)
        connection.tokens += tokens
        try:
            yield piece
        finally:
            connection.pieces.remove(piece)
            connection.tokens -= tokens
            if not connection.pieces:
                del self._connections[peer]

    def _check(self, connection: _Connection, tokens: int) -> None:
        count = len(connection.pieces)
        if count == 0 or (count < self._max_pieces and connection.tokens + tokens <= self._max_tokens):
            return
        retry_after_seconds = connection.retry_hint.seconds(
            lambda: self._seconds_to_room(connection, tokens), time.monotonic()
        )
        if count >= self._max_pieces:
            raise ConnectionLimitError("pieces", count, 1, self._max_pieces, retry_after_seconds)
        raise ConnectionLimitError("tokens", connection.tokens, tokens, self._max_tokens, retry_after_seconds)

    def _seconds_to_room(self, connection: _Connection, tokens: int) -> float:
        """Estimate when so many of the connection's pieces have finished that one of `tokens` tokens fits in."""
        pieces, left = len(connection.pieces), connection.tokens
        for seconds, freed in sorted((piece.seconds_left, piece.tokens) for piece in connection.pieces):
            pieces, left = pieces - 1, left - freed
            if pieces == 0 or (pieces < self._max_pieces and left + tokens <= self._max_tokens):
                return seconds
        raise AssertionError("without pieces there is room")
