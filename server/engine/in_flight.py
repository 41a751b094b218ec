"""The requests in flight, and how their futures resolve: each exactly once."""

import threading
import time
from concurrent.futures import Future

from server.engine.completion import Completion
from server.engine.errors import ConstraintError, DisplacedError, EngineError
from server.engine.observer import EngineObserver, Outcome, notify
from server.engine.sequence import Sequence, SequenceStatus


class InFlightRequests:
    """The sequences that were submitted and are not finished.

    Args:
        lock: the engine's lock. The caller of `add`, `get` and `sequences` holds it.
        observer: receives `freed_after_cancel` and `finished`.
    """

    def __init__(self, lock: threading.RLock, observer: EngineObserver) -> None:
        self._lock = lock
        self._empty = threading.Condition(lock)
        self._observer = observer
        self._sequences: dict[Future[Completion], Sequence] = {}

    def add(self, sequence: Sequence) -> None:
        """Add a submitted sequence."""
        self._sequences[sequence.future] = sequence

    def get(self, future: Future[Completion]) -> Sequence | None:
        """Return the sequence of a future; None if it is finished."""
        return self._sequences.get(future)

    @property
    def sequences(self) -> list[Sequence]:
        """A copy of the sequences, the oldest first."""
        return list(self._sequences.values())

    def wait_until_empty(self, timeout_seconds: float) -> bool:
        """Wait until every sequence is finished, and return whether that is so within the time."""
        with self._lock:
            return self._empty.wait_for(lambda: not self._sequences, timeout_seconds)

    def resolve(self, sequence: Sequence, result: Completion | EngineError | None, tokens: int) -> None:
        """Resolve the future of a sequence that no longer waits or runs.

        The first call moves the sequence to FINISHED and resolves the future. Later calls do nothing: the thread that
        cancels and the thread that stops the engine may both call this. Callbacks of the future run without the lock.

        Args:
            sequence: holds no slots.
            result: a completion or an error; None if the future is cancelled. It may be cancelled in any case, and then
                the result is dropped.
            tokens: the number of its tokens, of all candidates.
        """
        with self._lock:
            if sequence.status is SequenceStatus.FINISHED:
                return
            sequence.move_to(SequenceStatus.FINISHED)
        now = time.perf_counter()
        wanted = sequence.future.set_running_or_notify_cancel()  # from here on, cancelling it has no effect
        if not wanted:
            outcome = Outcome.CANCELLED
            if sequence.slots:
                notify(self._observer.freed_after_cancel, now - (sequence.cancelled_at or now))
        elif isinstance(result, Completion):
            outcome = Outcome[result.finish_reason.name]
        elif isinstance(result, ConstraintError):
            outcome = Outcome.CONSTRAINTS
        elif isinstance(result, DisplacedError):
            outcome = Outcome.DISPLACED
        else:
            outcome = Outcome.FAILED
        notify(self._observer.finished, outcome, now - sequence.submitted_at, tokens)
        if sequence.listener is not None:
            notify(sequence.listener.finished, sequence.timeline(now), outcome, tokens)
        if wanted:
            assert result is not None
            if isinstance(result, Completion):
                sequence.future.set_result(result)
            else:
                sequence.future.set_exception(result)
        with self._lock:
            del self._sequences[sequence.future]
            if not self._sequences:
                self._empty.notify_all()
