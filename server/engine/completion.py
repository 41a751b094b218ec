"""What a caller gets from the engine: a handle at once, a completion later."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from server.engine.nats import NatsSums
from server.engine.snapshot import Snapshot


class FinishReason(Enum):
    """Why a sequence is complete."""

    LENGTH = "length"
    """It has `max_tokens` tokens, or all its stop tokens, or its guide says that it is complete."""
    END = "end"
    """Its end token was sampled."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One of the sequences that were written for a request."""

    index: int
    """Its number among the candidates of the request, from 0."""
    seed: int
    """Key of its random stream. A request for one candidate with this seed gives the same tokens, unless the candidates
    are particles."""
    tokens: NDArray[np.int32]
    """(n,): with its forced tokens, and with the end token if it finished with one."""
    log_probabilities: NDArray[np.float32]
    """(n,): of each token under the model's own distribution (`runtime.runner.Decoded`). NaN for prefilled tokens and
    for those before the state of `resumed`."""
    forced: NDArray[np.bool_]
    """(n,): which tokens are given: those of the primer, and those that the guide forces."""
    finish_reason: FinishReason
    """Why it is complete."""
    snapshot: Snapshot | None = None
    """From which it can be continued, if the request asked for snapshots."""
    resumed: Snapshot | None = None
    """From which it was continued."""

    sums: NatsSums = field(init=False, repr=False)
    """`nats` and `given_nats`."""

    def __post_init__(self) -> None:
        begin, start = (0, NatsSums()) if self.resumed is None else (self.resumed.state_tokens, self.resumed.sums)
        object.__setattr__(self, "sums", start.after(self.log_probabilities[begin:], self.forced[begin:]))

    @property
    def nats(self) -> float:
        """Minus the sum of the log-probabilities from the first sampled token on, forced tokens after it included."""
        return self.sums.nats

    @property
    def given_nats(self) -> float:
        """The part of `nats` that comes from forced tokens."""
        return self.sums.given_nats


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """The candidates of a finished request, and how long it took. All durations start at its submission."""

    candidates: tuple[Candidate, ...]
    """At least one, in the order of their index. Candidates that ran out of tokens are missing."""
    queue_seconds: float
    """Until it got its slots."""
    first_token_seconds: float
    """Until the first token after the primer; until the last forced token if none follows."""
    total_seconds: float
    """Until the last token."""

    @property
    def tokens(self) -> NDArray[np.int32]:
        """The tokens of the first candidate, (n,): of the only one, if one was asked for."""
        return self.candidates[0].tokens

    @property
    def finish_reason(self) -> FinishReason:
        """Why the first candidate is complete."""
        return self.candidates[0].finish_reason


@dataclass(frozen=True, slots=True, eq=False)
class RequestHandle:
    """A submitted request. Any thread may use it."""

    future: Future[Completion]
    """Resolves to a `Completion`, or fails with `ConstraintError`, `EngineFailedError` or `EngineStoppedError`.

    Cancelling it has the same effect as `cancel`, so `asyncio.wrap_future(handle.future)` may be awaited and cancelled.
    Its callbacks run in the engine's thread or in the thread that cancels, so they must be quick.
    """

    def cancel(self) -> None:
        """Cancel the request. This has no effect if it is complete, failed or cancelled already.

        The future is cancelled at once. A waiting request leaves the queue at once; a running one frees its slot within
        one chunk.
        """
        self.future.cancel()
