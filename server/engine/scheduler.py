"""Who runs, who waits, and how long the next chunk is."""

from collections import deque
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from server.engine.pace import PATIENCE_SECONDS, Pace
from server.engine.sequence import Sequence
from server.engine.slots import SlotPool

_READING = 0.75  # of a chunk's time, since no two take the same


class Scheduler:
    """First come, first served, one slot each; whoever has a slot decodes once its primer is read, in turn if need be.

    Changing it needs the engine's lock; only the engine's thread takes slots away. The counts may be read at any time.
    """

    def __init__(
        self, slots: int, queue_limit: int, chunk_sizes: tuple[int, ...], patience: float = PATIENCE_SECONDS
    ) -> None:
        self._slots = SlotPool(slots)
        self._chunk_sizes = chunk_sizes
        self._room = slots + queue_limit
        self._waiting: deque[Sequence] = deque()
        self._cancelled: list[Sequence] = []
        self._pace = Pace(chunk_sizes, patience)
        self.running: dict[int, Sequence] = {}

    @property
    def waiting(self) -> Collection[Sequence]:
        """The queue, who came first first."""
        return self._waiting

    @property
    def waiting_count(self) -> int:
        """Sequences in the queue."""
        return len(self._waiting)

    @property
    def running_count(self) -> int:
        """Sequences that hold a slot."""
        return len(self.running)

    @property
    def has_room(self) -> bool:
        """Whether one more may come: all slots and the whole queue are not yet taken."""
        return len(self._waiting) + len(self.running) < self._room

    @property
    def may_admit(self) -> bool:
        """Whether somebody waits for whom there is a slot."""
        return bool(self._waiting and self._slots.free_count)

    @property
    def must_drop(self) -> bool:
        """Whether somebody who holds a slot may have been cancelled."""
        return bool(self._cancelled)

    def enqueue(self, sequence: Sequence) -> None:
        """Put a sequence at the queue's end; there must be room."""
        assert self.has_room
        self._waiting.append(sequence)

    def withdraw(self, sequence: Sequence, now: float) -> bool:
        """Cancel a sequence.

        Returns:
            True if it waited: it is out of the queue. False if it runs: `drop` finds it; or if it has left already.
        """
        sequence.cancelled_at = now
        if sequence.slot is None:
            try:
                self._waiting.remove(sequence)
            except ValueError:
                return False
            return True
        if self.holds_slot(sequence):
            self._cancelled.append(sequence)
        return False

    def drop(self) -> list[Sequence]:
        """Take their slots from those who were cancelled while they ran, and say who they are."""
        dropped = [sequence for sequence in self._cancelled if self.holds_slot(sequence)]
        self._cancelled.clear()
        for sequence in dropped:
            self.retire(sequence)
        return dropped

    def admit(self, most: int, now: float) -> list[Sequence]:
        """Give slots to those who have waited longest, as far as they go, and say who they are: `most` at most."""
        admitted: list[Sequence] = []
        while self.may_admit and len(admitted) < most:
            sequence = self._waiting.popleft()
            sequence.slot = self._slots.allocate()
            sequence.started_at = now
            self.running[sequence.slot] = sequence
            admitted.append(sequence)
        return admitted

    def holds_slot(self, sequence: Sequence) -> bool:
        """Whether the sequence has a slot now."""
        return sequence.slot is not None and self.running.get(sequence.slot) is sequence

    def chunk_steps(self, remaining: NDArray[np.int64], until_first_token: NDArray[np.int64]) -> int:
        """Choose how many steps the next chunk has.

        Where a sequence awaits its first sampled token, the chunk is the shortest that reaches it, for chunks of one
        step would let everybody pay for it. Otherwise it is as long as can be; but while a slot is free, or somebody
        waits for one, no longer than whoever comes next should wait. Never is it so long that all have finished before
        its end, unless the shortest size is.

        Args:
            remaining: (rows,), tokens that each sequence whose turn it is may still take, at least 1.
            until_first_token: (n,), steps to the first sampled token of those of them that have none yet.
        """
        longest = int(remaining.max())
        event = int(until_first_token.min()) if until_first_token.size else longest
        reaching = next((size for size in self._chunk_sizes if size >= event), self._chunk_sizes[-1])
        fitting = [size for size in self._chunk_sizes if size <= min(reaching, longest)]
        if not fitting:
            return self._chunk_sizes[0]
        return self._pace.shortened(fitting) if self._slots.free_count or self._waiting else fitting[-1]

    def ran(self, steps: int, seconds: float) -> None:
        """Hear how long a chunk took, with what had to be done before and after it."""
        self._pace.ran(steps, seconds)

    def reading_seconds(self, width: int, *, awaited: bool) -> float:
        """Choose for how long primers are read before the next chunk; one slice is, in any case.

        It is somewhat less than a chunk takes: so whoever decodes stands still for no longer than another chunk would
        take, and the primers get on nearly as fast as everybody else together. It is one slice where a first token is
        awaited, and where nobody decodes: then the next turn lets in whoever came, and reads on.

        Args:
            width: sequences that decode.
            awaited: whether one of them has no sampled token yet.
        """
        return _READING * self._pace.usual_seconds if width and not awaited else 0.0

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a running sequence."""
        assert self.holds_slot(sequence)
        assert sequence.slot is not None
        del self.running[sequence.slot]
        self._slots.free(sequence.slot)

    def clear(self) -> None:
        """Forget everybody."""
        self._waiting.clear()
        self._cancelled.clear()
        for sequence in list(self.running.values()):
            self.retire(sequence)
