"""Limits what one caller has in flight, and gets in a minute, so that it leaves room for others."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from server.access.callers import Caller
from server.access.observer import AccessObserver, Refusal
from server.access.rates import RateLimit
from server.engine.completion import RequestHandle
from server.engine.engine import Engine
from server.engine.estimate import RetryHint
from server.errors import InFlightLimitError, RateLimitError

_HINT_SECONDS: Final = 0.2
"""Calls of a caller that are refused within this time share an estimate, which looks at all pieces in flight."""


@dataclass(slots=True, eq=False)
class PiecesInFlight:
    """The candidates of one request that a caller has in flight."""

    tokens: int
    """Estimated number of tokens of all candidates."""
    engine: Engine
    """The engine that runs them."""
    count: int = 1
    """Number of candidates; each counts as a piece."""
    handle: RequestHandle | None = None
    """Its request handle, once the engine has accepted it."""
    generated: int | None = None
    """Number of tokens that were really generated; None if it is not complete."""

    @property
    def seconds_left(self) -> float:
        """Estimated time until it finishes; 0 if it is not submitted."""
        return 0.0 if self.handle is None else self.engine.seconds_left(self.handle)


@dataclass(slots=True, eq=False)
class _InFlight:
    """What one caller has in flight."""

    requests: set[PiecesInFlight] = field(default_factory=set)
    pieces: int = 0
    tokens: int = 0
    retry_hint: RetryHint = field(default_factory=lambda: RetryHint(_HINT_SECONDS))


class CallerQuota:
    """Limits the pieces that one caller has in flight, their tokens, and the tokens that it gets in a minute.

    A piece counts from its acceptance until its call ends in any way; each candidate is a piece. A caller without a
    piece in flight may always have one request, of any size. Tokens are estimated when a request is accepted. When it
    is complete, the minute's count is corrected; a request that is cancelled or fails counts as estimated. Used on the
    event loop only.

    Args:
        max_pieces: maximum number of pieces of a caller that has no limit of its own, at least 1.
        max_tokens: the same for tokens, at least 1.
        tokens_per_minute: maximum number of tokens of such a caller in a minute; 0 for no limit.
        observer: is told of refused calls.
    """

    def __init__(
        self, max_pieces: int, max_tokens: int, tokens_per_minute: int = 0, observer: AccessObserver | None = None
    ) -> None:
        self._max_pieces = max_pieces
        self._max_tokens = max_tokens
        self._tokens_per_minute = tokens_per_minute
        self._observer = observer or AccessObserver()
        self._callers: dict[str, _InFlight] = {}
        self._rates = RateLimit()

    @property
    def pieces(self) -> int:
        """Number of pieces in flight of all callers."""
        return sum(caller.pieces for caller in self._callers.values())

    @contextmanager
    def hold(self, caller: Caller, tokens: int, engine: Engine, count: int = 1) -> Iterator[PiecesInFlight]:
        """Count the pieces of a request while the context is open.

        Args:
            caller: who asks for them.
            tokens: estimated number of tokens of all pieces.
            engine: the engine that runs them.
            count: number of pieces.

        Raises:
            InFlightLimitError: the caller has too much in flight.
            RateLimitError: the caller has asked for too many tokens in the last minute.
        """
        in_flight = self._callers.setdefault(caller.key, _InFlight())
        try:
            self._check(caller, in_flight, tokens, count)
            self.check_rate(caller, tokens)
            request = PiecesInFlight(tokens, engine, count)
            in_flight.requests.add(request)
            in_flight.pieces += count
            in_flight.tokens += tokens
            self.charge(caller, tokens)
            try:
                yield request
            finally:
                in_flight.requests.remove(request)
                in_flight.pieces -= count
                in_flight.tokens -= tokens
                if request.generated is not None:
                    self.charge(caller, request.generated - tokens)
        finally:
            if not in_flight.requests:
                self._callers.pop(caller.key, None)

    def check_rate(self, caller: Caller, tokens: int = 1) -> None:
        """Check that a caller may get more tokens in this minute.

        Args:
            caller: who asks.
            tokens: how many; 1 if that is not known.

        Raises:
            RateLimitError: it may not.
        """
        limit = caller.tokens_per_minute or self._tokens_per_minute
        if limit and (seconds := self._rates.seconds_to_wait(caller.key, limit, tokens, time.monotonic())) > 0:
            self._observer.refused(Refusal.TOKENS)
            raise RateLimitError(str(caller), "tokens", limit, seconds)

    def charge(self, caller: Caller, tokens: int) -> None:
        """Count tokens of this minute; a negative number gives some back."""
        if limit := caller.tokens_per_minute or self._tokens_per_minute:
            self._rates.use(caller.key, limit, tokens, time.monotonic())

    def _check(self, caller: Caller, in_flight: _InFlight, tokens: int, count: int) -> None:
        max_pieces, max_tokens = caller.max_pieces or self._max_pieces, caller.max_tokens or self._max_tokens

        def has_room(pieces: int, held: int) -> bool:
            return pieces == 0 or (pieces + count <= max_pieces and held + tokens <= max_tokens)

        if has_room(in_flight.pieces, in_flight.tokens):
            return
        self._observer.refused(Refusal.IN_FLIGHT)
        seconds = in_flight.retry_hint.seconds(lambda: _seconds_to_room(in_flight, has_room), time.monotonic())
        if in_flight.pieces + count > max_pieces:
            raise InFlightLimitError(str(caller), "pieces", in_flight.pieces, count, max_pieces, seconds)
        raise InFlightLimitError(str(caller), "tokens", in_flight.tokens, tokens, max_tokens, seconds)


def _seconds_to_room(in_flight: _InFlight, has_room: Callable[[int, int], bool]) -> float:
    """Estimated time until `has_room` is true for the pieces and tokens that are still in flight."""
    pieces, tokens = in_flight.pieces, in_flight.tokens
    for seconds, its_pieces, its_tokens in sorted(
        (each.seconds_left, each.count, each.tokens) for each in in_flight.requests
    ):
        pieces, tokens = pieces - its_pieces, tokens - its_tokens
        if has_room(pieces, tokens):
            return seconds
    raise AssertionError("without pieces there is room")
