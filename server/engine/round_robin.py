"""Which sequences run next, if more are active than one run takes."""

from collections.abc import Collection, Iterator


class RoundRobin:
    """Active slots in the order in which they run: the one that has waited longest is first.

    Args:
        max_batch_size: maximum number of slots in one run, at least 1.
    """

    def __init__(self, max_batch_size: int) -> None:
        self._max_batch_size = max_batch_size
        self._order: dict[int, None] = {}  # an ordered set of slots
        self._all_slots: list[int] | None = []  # sorted; None if it must be computed

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[int]:
        """The slots in their order."""
        return iter(self._order)

    def add(self, slot: int) -> None:
        """Add a slot at the end. It must not be there yet."""
        assert slot not in self._order
        self._order[slot] = None
        self._all_slots = None

    def remove(self, slot: int) -> None:
        """Remove a slot. It must be there."""
        del self._order[slot]
        self._all_slots = None

    def next_slots(self, priority: Collection[int]) -> list[int]:
        """Choose the slots of the next run, ascending.

        While all slots fit in one run, the result is the same list object until a slot is added or removed.

        Args:
            priority: slots that run before all others, in round-robin order among themselves.
        """
        if len(self._order) <= self._max_batch_size:
            if self._all_slots is None:
                self._all_slots = sorted(self._order)
            return self._all_slots
        self._all_slots = None
        chosen = [slot for slot in self._order if slot in priority][: self._max_batch_size]
        if len(chosen) < self._max_batch_size:
            others = (slot for slot in self._order if slot not in priority)
            chosen += [slot for slot, _ in zip(others, range(self._max_batch_size - len(chosen)), strict=False)]
        for slot in chosen:
            del self._order[slot]
            self._order[slot] = None
        return sorted(chosen)
