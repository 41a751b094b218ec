"""Admission of queued sequences: they get their slots and are handed over to the engine's thread."""

import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.runner import SequenceState
from server.engine.scheduler import Scheduler
from server.engine.sequence import Sequence


@dataclass(frozen=True, slots=True, eq=False)
class FirstStep:
    """The first decode step of a sequence, done outside the batch."""

    tokens: NDArray[np.int64]
    """(n,): the first tokens, forced or sampled. The last one is sampled, and they do not complete the sequence."""
    log_probabilities: NDArray[np.float32]
    """(n,): of these tokens, as in `runtime.runner.Decoded`."""
    given: NDArray[np.bool_]
    """(n,): which of them are given, as in `server.engine.completion.Candidate.forced`."""
    state: SequenceState
    """The state after them, for `Runner.resume`."""


@dataclass(frozen=True, slots=True, eq=False)
class Admitted:
    """A sequence that has its slots, for the engine's thread to activate."""

    sequence: Sequence
    first_step: FirstStep | None = None
    """None: the batch decodes its first token."""
    error: Exception | None = None
    """Why its first step failed."""


class Admission:
    """Admits queued sequences in the engine's thread, at the start of a turn.

    The caller holds the engine's lock when it reads a property or calls a method, except for `start` and `join`.

    Args:
        scheduler: owns the queue and the slots.
        work: wakes the engine's thread; its lock is the engine's lock.
    """

    def __init__(self, scheduler: Scheduler, work: threading.Condition) -> None:
        self._scheduler = scheduler
        self._work = work

    @property
    def has_admitted(self) -> bool:
        """Whether `take` has something to return or to raise."""
        return self._scheduler.can_admit

    def take(self) -> list[Admitted]:
        """Return the admitted sequences, each once. They hold their slots."""
        return [Admitted(each) for each in self._scheduler.admit(self._scheduler.waiting_count, time.perf_counter())]

    def wake(self) -> None:
        """Wake the thread that admits, if the oldest sequence finds enough free slots."""
        if self._scheduler.can_admit:
            self._work.notify()

    def start(self) -> None:
        """Start the admitting thread, if there is one. Call this once."""

    def stop(self) -> None:
        """Admit no more sequences, and forget those that were not taken."""

    def join(self) -> None:
        """Wait until the admitting thread has ended, after `stop`."""
