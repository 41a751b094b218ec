"""Who holds which row of the model's state."""

import heapq


class SlotPool:
    """Takes and frees slots. It alone knows which are free."""

    def __init__(self, size: int) -> None:
        self._free = list(range(size))  # a heap
        self._taken: set[int] = set()

    @property
    def free_count(self) -> int:
        """Slots that nobody holds."""
        return len(self._free)

    def allocate(self) -> int:
        """Take the lowest free slot. There must be one."""
        assert self._free, "no slot is free"
        slot = heapq.heappop(self._free)
        self._taken.add(slot)
        return slot

    def free(self, slot: int) -> None:
        """Give a slot back. Somebody must hold it."""
        assert slot in self._taken, f"slot {slot} is not taken"
        self._taken.remove(slot)
        heapq.heappush(self._free, slot)
