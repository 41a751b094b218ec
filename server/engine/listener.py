"""What the engine tells the caller of a request while it runs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.engine.observer import Outcome
from server.engine.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Timeline:
    """When a request went through the parts of the engine, in seconds of `time.perf_counter`."""

    submitted_at: float
    """When it was submitted."""
    admitted_at: float | None
    """When it got its slots; None if it never did."""
    prefill_began_at: float | None
    """When it joined the prefill queue; None if it had no primer to prefill."""
    prefill_ended_at: float | None
    """When its primer was prefilled; None if it never was."""
    first_token_at: float | None
    """When its first sampled token was known; None if it had none."""
    finished_at: float
    """When it left the engine."""


class SequenceListener:
    """Receives the progress of one request. The methods are empty; a subclass overrides them.

    The engine's threads call the methods, one at a time, and before the request's future resolves. So a method must be
    quick and must not call the engine. The engine logs and drops an exception that a method raises.
    """

    def tokens(self, tokens: NDArray[np.int32], snapshot: Snapshot | None) -> None:
        """A request for one candidate has more tokens. All calls together give the candidate's tokens, each once.

        The first call comes with the first token after the primer, and contains the primer. If the request resumes a
        sequence, its tokens take the primer's place. After a cancellation there may be one more call.

        Args:
            tokens: (n,), the new tokens, n at least 1.
            snapshot: the sequence after these tokens, if `EngineRequest.snapshots` asks for it; else None.
        """

    def finished(self, timeline: Timeline, outcome: Outcome, tokens: int) -> None:
        """The request left the engine; the last call. After a cancellation, the future resolved before it.

        Args:
            timeline: when it did what.
            outcome: how it left.
            tokens: number of tokens of all its candidates, sampled or forced.
        """
