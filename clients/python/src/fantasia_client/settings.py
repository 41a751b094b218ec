"""What the sync and the asyncio client have in common."""

import math
import time
from dataclasses import dataclass
from numbers import Real

from fantasia_client.address import checked_server
from fantasia_client.errors import ClientClosedError

_FOREVER_SECONDS = 1e9
"""Some thirty years: a longer deadline is none, and would overflow the wire's clock."""
MIN_TIMEOUT_SECONDS = 0.01
"""gRPC ends calls a few milliseconds late: what answers that fast would answer within any shorter deadline."""


@dataclass(slots=True)
class CallSettings:
    """Where calls go, how long they may take, and whether any may still be made."""

    server: str
    """Address as gRPC takes it; `HOST` and the like are completed."""
    timeout_seconds: float
    wait_for_ready: bool
    closed: bool = False

    def __post_init__(self) -> None:
        self.server = checked_server(self.server)
        self._check(self.timeout_seconds)

    def deadline(self, timeout_seconds: float | None) -> float | None:
        """Seconds that a call may take, None for no limit; `timeout_seconds` None means the client's default.

        Raises:
            ClientClosedError: the client has been closed.
            ValueError: the timeout is no number, or below `MIN_TIMEOUT_SECONDS`.
        """
        if self.closed:
            raise ClientClosedError(f"this client of {self.server} has been closed")
        if timeout_seconds is None:
            timeout_seconds = self.timeout_seconds
        self._check(timeout_seconds)
        return None if timeout_seconds >= _FOREVER_SECONDS else timeout_seconds

    @staticmethod
    def left(deadline: float | None, started: float) -> float:
        """Seconds that are left of a call, at least 0.

        Args:
            deadline: what `deadline` gave for the call.
            started: `time.monotonic()` when the call began.
        """
        return math.inf if deadline is None else max(0.0, started + deadline - time.monotonic())

    def readiness(self, wait_for_ready: bool | None) -> bool:
        """Whether a call waits for the connection; None means the client's default."""
        return self.wait_for_ready if wait_for_ready is None else wait_for_ready

    @staticmethod
    def _check(timeout_seconds: float) -> None:
        if not (isinstance(timeout_seconds, Real) and timeout_seconds >= MIN_TIMEOUT_SECONDS):
            raise ValueError(
                f"timeout_seconds must be a number of at least {MIN_TIMEOUT_SECONDS} seconds, not {timeout_seconds!r}"
            )
