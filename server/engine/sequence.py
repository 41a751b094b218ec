"""The run state of a request inside the engine."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from music.errors import NoTokenLeftError
from server.engine.completion import Candidate, Completion
from server.engine.listener import SequenceListener, Timeline
from server.engine.particle_group import ParticleGroup
from server.engine.request import EngineRequest


class SequenceStatus(Enum):
    """Where a sequence is in its life.

    A sequence that completes passes these in order; only one with a long primer is ever PREFILLING. A sequence that is
    cancelled or fails goes to FINISHED from any other status.
    """

    WAITING = auto()
    """It is in the queue and has no slots."""
    ADMITTED = auto()
    """It has its slots. The engine's thread has not activated it; the admission worker may decode its first step."""
    PREFILLING = auto()
    """It is in the prefill queue."""
    RUNNING = auto()
    """Its rows are in the batch."""
    FINISHED = auto()
    """One thread resolves its future, or has resolved it. No other thread may."""


_NEXT: Final = {
    SequenceStatus.WAITING: {SequenceStatus.ADMITTED, SequenceStatus.FINISHED},
    SequenceStatus.ADMITTED: {SequenceStatus.PREFILLING, SequenceStatus.RUNNING, SequenceStatus.FINISHED},
    SequenceStatus.PREFILLING: {SequenceStatus.RUNNING, SequenceStatus.FINISHED},
    SequenceStatus.RUNNING: {SequenceStatus.FINISHED},
    SequenceStatus.FINISHED: set[SequenceStatus](),
}


@dataclass(slots=True, eq=False)
class Sequence:
    """A request on its way through the engine.

    What changes at every step is in the `Batch`, by slot: a row for each candidate. Times are in seconds of
    `time.perf_counter`.
    """

    request: EngineRequest
    """What the caller asked for."""
    submitted_at: float
    """When the request was submitted."""
    listener: SequenceListener | None = None
    """Is told of new tokens."""
    caller: str = ""
    """Whose it is; the queue shares slots fairly between callers. It has no effect on the tokens."""
    cost: float = 1.0
    """Estimated tokens of all its candidates: what callers share."""
    future: Future[Completion] = field(default_factory=Future)
    """What the caller waits for."""
    status: SequenceStatus = SequenceStatus.WAITING
    """Changed by `move_to` alone."""
    slots: tuple[int, ...] = ()
    """Its rows of the model's state, one for each candidate; none while it waits."""
    running_slots: tuple[int, ...] = ()
    """Those of them whose rows are in the batch."""
    finished_tokens: int = 0
    """Tokens of the rows that have left the batch."""
    candidates: list[Candidate] = field(default_factory=list)
    """The complete ones."""
    group: ParticleGroup | None = None
    """Set while its rows are particles."""
    constraint_error: NoTokenLeftError | None = None
    """Why its latest row that ran out of tokens did so."""
    reported_tokens: int = 0
    """Number of tokens that its listener has."""
    admitted_at: float | None = None
    """When it got its slots."""
    prefill_began_at: float | None = None
    """When it joined the prefill queue."""
    prefill_ended_at: float | None = None
    """When its primer was prefilled."""
    first_token_at: float | None = None
    """When its first sampled token was known."""
    cancelled_at: float | None = None
    """When its caller cancelled it."""

    @property
    def rows(self) -> int:
        """Number of slots that it needs."""
        return self.request.candidates

    @property
    def queue_seconds(self) -> float:
        """From its submission to its admission. It must have been admitted."""
        assert self.admitted_at is not None
        return self.admitted_at - self.submitted_at

    @property
    def first_token_seconds(self) -> float:
        """From its submission to its first sampled token. It must have one."""
        assert self.first_token_at is not None
        return self.first_token_at - self.submitted_at

    def timeline(self, finished_at: float) -> Timeline:
        """When it did what, for its listener."""
        return Timeline(
            submitted_at=self.submitted_at,
            admitted_at=self.admitted_at,
            prefill_began_at=self.prefill_began_at,
            prefill_ended_at=self.prefill_ended_at,
            first_token_at=self.first_token_at,
            finished_at=finished_at,
        )

    def move_to(self, status: SequenceStatus) -> None:
        """Change the status. The caller holds the engine's lock."""
        assert status in _NEXT[self.status], f"a sequence cannot go from {self.status.name} to {status.name}"
        self.status = status
