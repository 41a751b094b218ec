"""A queue in which every caller gets a turn, however much the others ask for."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
_MIN_KEPT: Final = 64


@dataclass(slots=True, eq=False)
class _Flow(Generic[Item]):
    """What one caller has waiting, the oldest item first, each with its size and cost."""

    caller: str
    start: float
    """Virtual time at which its oldest item begins."""
    order: int
    """Decides between equal times."""
    items: dict[Item, tuple[int, float]] = field(default_factory=dict)
    size: int = 0


class FairQueue(Generic[Item]):
    """First come, first served for the items of a caller; start-time fair queueing between callers.

    Each item begins, in virtual time, when the one before it of the same caller ends, and no earlier than it arrived.
    The item that begins first is next. So callers that wait get equal shares of what items cost, and a caller that has
    not waited of late is next after at most one item of each other caller. With one caller, the order is that of
    arrival. (P. Goyal, H. M. Vin and H. Cheng, Start-Time Fair Queueing, 1996; the virtual time advances as in WF2Q+,
    so that new callers without end cannot keep an older one waiting.)

    Items are hashable and distinct. All methods but the iteration take logarithmic time, or the number of callers.
    """

    def __init__(self) -> None:
        self._flows: dict[str, _Flow[Item]] = {}
        self._callers: dict[Item, str] = {}
        self._heap: list[tuple[float, int, _Flow[Item]]] = []  # one entry for each flow, and some of former flows
        self._ends: dict[str, float] = {}  # virtual end of the latest item of callers with nothing waiting
        self._now = 0.0  # virtual
        self._arrivals = 0
        self.size = 0
        """Size of all items."""

    def __len__(self) -> int:
        return len(self._callers)

    def __iter__(self) -> Iterator[Item]:
        """The items in the order in which they are served if no other arrives."""
        return iter([item for _, _, item in sorted(self._starts(), key=lambda each: each[:2])])

    def ahead_of(self, caller: str) -> list[Item]:
        """The items that are served before the next one of a caller, in their order."""
        flow = self._flows.get(caller)
        if flow is None:
            start = max(self._now, self._ends.get(caller, 0.0))
        else:
            start = flow.start + sum(cost for _, cost in flow.items.values())
        ordered = sorted(self._starts(), key=lambda each: each[:2])
        return [item for begin, _, item in ordered if begin <= start]

    @property
    def head(self) -> Item | None:
        """The next item; None if the queue is empty."""
        flow = self._next_flow()
        return None if flow is None else next(iter(flow.items))

    def push(self, caller: str, item: Item, *, size: int, cost: float) -> None:
        """Append an item.

        Args:
            caller: whose it is.
            item: not in the queue.
            size: how much room it takes.
            cost: how much it takes of what callers share, at least 0.
        """
        assert item not in self._callers
        flow = self._flows.get(caller)
        if flow is None:
            flow = _Flow(caller, max(self._now, self._ends.pop(caller, 0.0)), 0)
            self._flows[caller] = flow
            self._schedule(flow)
        flow.items[item] = (size, cost)
        flow.size += size
        self.size += size
        self._callers[item] = caller

    def pop(self) -> Item:
        """Remove and return the next item. The queue must not be empty."""
        flow = self._next_flow()
        assert flow is not None, "the queue is empty"
        heapq.heappop(self._heap)
        waiting = len(self._flows)
        item = next(iter(flow.items))
        _, cost = flow.items[item]
        flow.start += cost
        self._take(flow, item)
        if flow.items:
            self._schedule(flow)
        following = self._next_flow()
        if following is None:  # nothing waits: there is nothing to share, and nothing to remember
            self._now = 0.0
            self._ends.clear()
        else:
            self._now = max(self._now + cost / waiting, following.start)
            if len(self._ends) > _MIN_KEPT + 2 * len(self._flows):
                self._ends = {caller: end for caller, end in self._ends.items() if end > self._now}
        return item

    def remove(self, item: Item) -> bool:
        """Remove an item without serving it. Return whether it was in the queue."""
        caller = self._callers.get(item)
        if caller is None:
            return False
        self._take(self._flows[caller], item)
        return True

    def displace(self, caller: str, size: int, excess: int) -> list[Item] | None:
        """Remove items of other callers, so that one of a caller fits in.

        The newest items go, of the caller with the most waiting. The oldest item of each caller stays. A caller that
        has something waiting displaces only items of callers with more than it would have.

        Args:
            caller: who has a new item.
            size: of the new item.
            excess: how much is to be removed at least.

        Returns:
            The removed items; None, and nothing is removed, if that is not enough.
        """
        own = self._flows.get(caller)
        least = 0 if own is None else own.size + size
        sizes = {flow: flow.size for flow in self._flows.values() if flow is not own}
        newest = {flow: list(flow.items)[1:] for flow in sizes if len(flow.items) > 1}
        displaced: list[Item] = []
        while excess > 0:
            flow = max((flow for flow, items in newest.items() if items), key=sizes.__getitem__, default=None)
            if flow is None or sizes[flow] <= least:
                return None
            displaced.append(newest[flow].pop())
            freed, _ = flow.items[displaced[-1]]
            sizes[flow] -= freed
            excess -= freed
        for item in displaced:
            self.remove(item)
        return displaced

    def clear(self) -> None:
        """Remove all items."""
        self._flows.clear()
        self._callers.clear()
        self._heap.clear()
        self._ends.clear()
        self._now, self.size = 0.0, 0

    def _schedule(self, flow: _Flow[Item]) -> None:
        self._arrivals += 1
        flow.order = self._arrivals
        heapq.heappush(self._heap, (flow.start, flow.order, flow))

    def _take(self, flow: _Flow[Item], item: Item) -> None:
        size, _ = flow.items.pop(item)
        flow.size -= size
        self.size -= size
        del self._callers[item]
        if not flow.items:
            del self._flows[flow.caller]
            self._ends[flow.caller] = flow.start

    def _next_flow(self) -> _Flow[Item] | None:
        while self._heap and self._flows.get(self._heap[0][2].caller) is not self._heap[0][2]:
            heapq.heappop(self._heap)  # all its items were removed
        return self._heap[0][2] if self._heap else None

    def _starts(self) -> Iterator[tuple[float, int, Item]]:
        """Virtual time at which each item begins."""
        for flow in self._flows.values():
            start = flow.start
            for item, (_, cost) in flow.items.items():
                yield start, flow.order, item
                start += cost
