"""Which sequences run, which wait, and how many steps the next chunk has."""

import heapq
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from server.engine.chunk_sizer import MAX_CHUNK_SECONDS, ChunkSizer
from server.engine.fair_queue import FairQueue
from server.engine.sequence import Sequence, SequenceStatus

_PREFILL_SHARE = 0.75  # of a chunk's duration; less than 1, because the duration of a slice varies


class SlotPool:
    """The slots that are free and those that are taken.

    Args:
        size: number of slots.
    """

    def __init__(self, size: int) -> None:
        self._free = list(range(size))  # a heap
        self._taken: set[int] = set()

    @property
    def free_count(self) -> int:
        """Number of free slots."""
        return len(self._free)

    def allocate(self) -> int:
        """Take the lowest free slot. There must be one."""
        assert self._free, "no slot is free"
        slot = heapq.heappop(self._free)
        self._taken.add(slot)
        return slot

    def free(self, slot: int) -> None:
        """Free a slot. It must be taken."""
        assert slot in self._taken, f"slot {slot} is not taken"
        self._taken.remove(slot)
        heapq.heappush(self._free, slot)


class Scheduler:
    """A queue of waiting sequences, fair between callers, and slots for each sequence that was admitted.

    The sequences of one caller are served in the order in which they came. `FairQueue` shares between callers.

    A caller holds the engine's lock when it calls a method that changes something. Only the engine's thread frees
    slots. Any thread may read the counts at any time.

    Args:
        slots: number of slots.
        queue_limit: maximum number of rows that wait when all slots are taken.
        chunk_sizes: the numbers of steps that a chunk may have, ascending.
        max_chunk_seconds: maximum chunk duration while a new request could be waiting.
    """

    def __init__(
        self,
        slots: int,
        queue_limit: int,
        chunk_sizes: tuple[int, ...],
        max_chunk_seconds: float = MAX_CHUNK_SECONDS,
    ) -> None:
        self._slots = SlotPool(slots)
        self._chunk_sizes = chunk_sizes
        self._limit = slots + queue_limit
        self._waiting: FairQueue[Sequence] = FairQueue()
        self._cancelled: list[Sequence] = []
        self._chunk_sizer = ChunkSizer(chunk_sizes, max_chunk_seconds)
        self.running: dict[int, Sequence] = {}
        """The sequences that hold slots, by slot."""

    @property
    def waiting(self) -> Collection[Sequence]:
        """The queue, in the order in which its sequences are admitted if no other comes."""
        return list(self._waiting)

    def ahead_of(self, caller: str) -> Collection[Sequence]:
        """The waiting sequences that are admitted before a new one of this caller."""
        return self._waiting.ahead_of(caller)

    @property
    def waiting_count(self) -> int:
        """Number of slots that the sequences in the queue wait for."""
        return self._waiting.size

    @property
    def running_count(self) -> int:
        """Number of slots that are taken."""
        return len(self.running)

    def has_room(self, rows: int) -> bool:
        """Whether a sequence that needs so many slots may join the queue."""
        return self.running_count + self.waiting_count + rows <= self._limit

    def make_room(self, caller: str, rows: int) -> list[Sequence] | None:
        """Make room for a sequence, if need be at the cost of callers with more in the queue.

        Returns:
            The sequences that have left the queue for it; None if it may not join.
        """
        excess = self.running_count + self.waiting_count + rows - self._limit
        return [] if excess <= 0 else self._waiting.displace(caller, rows, excess)

    @property
    def can_admit(self) -> bool:
        """Whether a sequence waits, and the next one finds enough free slots."""
        head = self._waiting.head
        return head is not None and head.rows <= self._slots.free_count

    @property
    def has_cancelled(self) -> bool:
        """Whether a sequence that holds a slot may have been cancelled."""
        return bool(self._cancelled)

    def enqueue(self, sequence: Sequence) -> None:
        """Append a sequence to the queue. There must be room."""
        assert self.has_room(sequence.rows)
        self._waiting.push(sequence.caller, sequence, size=sequence.rows, cost=sequence.cost)

    def cancel(self, sequence: Sequence, now: float) -> bool:
        """Cancel a sequence.

        Returns:
            True: the sequence was waiting, and is no longer in the queue. False: it holds a slot, which
            `release_cancelled` frees; or it has left already.
        """
        sequence.cancelled_at = now
        if sequence.status is SequenceStatus.WAITING:
            return self._waiting.remove(sequence)
        if self.holds_slot(sequence):
            self._cancelled.append(sequence)
        return False

    def release_cancelled(self) -> list[Sequence]:
        """Free the slots of the sequences that were cancelled after their admission, and return these sequences."""
        released = [sequence for sequence in self._cancelled if self.holds_slot(sequence)]
        self._cancelled.clear()
        for sequence in released:
            self.release(sequence)
        return released

    def admit(self, limit: int, now: float) -> list[Sequence]:
        """Assign free slots to the next waiting sequences, at most `limit` of them, and return these.

        A sequence gets all its slots at once. Until so many are free, no later one gets any.
        """
        admitted: list[Sequence] = []
        while self.can_admit and len(admitted) < limit:
            sequence = self._waiting.pop()
            sequence.move_to(SequenceStatus.ADMITTED)
            sequence.slots = tuple(self._slots.allocate() for _ in range(sequence.rows))
            sequence.admitted_at = now
            self.running.update(dict.fromkeys(sequence.slots, sequence))
            admitted.append(sequence)
        return admitted

    def holds_slot(self, sequence: Sequence) -> bool:
        """Whether the sequence holds a slot now."""
        return any(self.running.get(slot) is sequence for slot in sequence.slots)

    def chunk_steps(
        self,
        remaining_tokens: NDArray[np.int64],
        steps_to_first_token: NDArray[np.int64],
        known_steps: int | None = None,
    ) -> int:
        """Choose the number of steps of the next chunk.

        If a sequence awaits its first sampled token, the chunk is the shortest one that reaches it: chunks of one step
        would slow down all other sequences. Otherwise the chunk is as long as possible. While a slot is free or the
        queue is not empty, it is no longer than `max_chunk_seconds`, for a new request could be waiting. It is never
        so long that all sequences finish before its end, unless the shortest size is. It never has more steps than the
        guides have instructions for.

        Args:
            remaining_tokens: (rows,), tokens that each selected sequence may still get, at least 1.
            steps_to_first_token: (n,), steps to the first token of each of them that awaits it.
            known_steps: steps for which all guides have instructions, at least the shortest size; None without guides.
        """
        longest = int(remaining_tokens.max()) if known_steps is None else min(int(remaining_tokens.max()), known_steps)
        target = int(steps_to_first_token.min()) if steps_to_first_token.size else longest
        shortest_reaching = next((size for size in self._chunk_sizes if size >= target), self._chunk_sizes[-1])
        sizes = [size for size in self._chunk_sizes if size <= min(shortest_reaching, longest)]
        if not sizes:
            return self._chunk_sizes[0]
        return self._chunk_sizer.choose(sizes) if self._slots.free_count or len(self._waiting) else sizes[-1]

    def record_chunk(self, steps: int, seconds: float) -> None:
        """Record the duration of a chunk, with the work before and after the run."""
        self._chunk_sizer.record(steps, seconds)

    def prefill_seconds(self, running: int, *, awaiting_first: bool) -> float:
        """Choose how long prefill slices run before the next chunk. At least one slice runs in any case.

        The duration is somewhat less than that of a chunk. So the running sequences pause for no longer than another
        chunk would take, and the prefills get nearly half of the time. It is 0 (one slice) if a sequence awaits its
        first token, and if no sequence runs: then the next turn admits new sequences before it continues.

        Args:
            running: number of sequences in the batch.
            awaiting_first: whether one of them awaits its first sampled token.
        """
        return _PREFILL_SHARE * self._chunk_sizer.median_seconds if running and not awaiting_first else 0.0

    def release(self, sequence: Sequence) -> None:
        """Free the slots that a sequence holds: at least one."""
        assert self.holds_slot(sequence)
        for slot in sequence.slots:
            if self.running.get(slot) is sequence:
                self.release_slot(slot)

    def release_slot(self, slot: int) -> None:
        """Free one slot of a sequence, which keeps its others."""
        del self.running[slot]
        self._slots.free(slot)

    def clear(self) -> None:
        """Remove every sequence and free every slot."""
        self._waiting.clear()
        self._cancelled.clear()
        for slot in list(self.running):
            self.release_slot(slot)
