"""What the engine tells about its work, to whoever listens."""

from enum import Enum
from typing import Protocol


class Outcome(Enum):
    """How an admitted sequence left the engine. The values serve as metric labels."""

    LENGTH = "length"
    """Finished: it has `max_tokens` tokens."""
    END = "end"
    """Finished: its end token was sampled."""
    CANCELLED = "cancelled"
    """Its caller gave it up."""
    FAILED = "failed"
    """The runner failed, or the engine was stopped."""


class EngineObserver(Protocol):
    """Is told what happens, in the engine's threads and in its callers', partly under the engine's lock.

    So methods must be thread-safe and quick, and touch nothing of the engine but its properties. What they
    raise is logged and dropped. For each sequence `admitted` comes first and `finished` last, each exactly
    once, so that at any moment admitted = finished (of all outcomes) + in flight.
    """

    def admitted(self) -> None:
        """A request was accepted."""

    def started(self, queue_seconds: float) -> None:
        """A sequence that got a slot is taken on: told when the running chunk is over, like its first token."""

    def first_token(self, seconds: float) -> None:
        """A sequence has its first sampled token, so many seconds after its submission."""

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        """The runner decoded `steps` tokens for each of `width` sequences."""

    def opening(self, width: int, steps: int, seconds: float) -> None:
        """The runner's opener decoded the first `steps` tokens of `width` sequences, beside whatever else ran."""

    def prefill(self, tokens: int, seconds: float) -> None:
        """The runner read a slice of a primer: `tokens` forced tokens of one sequence."""

    def freed_after_cancel(self, seconds: float) -> None:
        """A running sequence gave its slot back, so many seconds after it was cancelled."""

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        """A sequence left the engine with so many tokens decoded; its future resolves right after this.

        The future of a cancelled one was resolved before.
        """


class SilentObserver:
    """Ignores everything; a base for observers that care for a few things only."""

    def admitted(self) -> None:
        """Ignore it."""

    def started(self, queue_seconds: float) -> None:
        """Ignore it."""

    def first_token(self, seconds: float) -> None:
        """Ignore it."""

    def chunk(self, width: int, steps: int, seconds: float) -> None:
        """Ignore it."""

    def opening(self, width: int, steps: int, seconds: float) -> None:
        """Ignore it."""

    def prefill(self, tokens: int, seconds: float) -> None:
        """Ignore it."""

    def freed_after_cancel(self, seconds: float) -> None:
        """Ignore it."""

    def finished(self, outcome: Outcome, total_seconds: float, tokens: int) -> None:
        """Ignore it."""


silent: EngineObserver = SilentObserver()
"""The observer of an engine that nobody watches."""
