"""What the engine reports about its work, and the one function that calls an observer."""

import logging
from collections.abc import Callable
from enum import Enum
from typing import ParamSpec

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")


class Outcome(Enum):
    """How a submitted sequence left the engine. The values are metric labels."""

    LENGTH = "length"
    """It has `max_tokens` tokens, or all its stop tokens."""
    END = "end"
    """Its end token was sampled."""
    CONSTRAINTS = "constraints"
    """No token satisfied all its constraints any more."""
    DISPLACED = "displaced"
    """It left the full queue for a request of another caller."""
    CANCELLED = "cancelled"
    """Its caller cancelled it."""
    FAILED = "failed"
    """The runner failed, or the engine was stopped."""


class EngineObserver:
    """Receives the engine's events. Every method is empty; a subclass overrides the ones that it needs.

    The engine's threads and its callers' threads call the methods, some of them while they hold the engine's lock. So a
    method must be thread-safe and quick, and must not call the engine: it may read the engine's properties. The engine
    logs and drops an exception that a method raises.

    For each sequence, `submitted` is called first and `finished` last, each exactly once. At any moment
    submitted = finished (of all outcomes) + in flight.
    """

    def submitted(self) -> None:
        """The engine accepted a request."""

    def refused(self) -> None:
        """The engine refused a request because its queue is full. No other event follows for it."""

    def started(self, queue_seconds: float) -> None:
        """The engine's thread took over a sequence that has its slots.

        This happens between two chunks, so it may be later than the assignment of the slots.

        Args:
            queue_seconds: from its submission to the assignment of its slots.
        """

    def first_token(self, seconds: float) -> None:
        """A sequence has its first token after those known at the start, `seconds` after its submission."""

    def chunk(self, batch_size: int, steps: int, seconds: float) -> None:
        """The runner decoded `steps` tokens for each of `batch_size` rows."""

    def first_step(self, batch_size: int, steps: int, seconds: float) -> None:
        """The first-token runner decoded the first `steps` tokens of `batch_size` sequences."""

    def prefill(self, tokens: int, seconds: float) -> None:
        """The runner processed a prefill slice: `tokens` forced tokens of one sequence."""

    def freed_after_cancel(self, seconds: float) -> None:
        """A cancelled sequence freed its slots, `seconds` after the cancellation."""

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        """A sequence left the engine.

        Its future resolves right after this call. The future of a cancelled sequence resolved before it.

        Args:
            outcome: how it left.
            total_seconds: since its submission.
            tokens: number of tokens of all its candidates, sampled or forced.
        """


def notify(method: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
    """Call a method of an observer. Log and drop an exception that it raises."""
    try:
        method(*args, **kwargs)
    except Exception:
        _log.exception("an observer of the engine failed")
